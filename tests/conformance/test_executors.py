"""What `executors/base.py` promises, point by point, held against every executor; add yours to `RIGS`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mlmake.executors import process
from mlmake.executors.base import Executor
from mlmake.executors.fake import FakeExecutor
from mlmake.executors.process import ProcessExecutor
from mlmake.model.job import Finished, Job
from mlmake.transports.agent import guard
from projects import PATIENCE, until

FOREVER = "while :; do sleep 0.05; done"


class Rig:
    """An executor with the jobs that every one of them must be able to run; closed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executor = self.make()
        self._jobs = 0

    def make(self) -> Executor:
        raise NotImplementedError

    def exits(self, code: int, says: str = "") -> Job:
        """A job that writes a text and ends with a code."""
        raise NotImplementedError

    def runs(self) -> Job:
        """A job that runs until it is cancelled."""
        raise NotImplementedError

    def impossible(self) -> Job:
        """A job that cannot start."""
        raise NotImplementedError

    def job(self, *argv: str, **env: str) -> Job:
        self._jobs += 1
        return Job(
            name=f"step {self._jobs}",
            argv=argv,
            env={"PATH": os.environ["PATH"], **env},
            folder=str(self.folder),
            log=str(self.folder / f"{self._jobs}.log"),
        )

    def end(self, handle: str) -> Finished:
        """Wait for the end of one job."""
        return self.ends(handle)[handle]

    def ends(self, *handles: str) -> dict[str, Finished]:
        """Wait for the ends of several."""
        ended: dict[str, Finished] = {}

        def step() -> bool:
            for finished in self.executor.wait([h for h in handles if h not in ended], 1):
                ended[finished.handle] = finished
            return len(ended) == len(handles)

        until(step, f"the end of {handles}")
        return ended


class Processes(Rig):
    """Jobs are shell scripts."""

    token: str

    def make(self) -> Executor:
        self.token = f"{self.folder}:{uuid.uuid4().hex}"
        return ProcessExecutor(self.token)

    def sh(self, script: str, **env: str) -> Job:
        return self.job("/bin/sh", "-c", script, **env)

    def exits(self, code: int, says: str = "") -> Job:
        return self.sh(f"printf %s '{says}'; exit {code}")

    def runs(self) -> Job:
        return self.sh(FOREVER)

    def impossible(self) -> Job:
        return self.job("/nowhere/to/be found")

    def alive(self) -> list[int]:
        return [pid for pid in guard.marked(self.token) if psutil.pid_exists(pid)]

    def started(self, script: str, **env: str) -> str:
        """Submit a script that makes a file `ready`; gives the handle when it is there."""
        (self.folder / "ready").unlink(missing_ok=True)
        handle = self.executor.submit(self.sh(script, **env))
        until((self.folder / "ready").exists, "ready")
        return handle


class BlindProcesses(Processes):
    """The same where the system tells of no end by itself (no pidfd) and lets nobody peek (no waitid)."""


class Fakes(Rig):
    """Jobs are words that a function plays."""

    def make(self) -> Executor:
        return FakeExecutor(_play)

    def exits(self, code: int, says: str = "") -> Job:
        return self.job("exits", str(code), says)

    def runs(self) -> Job:
        return self.job("runs")

    def impossible(self) -> Job:
        return self.job("impossible")


def _play(job: Job) -> int | None:
    match job.argv:
        case ("exits", code, says):
            Path(job.log).write_text(says)
            return int(code)
        case ("runs",):
            return None
    raise FileNotFoundError(2, "No such file or directory", job.argv[0])


RIGS: dict[str, Callable[[Path], Rig]] = {"process": Processes, "process, blind": BlindProcesses, "fake": Fakes}


def _made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    if name == "process, blind":
        monkeypatch.setattr(process, "_pidfd", lambda pid: None)
        monkeypatch.setattr(process, "_CAN_PEEK", False)
    rig = RIGS[name](folder)
    yield rig
    rig.executor.close()
    if isinstance(rig, Processes):
        assert rig.alive() == []


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    yield from _made(request.param, tmp_path, monkeypatch)


