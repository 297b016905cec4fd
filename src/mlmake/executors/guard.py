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
from contextlib import suppress

TOKEN = "MLMAKE_BUILD"


def main(token: str) -> None:
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


def kill_group(group: int) -> None:
    """SIGKILL for a process group that may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def kill_marked(token: str) -> None:
    """SIGKILL for every process with the token in its environment, until none is found (on systems with /proc)."""
    for _ in range(50):
        found = list(marked(token))
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def marked(token: str) -> list[int]:
    """Processes whose environment carries the token; a token ending in `:` stands for all builds of a project."""
    if not os.path.isdir("/proc/self"):
        return []
    mark = f"\0{TOKEN}={token}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if mark in b"\0" + file.read():
                    found.append(int(name))
    return found


if __name__ == "__main__":
    main(sys.argv[1])
