"""A build that is killed or interrupted: what was finished stays, nothing half done stands, nobody is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mlmake.model.events import Noticed
from mlmake.model.run import Outcome
from mlmake.state.database import connect
from mlmake.state.runs import Runs
from projects import Folder, kill, until

# Killed at random, again and again

WIDE, DEEP = 40, 5
COUNT = WIDE * DEEP
"""Forty chains of five steps; the third of each makes a folder, and the fourth of each tenth is `in_place`."""
LINES = 2000
NOTE = "echo {name} >> ../ran"
FILE = "yes {name}-$(cat ../seed) | head -n {lines} > {{outputs.x}}"
IN_PLACE = "yes {name}-$(cat ../seed) | head -n {lines} > build/{name}"
FOLDER = "for n in 1 2 3; do yes {name}-$(cat ../seed) | head -n {lines} > {{outputs.x}}/$n; done"


def is_folder(depth: int) -> bool:
    return depth == 2


def is_in_place(chain: int, depth: int) -> bool:
    return depth == 3 and chain % 10 == 0


def chains() -> str:
    """The steps, as tables."""
    tables = []
    for chain in range(WIDE):
        for depth in range(DEEP):
            name = f"s{chain}-{depth}"
            work = IN_PLACE if is_in_place(chain, depth) else FOLDER if is_folder(depth) else FILE
            source = f"@s{chain}-{depth - 1}" if depth else "seed.txt"
            tables.append(f"""
                [{name}]
                command = "{NOTE.format(name=name)}; {work.format(name=name, lines=LINES)}"
                inputs = {{ above = "{source}" }}
                outputs = {{ x = "build/{name}{"/" if is_folder(depth) else ""}" }}
                in_place = {str(is_in_place(chain, depth)).lower()}
            """)
    return "\n".join(tables)


class Rounds:
    """A project of 200 steps whose seed makes all of them stale."""

    def __init__(self, project: Folder) -> None:
        self.project = project
        self.names = [f"s{chain}-{depth}" for chain in range(WIDE) for depth in range(DEEP)]
        self.seed = 0
        self.base = 0
        project.steps(chains())
        self.sow()

    def sow(self) -> None:
        """Make every step stale, and forget who ran."""
        self.seed += 1
        self.project.write({"seed.txt": f"{self.seed}", "../seed": f"{self.seed}", "../ran": ""})
        self.base = max(self.project.recorded().values(), default=0)

    def finished(self) -> set[str]:
        """Steps with a record of this seed."""
        return {step.partition(".")[2] for step, run in self.project.recorded().items() if run > self.base}

    def ran(self) -> list[str]:
        return self.project.log("../ran")

    def check_outputs(self, *, after_recovery: bool) -> None:
        """Every output that is there is whole, of this seed or of one before; of finished steps it is of this one."""
        finished = self.finished()
        for name in self.names:
            chain, depth = (int(part) for part in name[1:].split("-"))
            if not after_recovery and is_in_place(chain, depth):
                continue  # the next build puts the old one back
            path = self.project.root / "build" / name
            for file in [path / n for n in "123"] if is_folder(depth) and path.exists() else [path]:
                if file.exists() or name in finished:
                    self._check(name, file, name in finished)

    def _check(self, name: str, file: Path, is_finished: bool) -> None:
        lines = file.read_text().splitlines()
        assert len(lines) == LINES, f"{file} is not whole"
        assert len(set(lines)) == 1
        seed = int(lines[0].rpartition("-")[2])
        assert lines[0] == f"{name}-{seed}"
        assert seed == self.seed if is_finished else seed <= self.seed


@pytest.mark.slow
def test_kill_9_at_fifteen_random_moments(project: Folder) -> None:
    """The moments fall before, in and after the work of 200 steps; when all are done, a new seed starts them anew."""
    rounds = Rounds(project)
    dice = random.Random(20240229)
    interrupted = 0
    for _ in range(15):
        before, ran_before = rounds.finished(), len(rounds.ran())
        running = project.start("-q")
        if dice.random() < 0.2:
            time.sleep(dice.random() * 0.5)
        else:
            _let_work(rounds, ran_before, dice.randrange(1, 90), dice.random() * 0.02, running)
        running.kill()
        running.wait()
        until(lambda: not project.processes(), "the end of all that the build had started")
        again = before & set(rounds.ran()[ran_before:])
        assert not again, f"finished steps ran again: {again}"
        assert before <= rounds.finished()
        rounds.check_outputs(after_recovery=False)
        interrupted += len(rounds.finished()) < COUNT
        if len(rounds.finished()) == COUNT:
            rounds.sow()
    assert interrupted > 10
    before, ran_before = rounds.finished(), len(rounds.ran())
    last = project.cli()
    assert last.returncode == 0, last.stdout + last.stderr
    assert sorted(rounds.ran()[ran_before:]) == sorted(set(rounds.names) - before)
    assert rounds.finished() == set(rounds.names)
    rounds.check_outputs(after_recovery=True)
    assert set(project.states().values()) == {"fresh"}
    assert project.processes() == []
    assert [name for place in ("staging", "aside") for name in _inside(project, place)] == []


def _let_work(rounds: Rounds, start: int, steps: int, more: float, running: subprocess.Popen[str]) -> None:
    """Wait until so many steps have started, and a moment more; or the build is over."""

    def enough() -> bool:
        return running.poll() is not None or len(rounds.ran()) - start >= steps

    until(enough, f"{steps} steps")
    time.sleep(more)


def _inside(project: Folder, place: str) -> list[str]:
    folder = Path(project.home.folder, place)
    return os.listdir(folder) if folder.exists() else []


# Killed in the middle of one step

AWAY = "setsid sleep 600 &"
FOREVER = "while :; do sleep 0.05; done"
HELD = f"""
    [done]
    command = "echo 1 > {{outputs.x}}"
    outputs = {{ x = "build/done" }}
    [held]
    command = "cat {{inputs.x}} > {{outputs.y}}; (trap '' TERM; {FOREVER}) & {AWAY} touch ../ready; {FOREVER}"
    inputs = {{ x = "@done" }}
    outputs = {{ y = "build/held" }}
    [polite]
    command = "trap 'echo saved > ../saved; exit 0' TERM; touch ../polite; {FOREVER}"
    after = ["done"]