@pytest.fixture(params=[name for name in RIGS if name != "fake"])
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """A rig whose jobs are processes of this machine."""
    for made in _made(request.param, tmp_path, monkeypatch):
        assert isinstance(made, Processes)
        yield made


# 1. submit


def test_handles_are_never_given_twice(rig: Rig) -> None:
    handles = []
    for _ in range(20):
        handles.append(rig.executor.submit(rig.exits(0)))
        rig.end(handles[-1])
    assert len(set(handles)) == 20


def test_what_cannot_start_raises_and_harms_nobody(rig: Rig) -> None:
    before = rig.executor.submit(rig.runs())
    with pytest.raises(OSError, match="No such file"):
        rig.executor.submit(rig.impossible())
    after = rig.executor.submit(rig.exits(0))
    assert rig.end(after).exit_code == 0
    rig.executor.cancel(before, 0)
    assert rig.end(before).exit_code == -signal.SIGKILL


def test_no_process_can_take_a_nul(here: Processes) -> None:
    for job in (
        here.job("/bin/echo", "a\0b"),
        here.job("/bin/echo", WORD="a\0b"),
        here.job("/bin/echo", **{"A=B": ""}),
    ):
        with pytest.raises(OSError, match=r"null byte|illegal"):
            here.executor.submit(job)


def test_a_missing_folder_or_log_cannot_start(here: Processes) -> None:
    nowhere = f"{here.folder}/nowhere/x"
    for job in (replace(here.exits(0), folder=nowhere), replace(here.exits(0), log=nowhere)):
        with pytest.raises(OSError, match="nowhere"):
            here.executor.submit(job)


def test_a_file_that_is_no_program_cannot_start(here: Processes) -> None:
    (here.folder / "data.csv").write_text("1,2\n")
    with pytest.raises(PermissionError):
        here.executor.submit(here.job(f"{here.folder}/data.csv"))


def test_odd_names_arrive_as_they_are(here: Processes) -> None:
    odd = [
        "",
        " ",
        "a b",
        "'",
        '"',
        "$HOME",
        "`id`",
        "\n",
        "a\nb\n",
        "\t",
        "*",
        "größe",
        "日本",
        "🧪",
        "\\",
        "-n",
        "\x7f",
    ]
    shown = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['ODD'], os.getcwd()]))"
    folder = here.folder / 'a folder\'s "name"\nand größe'
    folder.mkdir()
    for text in ("".join(odd), ""):
        job = here.job(sys.executable, "-c", shown, *odd, ODD=text, PYTHONUTF8="1")
        job = replace(job, folder=str(folder), log=str(folder / "log of a 'job'"))
        assert here.end(here.executor.submit(job)).exit_code == 0
        last = Path(job.log).read_text().splitlines()[-1]
        assert json.loads(last) == [odd, text, str(folder)]


def test_the_environment_is_the_one_of_the_job(here: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "1")
    job = here.sh("env", OWN="2")
    here.end(here.executor.submit(job))
    names = {line.partition("=")[0] for line in Path(job.log).read_text().splitlines()}
    assert "OWN" in names
    assert names - {"OWN", "PATH", "PWD", "SHLVL", "_", "OLDPWD"} == {guard.TOKEN}


def test_standard_input_is_empty(here: Processes) -> None:
    job = here.sh("cat; echo over")
    assert here.end(here.executor.submit(job)).exit_code == 0
    assert Path(job.log).read_text() == "over\n"


