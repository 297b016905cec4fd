"""The guard: whatever way mlmake dies, what it had started goes, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mlmake.transports.agent import guard
from projects import kill, until

FOREVER = "while :; do sleep 0.05; done"


def test_the_guard_ends_what_a_killed_owner_leaves(tmp_path: Path) -> None:
    owner = _owner(tmp_path, f"setsid sh -c 'touch far; sleep 600' & sh -c 'trap \"\" TERM; touch near; {FOREVER}'")
    until(lambda: (tmp_path / "far").exists() and (tmp_path / "near").exists())
    assert len(guard.marked(f"{tmp_path}:x")) >= 3
    kill(owner.pid)
    owner.wait()
    until(lambda: guard.marked(f"{tmp_path}:x") == [])


def test_the_guard_leaves_strangers_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["/bin/sleep", "600"], env={guard.TOKEN: f"{tmp_path}:y/1."})
    owner = _owner(tmp_path, "touch near; sleep 600")
    until((tmp_path / "near").exists)
    kill(owner.pid)
    owner.wait()
    until(lambda: guard.marked(f"{tmp_path}:x") == [])
    until(lambda: not _guards(tmp_path))
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_no_guard_outlives_its_owner(tmp_path: Path) -> None:
    owner = _owner(tmp_path, "exit 0")
    owner.wait()
    until(lambda: not _guards(tmp_path))


def test_a_job_of_a_job_is_guarded_too(tmp_path: Path) -> None:
    """mlmake in a step of mlmake: when the outer one is killed, what the inner one started goes as well."""
    inner = f"""{sys.executable} -c '
from mlmake.executors.process import ProcessExecutor
from mlmake.model.job import Job
executor = ProcessExecutor("{tmp_path}:inner")
argv = ("/bin/sh", "-c", "touch deep; sleep 600")
executor.wait([executor.submit(Job(name="x", argv=argv, env={{}}, folder="{tmp_path}", log="{tmp_path}/in"))], None)
'"""
    (tmp_path / "inner.sh").write_text(inner)
    owner = _owner(tmp_path, "sh inner.sh")
    until((tmp_path / "deep").exists)
    assert len(guard.marked(f"{tmp_path}:inner")) >= 1
    kill(owner.pid)
    owner.wait()
    until(lambda: guard.marked(f"{tmp_path}:") == [])
    until(lambda: not _guards(tmp_path))


def _owner(folder: Path, script: str) -> subprocess.Popen[bytes]:
    """A program with an executor that runs a shell script in a folder, with the token `FOLDER:x`."""
    program = f"""
import os, sys
from mlmake.executors.process import ProcessExecutor
from mlmake.model.job import Job
executor = ProcessExecutor({f"{folder}:x"!r})
job = Job(name="x", argv=("/bin/sh", "-c", sys.argv[1]), env=dict(os.environ), folder={str(folder)!r}, log="/dev/null")
executor.wait([executor.submit(job)], None)
executor.close()
"""
    return subprocess.Popen([sys.executable, "-c", program, script])


def _guards(folder: Path) -> list[int]:
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            words = each.cmdline()
            if guard.__file__ in words and words[-1].startswith(f"{folder}:"):
                found.append(each.pid)
    return found


def test_a_token_marks_the_builds_of_its_project_only(tmp_path: Path) -> None:
    tokens = ["/a:1/1.", "/a:1/10.", "/a:2/1.", "/ab:1/1."]
    sleepers = [subprocess.Popen(["/bin/sleep", "600"], env={guard.TOKEN: f"{tmp_path}{token}"}) for token in tokens]
    one, ten, second, _ = (sleeper.pid for sleeper in sleepers)
    try:
        until(lambda: len(guard.marked(str(tmp_path))) == 4)
        assert guard.marked(f"{tmp_path}/a:1/1.") == [one]
        assert sorted(guard.marked(f"{tmp_path}/a:1")) == sorted([one, ten])
        assert sorted(guard.marked(f"{tmp_path}/a:")) == sorted([one, ten, second])
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_only_later_processes_are_looked_at_where_that_is_enough(tmp_path: Path) -> None:
    env = {guard.TOKEN: f"{tmp_path}:"}
    first, second = (subprocess.Popen(["/bin/sleep", "600"], env=env) for _ in range(2))
    try:
        until(lambda: len(guard.marked(f"{tmp_path}:")) == 2)
        assert guard.marked(f"{tmp_path}:", after=first.pid) == [second.pid]
        assert guard.marked(f"{tmp_path}:", after=second.pid) == []
        far_off = 2 * second.pid  # process ids have gone round since: all are looked at
        assert set(guard.marked(f"{tmp_path}:", after=far_off)) == {first.pid, second.pid}
    finally:
        for sleeper in (first, second):
            sleeper.kill()
            sleeper.wait()


def test_a_project_in_an_odd_folder(tmp_path: Path) -> None:
    token = os.fsdecode(f"{tmp_path}/größe 'x'\n".encode() + b"\xff:1")
    sleeper = subprocess.Popen(["/bin/sleep", "600"], env={guard.TOKEN: token})
    until(lambda: guard.marked(token) == [sleeper.pid])
    guard.kill_marked(token)
    assert sleeper.wait() == -9


def test_what_keeps_starting_others_is_ended(tmp_path: Path) -> None:
    token = f"{tmp_path}:fork"
    script = "while :; do setsid sleep 600 & sleep 0.005; done"
    bomb = subprocess.Popen(["/bin/sh", "-c", script], env={guard.TOKEN: token, "PATH": os.environ["PATH"]})
    until(lambda: len(guard.marked(token)) > 10)
    guard.kill_marked(token)
    assert guard.marked(token) == []
    assert bomb.wait() == -9


@pytest.mark.parametrize("word", ["bye", ""])
def test_the_guard_ends_with_its_input(word: str) -> None:
    run = subprocess.run(
        [sys.executable, "-I", "-S", guard.__file__, f"no such build {time.time_ns()}"],
        input=f"+{2**22 + 1}\n+{2**22 + 2}\n-{2**22 + 1}\n{word}\n".replace("\n\n", "\n"),
        text=True,
        capture_output=True,
        check=True,
    )
    assert run.stdout == run.stderr == ""
