"""The guard: a small process that outlives mlmake by a moment and ends what mlmake left running.

It reads `+PID` and `-PID` lines from a pipe. When the pipe ends without a `bye`, mlmake has died, however it died;
then every process group that was not taken back is killed, and after that every process that carries the build's
token in its environment, so that a child started in the last moment, or one that left its group, goes too.

Runs as a script, with the standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

TOKEN = "MLMAKE_BUILD"
_PAUSE = 0.02
_NEAR = 500
"""Process ids handed out since a job started that are looked at one by one; beyond, all of /proc is listed."""


def main(token: str) -> None:
    """Wait for the end of standard input, then clean up."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        word = line.strip()
        if word == "bye":
            return
        if word.startswith("+"):
            groups.add(int(word[1:]))
        else:
            groups.discard(int(word[1:]))
    for group in groups:
        kill_group(group)
    kill_marked(token)
    time.sleep(_PAUSE)  # a process that was just being started shows its environment by now
    kill_marked(token)


def kill_group(group: int) -> None:
    """SIGKILL for a process group that may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def kill_marked(token: str, after: int = 0) -> None:
    """SIGKILL for every process with the token in its environment, until none is found (on systems with /proc).

    `after` is a process id handed out so short a time ago that all that are meant have got theirs later.
    """
    for _ in range(50):
        found = marked(token, after)
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)


def marked(token: str, after: int = 0) -> list[int]:
    """Processes whose environment carries a token that starts so."""
    if not os.path.isdir("/proc/self"):
        return []
    mark = b"\0" + os.fsencode(f"{TOKEN}={token}")
    return [pid for pid in _processes(after) if pid != os.getpid() and mark in b"\0" + _environment(pid)]


def _processes(after: int) -> Iterable[int]:
    """Every process, or just the ids handed out after one: few, where that was a moment ago."""
    if after:
        with suppress(OSError, ValueError, IndexError), open("/proc/loadavg", "rb", buffering=0) as file:
            newest = int(file.read(256).split()[-1])
            if after <= newest <= after + _NEAR:
                return range(after + 1, newest + 1)
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


if __name__ == "__main__":
    main(sys.argv[1])