# 2. wait


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
def test_exit_codes(rig: Rig, code: int) -> None:
    handle = rig.executor.submit(rig.exits(code))
    finished = rig.end(handle)
    assert (finished.handle, finished.exit_code, finished.problem) == (handle, code, "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE])
def test_a_signal_is_a_negative_code(here: Processes, number: signal.Signals) -> None:
    handle = here.executor.submit(here.sh(f"kill -{number.value} $$; sleep 60"))
    assert here.end(handle).exit_code == -number


def test_the_end_is_told_once(rig: Rig) -> None:
    handle = rig.executor.submit(rig.exits(0))
    rig.end(handle)
    assert rig.executor.wait([handle], 0.05) == []


def test_wait_tells_of_nobody_else(rig: Rig) -> None:
    one, other = rig.executor.submit(rig.exits(1)), rig.executor.submit(rig.exits(2))
    assert rig.end(other).exit_code == 2
    assert rig.end(one).exit_code == 1


def test_two_that_finish_together_are_both_told(rig: Rig) -> None:
    handles = [rig.executor.submit(rig.exits(code)) for code in range(20)]
    assert {h: f.exit_code for h, f in rig.ends(*handles).items()} == {h: code for code, h in enumerate(handles)}


def test_jobs_that_wait_for_the_same_moment(here: Processes) -> None:
    handles = [here.executor.submit(here.sh("while [ ! -e go ]; do sleep 0.01; done; exit 4")) for _ in range(8)]
    assert here.executor.wait(handles, 0.05) == []
    (here.folder / "go").touch()
    assert {finished.exit_code for finished in here.ends(*handles).values()} == {4}


def test_wait_gives_up_in_time(rig: Rig) -> None:
    handle = rig.executor.submit(rig.runs())
    assert rig.executor.wait([handle], 0.05) == []
    assert rig.executor.wait([handle], 0) == []
    assert rig.executor.wait([], 0) == []
    rig.executor.cancel(handle, 0)
    rig.end(handle)


def test_wake_ends_a_wait(rig: Rig) -> None:
    handle = rig.executor.submit(rig.runs())
    rig.executor.wait([handle], 0)
    told: list[list[Finished]] = []
    thread = threading.Thread(target=lambda: told.append(rig.executor.wait([handle], None)))
    thread.start()
    rig.executor.wake()
    thread.join(PATIENCE)
    assert told == [[]]
    rig.executor.cancel(handle, 0)
    rig.end(handle)


def test_wake_before_a_wait_ends_it_too(rig: Rig) -> None:
    handle = rig.executor.submit(rig.runs())
    rig.executor.wait([handle], 0)
    rig.executor.wake()
    assert rig.executor.wait([handle], None) == []
    rig.executor.cancel(handle, 0)
    rig.end(handle)


def test_a_thousand_wakes_do_not_block(rig: Rig) -> None:
    for _ in range(100_000):
        rig.executor.wake()
    handle = rig.executor.submit(rig.exits(7))
    assert rig.end(handle).exit_code == 7


def test_nothing_in_the_group_of_a_job_lives_on(here: Processes) -> None:
    handle = here.executor.submit(here.sh("(sleep 600) & sleep 600 & exit 5"))
    assert here.end(handle).exit_code == 5
    assert here.alive() == []


@pytest.mark.parametrize("code", [0, 1])
def test_nothing_that_left_the_group_of_a_job_lives_on(here: Processes, code: int) -> None:
    leave = (
        "import os, sys, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); open('ready', 'w'); "
    )
    script = f'{sys.executable} -c "{leave}time.sleep(600)"; while [ ! -e ready ]; do sleep 0.01; done; exit {code}'
    handle = here.executor.submit(here.sh(script))
    assert here.end(handle).exit_code == code
    assert here.alive() == []


def test_the_end_of_one_job_is_not_that_of_another(here: Processes) -> None:
    script = "setsid sh -c ': > ready; exec sleep 600' & wait"
    handle = here.started(script)
    before = len(here.alive())
    for _ in range(12):  # so that some have a number that starts like the first one's
        assert here.end(here.executor.submit(here.exits(1))).exit_code == 1
    assert len(here.alive()) == before
    here.executor.cancel(handle, 0)
    here.end(handle)
    assert here.alive() == []


def test_a_child_that_holds_the_log_open_delays_nothing(here: Processes) -> None:
    job = here.sh("sleep 600 & echo over")
    assert here.end(here.executor.submit(job)).exit_code == 0
    assert Path(job.log).read_text() == "over\n"


def test_exit_codes_survive_an_ignored_sigchld(tmp_path: Path) -> None:
    script = f"""
import signal
from mlmake.executors.process import ProcessExecutor
from mlmake.model.job import Job
executor = ProcessExecutor("{tmp_path}:x")
job = Job(name="x", argv=("/bin/sh", "-c", "exit 3"), env={{}}, folder="/", log="{tmp_path}/log")
handle = executor.submit(job)
print(executor.wait([handle], 60)[0].exit_code)
executor.close()
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "3\n"


def test_a_lost_exit_code_is_no_success(here: Processes) -> None:
    if isinstance(here, BlindProcesses):
        pytest.skip("where nobody can peek, nobody can tell")
    handle = here.executor.submit(here.sh("echo $$ > pid; exit 0"))
    pid = until(lambda: (here.folder / "pid").exists() and (here.folder / "pid").read_text())
    os.waitpid(int(pid), 0)
    finished = here.end(handle)
    assert finished.exit_code != 0
    assert "lost" in finished.problem


# 3. cancel


def test_cancel_asks_first(rig: Rig) -> None:
    handle = rig.executor.submit(rig.runs())
    rig.executor.cancel(handle, PATIENCE)
    assert rig.end(handle).exit_code == -signal.SIGTERM


def test_cancel_without_grace_kills(rig: Rig) -> None:
    handle = rig.executor.submit(rig.runs())
    rig.executor.cancel(handle, 0)
    assert rig.end(handle).exit_code == -signal.SIGKILL


def test_cancelling_what_has_finished_does_nothing(rig: Rig) -> None:
    handle = rig.executor.submit(rig.exits(0))
    rig.end(handle)
    rig.executor.cancel(handle, 0)
    rig.executor.cancel(handle, 5)
    assert rig.executor.wait([handle], 0) == []


def test_cancelling_a_stranger_does_nothing(rig: Rig) -> None:
    rig.executor.cancel("no such handle", 0)


def test_one_that_ends_well_when_asked_keeps_its_code(here: Processes) -> None:
    handle = here.started(f"trap 'echo bye; exit 9' TERM; touch ready; {FOREVER}")
    here.executor.cancel(handle, PATIENCE)
    assert here.end(handle).exit_code == 9


def test_one_that_does_not_listen_is_killed(here: Processes) -> None:
    handle = here.started(f"trap '' TERM; touch ready; {FOREVER}")
    here.executor.cancel(handle, 0.1)
    assert here.end(handle).exit_code == -signal.SIGKILL


def test_cancel_reaches_the_whole_tree(here: Processes) -> None:
    handle = here.started(f"trap '' TERM; (trap '' TERM; {FOREVER}) & sh -c 'sleep 600' & touch ready; {FOREVER}")
    assert len(here.alive()) >= 3
    here.executor.cancel(handle, 0.1)
    here.end(handle)
    assert here.alive() == []


def test_the_whole_tree_has_the_grace(here: Processes) -> None:
    """A shell dies at once; the training below it still gets to write its checkpoint."""
    child = f"trap 'sleep 0.3; echo saved > checkpoint; exit 0' TERM; touch ready; {FOREVER}"
    handle = here.started(f'sh -c "{child}"; true')
    here.executor.cancel(handle, PATIENCE)
    assert here.end(handle).exit_code == -signal.SIGTERM
    assert (here.folder / "checkpoint").read_text() == "saved\n"


def test_a_tree_without_its_root_is_killed_in_the_end(here: Processes) -> None:
    child = f"trap '' TERM; touch ready; {FOREVER}"
    handle = here.started(f'sh -c "{child}"; true')
    here.executor.cancel(handle, 0.2)
    assert here.end(handle).exit_code == -signal.SIGTERM
    assert here.alive() == []


def test_cancelling_again_asks_once_and_shortens_the_grace(here: Processes) -> None:
    handle = here.started(f"trap 'echo asked' TERM; touch ready; {FOREVER}")
    for grace in (10 * PATIENCE, 20 * PATIENCE):
        here.executor.cancel(handle, grace)
    until(lambda: b"asked" in here.executor.read_log(handle, 0))
    here.executor.cancel(handle, 0.05)
    assert here.end(handle).exit_code == -signal.SIGKILL
    assert here.executor.read_log(handle, 0).count(b"asked") == 1


def test_cancelling_again_cannot_lengthen_the_grace(here: Processes) -> None:
    handle = here.started(f"trap '' TERM; : > ready; {FOREVER}")
    here.executor.cancel(handle, 0.2)
    here.executor.cancel(handle, 100 * PATIENCE)
    assert here.end(handle).exit_code == -signal.SIGKILL


def test_a_stopped_job_can_be_ended(here: Processes) -> None:
    handle = here.executor.submit(here.sh("kill -STOP $$"))
    here.executor.cancel(handle, 0.1)
    assert here.end(handle).exit_code in (-signal.SIGKILL, -signal.SIGTERM)


def test_cancel_from_another_thread_ends_a_wait(rig: Rig) -> None:
    handle = rig.executor.submit(rig.runs())
    timer = threading.Timer(0.05, lambda: rig.executor.cancel(handle, 0))
    timer.start()
    assert [finished.handle for finished in _wait_long(rig, handle)] == [handle]


# 4. read_log


def test_a_log_can_be_read_from_any_offset(rig: Rig) -> None:
    handle = rig.executor.submit(rig.exits(1, says="0123456789"))
    rig.end(handle)
    read = rig.executor.read_log
    assert [read(handle, 0), read(handle, 7), read(handle, 10), read(handle, 99)] == [b"0123456789", b"789", b"", b""]


def test_a_log_can_be_followed_while_the_job_runs(here: Processes) -> None:
    handle = here.executor.submit(here.sh(f"echo one; while [ ! -e go ]; do sleep 0.01; done; echo two >&2; {FOREVER}"))
    until(lambda: here.executor.read_log(handle, 0) == b"one\n")
    (here.folder / "go").touch()
    until(lambda: here.executor.read_log(handle, 4) == b"two\n")
    here.executor.cancel(handle, 0)
    here.end(handle)


def test_a_log_is_added_to(here: Processes) -> None:
    job = here.sh("echo two")
    Path(job.log).write_text("one\n")
    here.end(here.executor.submit(job))
    assert Path(job.log).read_text() == "one\ntwo\n"


def test_bytes_that_are_no_text_stay(here: Processes) -> None:
    handle = here.executor.submit(here.sh(r"printf '\377\000\r\n'"))
    here.end(handle)
    assert here.executor.read_log(handle, 0) == b"\xff\0\r\n"


def test_a_large_log_does_not_go_through_memory(tmp_path: Path) -> None:
    size = 50_000_000
    script = f"""
import resource
from mlmake.executors.process import ProcessExecutor
from mlmake.model.job import Job
executor = ProcessExecutor("{tmp_path}:x")
env = {{"PATH": "/usr/bin:/bin"}}
argv = ("/bin/sh", "-c", "yes 0123456789 | head -c {size}")
handle = executor.submit(Job(name="x", argv=argv, env=env, folder="/", log="{tmp_path}/log"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert executor.wait([handle], 600)[0].exit_code == 0
tail = executor.read_log(handle, {size} - 10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(tail))
executor.close()
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    grown, tail = map(int, run.stdout.split())
    assert (tmp_path / "log").stat().st_size == size
    assert tail == 10
    assert grown < 10_000  # kilobytes


# 5. close


def test_close_ends_what_runs(here: Processes) -> None:
    other = ProcessExecutor(f"{here.token}-other")
    for script in (FOREVER, f"trap '' TERM; {FOREVER}", "setsid sleep 600 & sleep 600"):
        other.submit(here.sh(script))
    other.close()
    until(lambda: guard.marked(f"{here.token}-other") == [])


def test_a_closed_executor_ignores_what_comes_late(rig: Rig, tmp_path: Path) -> None:
    other = rig.make()
    handle = other.submit(rig.exits(0))
    other.close()
    with (tmp_path / "file").open("wb"):  # may get the number of a closed pipe
        other.wake()
        other.cancel(handle, 0)
    assert (tmp_path / "file").read_bytes() == b""


def test_no_handles_are_lost(here: Processes) -> None:
    def run() -> None:
        other = ProcessExecutor(f"{here.token}-other")
        handle = other.submit(here.exits(0))
        while not other.wait([handle], 1):
            pass
        other.close()

    run()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run()
    assert len(os.listdir("/proc/self/fd")) <= before


def _wait_long(rig: Rig, handle: str) -> list[Finished]:
    return until(lambda: rig.executor.wait([handle], PATIENCE))