"""


@pytest.fixture
def held(project: Folder) -> Folder:
    """A project whose build has one finished step and two that run until they are ended."""
    project.steps(HELD)
    return project


def start(project: Folder, grace: float | None = None) -> subprocess.Popen[str]:
    running = project.start("-j4", grace=grace)
    until(lambda: (project.root / "../ready").exists() and (project.root / "../polite").exists(), "both steps")
    assert "p.done" in project.recorded()
    return running


def outcomes(project: Folder, run: int = 1) -> dict[str, Outcome]:
    """How each step of a run stands; "" is the run itself."""
    connection = connect(project.home, create=False)
    runs = Runs(connection)
    found = {step_run.step.partition(".")[2]: step_run.outcome for step_run in runs.steps_of(run)}
    whole = runs.get(run)
    connection.close()
    assert whole is not None
    return {**found, "": whole.outcome}


def assert_clean(project: Folder) -> None:
    """What was finished is fresh, nothing half done stands anywhere, and nobody is left behind."""
    until(lambda: not project.processes(), "the end of all that the build had started")
    assert project.read("build/done") == "1\n"
    assert not project.has("build/held")
    assert project.states() == {"done": "fresh", "held": "stale", "polite": "stale"}


def test_kill_9(held: Folder) -> None:
    running = start(held)
    assert len(held.processes()) >= 5
    kill(running.pid)
    running.wait()
    assert_clean(held)
    assert outcomes(held) == {
        "done": Outcome.DONE,
        "held": Outcome.RUNNING,
        "polite": Outcome.RUNNING,
        "": Outcome.RUNNING,
    }
    held.steps(HELD.replace(FOREVER, "true").replace(AWAY, ""))
    built = held.build()
    assert sorted(built.done) == ["held", "polite"]
    assert built.of(Noticed) == []
    lost = Outcome.LOST
    assert outcomes(held) == {"done": Outcome.DONE, "held": lost, "polite": lost, "": lost}


def test_kill_9_of_mlmake_and_of_its_guard(held: Folder) -> None:
    """Then only the next build can end what is left, and does so before it starts anything."""
    running = start(held)
    guards = held.guards()
    assert len(guards) == 1
    os.kill(running.pid, signal.SIGSTOP)  # so that the guard has nothing to do before it dies
    kill(guards[0].pid)
    kill(running.pid)
    running.wait()
    left = held.processes()
    assert len(left) >= 4
    held.steps("""
        [next]
        command = "true"
    """)
    assert held.cli().returncode == 0
    psutil.wait_procs(left, timeout=30)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)
    assert held.processes() == []


def test_a_guard_that_dies_does_not_matter(project: Folder) -> None:
    project.steps("""
        [one]
        command = "touch ../ready; while [ ! -e ../go ]; do sleep 0.01; done"
        [two]
        command = "true"
        after = ["one"]
    """)
    running = project.start()
    until((project.root / "../ready").exists)
    kill(project.guards()[0].pid)
    project.write({"../go": ""})
    assert running.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_build_cleanly(held: Folder, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """`held` does not listen at all, so a second signal shortens its grace; `polite` uses the first."""
    running = start(held, grace=3600)
    running.send_signal(number)
    until((held.root / "../saved").exists)
    running.send_signal(number)
    said, _ = running.communicate()
    assert running.returncode == 130
    assert f"{number.name}: ending 2 running; once more ends them at once" in said
    assert said.count("ending 2 running") == 1
    assert "held cancelled" in said
    assert "2 cancelled" in said.splitlines()[-1]
    assert_clean(held)
    assert outcomes(held) == {
        "done": Outcome.DONE,
        "held": Outcome.CANCELLED,
        "polite": Outcome.CANCELLED,
        "": Outcome.CANCELLED,
    }


def test_one_signal_is_enough(held: Folder) -> None:
    """After the grace, what does not listen is killed."""
    running = start(held, grace=0.3)
    running.terminate()
    assert running.wait() == 130
    assert_clean(held)


def test_the_second_ctrl_c_ends_at_once(project: Folder) -> None:
    project.steps(f"""
        [deaf]
        command = "trap '' TERM INT; touch ../ready; {FOREVER}"
    """)
    running = project.start(grace=3600)
    until((project.root / "../ready").exists)
    running.send_signal(signal.SIGINT)
    assert running.stdout is not None
    assert any("once more ends them at once" in line for line in running.stdout)
    running.send_signal(signal.SIGINT)
    assert running.wait() == 130
    assert project.processes() == []


def test_ctrl_c_reaches_steps_through_mlmake_only(held: Folder) -> None:
    """A terminal sends it to the whole group in the foreground; steps are not in it."""
    running = start(held)
    os.killpg(running.pid, signal.SIGINT)
    until((held.root / "../saved").exists)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait() == 130
    assert_clean(held)


def test_nohup_is_obeyed(project: Folder) -> None:
    project.steps("""
        [one]
        command = "touch ../ready; while [ ! -e ../go ]; do sleep 0.01; done"
    """)
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        running = project.start()
    finally:
        signal.signal(signal.SIGHUP, old)
    until((project.root / "../ready").exists)
    running.send_signal(signal.SIGHUP)
    project.write({"../go": ""})
    assert running.wait() == 0


def test_a_failing_step_fails_even_where_children_are_ignored(project: Folder) -> None:
    """Some parents hand down an ignored SIGCHLD, and then the kernel keeps no exit codes."""
    project.steps('[bad]\ncommand = "exit 3"')
    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        running = project.start()
    finally:
        signal.signal(signal.SIGCHLD, old)
    said, _ = running.communicate()
    assert running.returncode == 1
    assert "exit code 3" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_waiting_for_another_build(held: Folder, number: signal.Signals) -> None:
    first = start(held)
    second = held.start()
    assert second.stdout is not None
    assert "waiting for another build" in second.stdout.readline()
    second.send_signal(number)
    said, _ = second.communicate()
    assert second.returncode == 130
    assert number is signal.SIGINT or "stopped by SIGTERM" in said
    assert first.poll() is None
    assert len(held.recorded()) == 1
    assert held.processes()


def test_a_signal_between_two_attempts(project: Folder) -> None:
    project.steps("""
        [flaky]
        command = "echo >> ../tries; exit 1"
        retries = 50
    """)
    running = project.start()
    until(lambda: len(project.log("../tries")) >= 2)
    running.terminate()
    assert running.wait() == 130
    assert outcomes(project) == {"flaky": Outcome.CANCELLED, "": Outcome.CANCELLED}


def test_what_ended_before_the_signal_is_kept(project: Folder) -> None:
    """A build of many short steps is interrupted: each has a record, or did not happen."""
    rounds = Rounds(project)
    running = project.start()
    until(lambda: len(rounds.ran()) > 20)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate()
    assert running.returncode == 130, said
    finished = rounds.finished()
    assert len(finished) >= 10
    rounds.check_outputs(after_recovery=True)
    assert {name for name, state in project.states().items() if state == "fresh"} == finished
    assert said.splitlines()[-1].startswith(f"{len(finished)} ran, ")
    assert project.processes() == []


def test_a_killed_build_leaves_other_projects_alone(held: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "project-2")  # a name that starts as the other's does
    other.root.mkdir()
    other.steps(HELD.replace("../", "./"))
    their = other.start("-j4")
    until(lambda: other.has("ready") and other.has("polite"))
    ours = start(held)
    kill(ours.pid)
    ours.wait()
    assert_clean(held)
    held.build("done")
    assert their.poll() is None
    assert len(other.processes()) >= 5
    other.close()


def run_until(project: Folder, check: Callable[[], bool]) -> None:
    running = project.start()
    until(check)
    kill(running.pid)
    running.wait()


def test_death_while_the_state_is_made(project: Folder) -> None:
    """Before any step has run: the first thing that a build writes is its own home."""
    project.steps(HELD)
    for moment in (lambda: project.has(".mlmake"), lambda: project.has(".mlmake/state.db")):
        run_until(project, moment)
    project.steps('[one]\ncommand = "true"')
    last = project.cli()
    assert last.returncode == 0, last.stdout + last.stderr
