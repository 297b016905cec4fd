"""`mlmake watch` as people and services run it: a process of its own, its lines, its keys, its end."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl

import psutil  # type: ignore[import-untyped]
import pytest

from projects import Folder, until

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STEPS = """
    [copy]
    command = "cat {inputs.x} > {outputs.y}"
    inputs = { x = "in" }
    outputs = { y = "y" }
"""
ENOUGH = 20_000
"""Events that are more than the kernel keeps by default."""


@pytest.fixture
def copy(project: Folder) -> Folder:
    project.write({"in": "1"})
    project.steps(STEPS)
    return project


class Said:
    """What a process prints, line by line, as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self.process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def until(self, text: str, count: int = 1) -> None:
        until(
            lambda: sum(text in line for line in self.lines) >= count or self.process.poll() is not None,
            f"{text!r} in {self.lines}",
        )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._thread.join()
        return code


def test_a_line_per_event_and_a_clean_end(copy: Folder) -> None:
    said = Said(copy.start("watch", "--settle", "50ms"))
    said.until("watching 1 step")
    copy.write({"in": "2"})
    said.until("1 ran", 2)
    assert said.end() == 130
    lines = [re.sub(r"\d+\.\d s", "0.0 s", line) for line in said.lines]
    assert lines[:5] == [
        "copy started: never ran",
        "copy done in 0.0 s",
        "1 ran, 0 fresh, 0 restored, 0 failed in 0.0 s",
        "watching 1 step: 4 files in 1 folder",
        "changed: in",
    ]
    assert not copy.processes()


def test_ctrl_c_while_a_step_runs(copy: Folder) -> None:
    copy.steps(STEPS.replace("cat {inputs.x}", "sleep 60; cat {inputs.x}"))
    said = Said(copy.start("watch"))
    said.until("copy started")
    assert said.end(signal.SIGINT) == 130
    assert not copy.processes()
    assert copy.cli("runs").stdout.split("\n")[0].count("cancelled") or "cancelled" in copy.cli("runs").stdout


def test_once_waits_for_a_change_and_ends_as_the_build_does(copy: Folder) -> None:
    assert copy.cli().returncode == 0
    good = Said(copy.start("watch", "--once"))
    good.until("watching 1 step")
    copy.write({"in": "2"})
    assert good.process.wait(60) == 0
    assert copy.read("y") == "2"
    copy.steps(STEPS.replace("cat", "exit 4; cat"))
    bad = Said(copy.start("watch", "--once"))
    bad.until("watching 1 step")
    assert not any("started" in line for line in bad.lines), "it does not build before something changes"
    copy.write({"in": "3"})
    assert bad.process.wait(60) == 1


def test_more_happens_than_the_kernel_can_tell(copy: Folder) -> None:
    copy.write({"data/0": "0"})
    copy.steps(STEPS + '\n[all]\ncommand = "ls {inputs.d} | wc -l > {outputs.n}"\ninputs = { d = "data/" }\n'
               'outputs = { n = "n" }')  # fmt: skip
    said = Said(copy.start("watch", "--settle", "100ms"))
    said.until("watching 2 steps")
    said.process.send_signal(signal.SIGSTOP)
    for number in range(ENOUGH // 4):  # each is made, written to and closed, and removed
        name = copy.root / f"data/{number}"
        name.touch()
        name.unlink()
    for number in range(10):
        copy.write({f"data/late/{number}": "x"})
    copy.write({"in": "after the flood"})
    said.process.send_signal(signal.SIGCONT)
    until(lambda: copy.read("y") == "after the flood" and copy.read("n").split() == ["1"])
    copy.write({"data/late/deep/x": "x", "data/more": "x"})
    until(lambda: copy.read("n").split() == ["2"])
    said.end()


def test_the_kernels_limit_is_an_error_with_the_next_move(copy: Folder) -> None:
    limited = 'echo 0 > /proc/sys/user/max_inotify_watches && exec "$0" -m mlmake watch'
    argv = ["unshare", "-Ur", "sh", "-c", limited, sys.executable]
    if subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no user namespaces")
    done = subprocess.run(argv, cwd=copy.root, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done
    assert "the kernel's limit is reached: folders that this user may watch are all in use" in done.stderr
    assert "sudo sysctl fs.inotify.max_user_watches=" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--settle", "soon"], "'soon' is no duration such as '200ms'"),
        (["--poll", "0s"], "it must be more than nothing"),
        (["--on-failure", "https://"], "an address to be told has no host"),
        (["--on-failure", "https://host:x/"], "an address to be told has a host or port that is none"),
        (["--on-failure", "https://host/a b"], "an address to be told has a blank in it"),
        (["--on-failure", "https://me:word@host/"], "an address to be told has a user in it"),
        (["nothing"], "no pipeline, step or output named 'nothing'"),
    ],
)
def test_what_cannot_be_asked(copy: Folder, words: list[str], told: str) -> None:
    done = copy.cli("watch", *words)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


class Terminal:
    """`mlmake watch` on a pseudo-terminal."""

    def __init__(self, project: Folder, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _AS_SESSION, "watch", "--settle", "50ms", *args],
            cwd=project.root,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        self.theirs = theirs
        self.drawn = ""

    def until(self, text: str) -> None:
        """Wait until something was drawn, and forget what was drawn before."""

        def is_drawn() -> bool:
            if select.select([self._ours], [], [], 0.01)[0]:
                self.drawn += ESCAPES.sub("", os.read(self._ours, 65536).decode())
            return text in self.drawn

        until(is_drawn, f"{text!r} in {self.drawn}")
        self.drawn = self.drawn.partition(text)[2]

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


_AS_SESSION = """
import fcntl, os, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from mlmake.cli.main import main
main()
"""


@contextmanager
def terminal(project: Folder, *args: str) -> Iterator[Terminal]:
    made = Terminal(project, *args)
    try:
        yield made
    finally:
        made.close()


def test_on_a_terminal_with_keys(copy: Folder) -> None:
    with terminal(copy) as shown:
        shown.until("watching 1 step: 4 files in 1 folder")
        shown.until("all fresh; last build at")
        shown.until("r rebuild   p pause   q quit")
        copy.write({"in": "2"})
        shown.until("changed: in")
        shown.until("copy done in")
        shown.until("q quit")
        shown.press("p")
        shown.until("paused: changes wait")
        shown.press("p")
        shown.until("watching 1 step")
        copy.steps(STEPS.replace("cat", "exit 4; cat"))
        shown.until("copy failed: exit code 4")
        shown.until("stale: copy; last build at")
        shown.press("r")
        shown.until("copy failed: exit code 4")
        shown.until("q quit")
        shown.press("q")
        assert shown.process.wait(60) == 0
        assert termios.tcgetattr(shown.theirs) == shown.before, "the terminal is as it was"


def test_quitting_while_a_step_runs(copy: Folder) -> None:
    copy.steps(STEPS.replace("cat {inputs.x}", "sleep 60; cat {inputs.x}"))
    with terminal(copy) as shown:
        shown.until("copy")
        shown.until("0/1")
        shown.press("q")
        shown.until("ending 1 running")
        assert shown.process.wait(60) == 0
        assert not copy.processes()


def test_idle_is_idle(copy: Folder) -> None:
    said = Said(copy.start("watch"))
    said.until("watching 1 step")
    process = psutil.Process(said.process.pid)

    def woken() -> int:
        return sum(psutil.Process(thread.id).num_ctx_switches().voluntary for thread in process.threads())

    def sleeps() -> bool:
        before = woken()
        time.sleep(1.0)
        return woken() == before

    until(sleeps, "a second in which no thread of the watch wakes")
    said.end()
