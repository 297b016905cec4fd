"""One build writes at a time; those who only look never wait."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from mlmake.model.events import LockWaiting
from mlmake.state.lock import held, holder
from projects import Folder, kill, until

STEPS = """
    [one]
    command = "touch ../ready; while [ ! -e ../go ]; do sleep 0.01; done; echo one >> ../ran; echo 1 > {outputs.x}"
    outputs = { x = "build/x" }
    [two]
    command = "echo two >> ../ran; cat {inputs.x} > {outputs.y}"
    inputs = { x = "@one" }
    outputs = { y = "build/y" }
"""


@pytest.fixture
def running(project: Folder) -> subprocess.Popen[str]:
    """A build that goes on until `../go` is there."""
    project.steps(STEPS)
    process = project.start()
    until((project.root / "../ready").exists)
    return process


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_second_build_waits_and_names_the_first(project: Folder, running: subprocess.Popen[str]) -> None:
    second = project.start()
    line = first_line(second)
    said = re.fullmatch(r"waiting for another build of this project: pid (\d+) on (.+), since (\d\d:\d\d:\d\d)\n", line)
    assert said, line
    assert int(said[1]) == running.pid
    assert said[2] == socket.gethostname()
    assert time.strptime(said[3], "%H:%M:%S")
    assert second.poll() is None
    project.write({"../go": ""})
    assert running.wait() == 0
    rest, _ = second.communicate()
    assert second.returncode == 0
    assert rest.startswith("0 ran, 2 fresh")  # it has looked again, and found all done
    assert project.log("../ran") == ["one", "two"]


def test_a_third_one_waits_too(project: Folder, running: subprocess.Popen[str]) -> None:
    others = [project.start() for _ in range(3)]
    for other in others:
        assert "waiting for another build" in first_line(other)
    project.write({"../go": ""})
    assert [other.wait() for other in others] == [0, 0, 0]
    assert project.log("../ran") == ["one", "two"]


def test_a_killed_build_s_lock_is_taken_over_in_silence(project: Folder, running: subprocess.Popen[str]) -> None:
    kill(running.pid)
    running.wait()
    assert project.has(".mlmake/lock")
    project.write({"../go": ""})
    built = project.build()
    assert built.of(LockWaiting) == []
    assert built.done == ["one", "two"]


def test_one_that_waits_gets_the_lock_of_one_that_is_killed(project: Folder, running: subprocess.Popen[str]) -> None:
    second = project.start()
    assert f"pid {running.pid} " in first_line(second)
    (project.root / "../ready").unlink()
    kill(running.pid)
    running.wait()
    until((project.root / "../ready").exists)  # what the first one had started is gone when the second starts a step
    project.write({"../go": ""})
    assert second.wait() == 0
    assert project.log("../ran") == ["one", "two"]


@pytest.mark.parametrize(
    "args",
    [("status",), ("status", "--json"), ("why", "one"), ("why", "two"), ("runs",), ("show", "1"), ("graph",), ("-n",)],
)
def test_looking_never_waits(project: Folder, running: subprocess.Popen[str], args: tuple[str, ...]) -> None:
    looked = project.cli(*args)
    assert looked.returncode == 0, looked.stderr
    assert "waiting" not in looked.stdout + looked.stderr
    assert running.poll() is None


def test_looking_sees_what_goes_on(project: Folder, running: subprocess.Popen[str]) -> None:
    (run,) = json.loads(project.cli("runs", "--json").stdout)
    assert run["outcome"] == "running"
    assert run["pid"] == running.pid
    assert project.states() == {"one": "stale", "two": "stale"}


def test_looking_while_a_build_writes(project: Folder) -> None:
    """Readers and the writer never get into each other's way, however often they look."""
    project.steps(f"[s]\ncommand = 'true'\nmatrix = {{ n = {list(range(150))} }}")
    writer = project.start("-q", "-j2")
    seen = set()
    while writer.poll() is None:
        seen.add(sum(state == "fresh" for state in project.states().values()))
    assert writer.returncode == 0
    assert sum(state == "fresh" for state in project.states().values()) == 150
    assert seen


def test_other_projects_do_not_wait(project: Folder, running: subprocess.Popen[str]) -> None:
    inner = Folder(project.root / "inner")  # a project in a project is one of its own
    inner.root.mkdir()
    inner.steps('[x]\ncommand = "true"')
    assert inner.cli().returncode == 0
    assert running.poll() is None


# The lock by itself


def test_who_holds_it(project: Folder) -> None:
    waited: list[str] = []
    with held(project.home, waited.append):
        pass
    assert waited == []
    assert re.fullmatch(rf"pid {os.getpid()} on \S+, since \d\d:\d\d:\d\d", holder(project.home))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "host": "h", "since": "x"}', "\x00\x01"])
def test_a_damaged_note_of_who_holds_it_is_no_problem(project: Folder, content: str) -> None:
    project.home.ensure()
    project.write({".mlmake/lock": content})
    assert holder(project.home) == "another build that has just started"
    with held(project.home, lambda who: None):
        assert f"pid {os.getpid()} " in holder(project.home)


def test_threads_take_turns(project: Folder) -> None:
    inside = []
    most = []

    def work() -> None:
        for _ in range(20):
            with held(project.home, lambda who: None):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_an_error_lets_go(project: Folder) -> None:
    with pytest.raises(ValueError, match="x"), held(project.home, lambda who: None):
        raise ValueError("x")
    waited: list[str] = []
    with held(project.home, waited.append):
        assert waited == []


def test_a_child_does_not_keep_the_lock(project: Folder) -> None:
    with held(project.home, lambda who: None):
        child = subprocess.Popen(["/bin/sleep", "600"], close_fds=False)
    try:
        waited: list[str] = []
        with held(project.home, waited.append):
            assert waited == []
    finally:
        child.kill()
        child.wait()
