"""Steps on their way: attempts, timeouts, what a failure stops, room on the target, who goes first."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmake.engine import attempt, jobs
from mlmake.engine.slots import Lease, Slots, here
from mlmake.errors import UsageError
from mlmake.executors import process
from mlmake.executors.fake import FakeExecutor
from mlmake.model.events import Event, StepBlocked, StepFinished, StepRetried, StepStarted
from mlmake.model.job import Finished, Job
from mlmake.model.resources import Resources
from mlmake.model.run import Outcome
from projects import Folder, until

Play = Callable[[Job], int | None]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Play], None]:
    """Let builds run jobs by a function; outputs are written for it where it gives 0."""

    def install(play: Play) -> None:
        def written(job: Job) -> int | None:
            code = play(job)
            for name, path in job.env.items() if code == 0 else ():
                if name.startswith("MLMAKE_OUTPUT_"):
                    Path(job.folder, path).write_text(job.name)
            return code

        monkeypatch.setattr(process.ProcessExecutor, "of", lambda *_: FakeExecutor(written))

    return install


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits between attempts, and between asking and killing."""
    monkeypatch.setattr(attempt, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(jobs, "GRACE", 0.2)


def independent(count: int, *, extra: str = "") -> str:
    """Steps s0, s1, … that do not depend on each other."""
    return "\n".join(f'[s{n}]\ncommand = "true"\noutputs = {{ x = "build/{n}" }}\n{extra}' for n in range(count))


def overlap(events: list[Event]) -> int:
    """The most steps that ran at once, as the build tells."""
    running = most = 0
    for event in events:
        running += isinstance(event, StepStarted) - isinstance(event, StepFinished)
        most = max(most, running)
    return most


# Attempts


def test_a_failed_attempt_is_tried_again_after_longer_and_longer_pauses(project: Folder, quick: None) -> None:
    project.steps("""
        [flaky]
        command = "echo try >> ../tries; n=$(wc -l < ../tries); echo $n; [ $n -ge 4 ] && echo 1 > {outputs.x}"
        outputs = { x = "build/x" }
        retries = 3
    """)
    built = project.build()
    assert built.done == ["flaky"]
    assert [(e.attempt, e.delay) for e in built.of(StepRetried)] == [(1, 0.01), (2, 0.02), (3, 0.04)]
    assert [event.attempt for event in built.of(StepStarted)] == [1, 2, 3, 4]
    assert [event.message for event in built.of(StepRetried)] == ["exit code 1"] * 3
    logs = [event.log for event in built.of(StepStarted)]
    assert len(set(logs)) == 4
    assert [project.read(log).strip() for log in logs] == ["1", "2", "3", "4"]
    assert built.of(StepFinished)[0].attempt == 4
    assert built.summary.ran == 1


def test_the_last_attempt_s_failure_is_the_step_s(project: Folder, quick: None) -> None:
    project.steps("""
        [bad]
        command = "echo try >> ../tries; exit $(wc -l < ../tries)"
        retries = 2
    """)
    built = project.build()
    assert len(project.log("../tries")) == 3
    assert built.message("bad") == "exit code 3"
    assert built.summary.failed == 1


def test_pauses_grow_to_half_a_minute(
    project: Folder, fake: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(attempt, "_LONGEST_PAUSE", 0.005)
    fake(lambda job: 1)
    project.steps('[bad]\ncommand = "true"\nretries = 5')
    delays = [event.delay for event in project.build().of(StepRetried)]
    assert delays == [0.001, 0.002, 0.004, 0.005, 0.005]


def test_others_run_while_one_rests(project: Folder, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_FIRST_PAUSE", 0.3)
    project.steps("""
        [flaky]
        command = "[ -e ../other ]"
        retries = 5
        [other]
        command = "touch ../other"
    """)
    assert project.build(jobs=1).done == ["other", "flaky"]


def test_a_script_that_went_away_fails_its_step_only(project: Folder) -> None:
    project.write({"gone.py": "print(1)"})
    project.steps("""
        [first]
        command = "rm gone.py; echo 1 > {outputs.x}"
        outputs = { x = "x" }
        [gone]
        script = "gone.py"
        inputs = { x = "@first" }
        args = []
        [other]
        command = "true"
        after = ["first"]
    """)
    built = project.build(keep_going=True)
    assert built.failed == ["gone"]
    assert built.message("gone") == "script gone.py is missing"
    assert "other" in built.done


def test_a_program_that_is_not_there(project: Folder) -> None:
    project.steps("""
        [list]
        command = ["no-such-program", "x"]
        retries = 3
        [text]
        command = "no-such-program x"
    """)
    built = project.build(keep_going=True)
    assert built.message("list") == "cannot start no-such-program: No such file or directory"
    assert built.message("text") == "exit code 127"
    assert built.of(StepRetried) == []  # what cannot start will not start a moment later
    finished = next(event for event in built.of(StepFinished) if event.step == "p.list")
    assert "cannot start no-such-program" in project.read(finished.log)


def test_a_command_line_that_is_too_long(project: Folder) -> None:
    project.write({f"data/{'n' * 200}{n}": "" for n in range(800)})
    project.steps("""
        [one]
        command = "cat {inputs.x} > {outputs.y}"
        inputs = { x = "data/*" }
        outputs = { y = "build/y" }
        [two]
        command = "true"
    """)
    built = project.build(keep_going=True)
    assert built.message("one") == "cannot start /bin/sh: Argument list too long"
    assert built.done == ["two"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 42", "exit code 42"),
        ("kill -9 $$", "killed by SIGKILL (out of memory?)"),
        ("kill -11 $$", "killed by SIGSEGV"),
        ("kill -34 $$", "killed by signal 34"),
    ],
)
def test_the_end_of_a_step_in_words(project: Folder, script: str, message: str) -> None:
    project.steps(f'[bad]\ncommand = "{script}; sleep 60"')
    built = project.build()
    assert built.message("bad").replace("SIGRTMIN", "signal 34") == message
    assert built.of(StepFinished)[0].outcome is Outcome.FAILED


def test_an_executor_that_breaks_ends_the_build(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(FakeExecutor):
        def wait(self, handles: object, timeout: float | None) -> list[Finished]:
            raise RuntimeError("the cluster is gone")

    monkeypatch.setattr(process.ProcessExecutor, "of", lambda *_: Broken(lambda job: None))
    project.steps(independent(1))
    with pytest.raises(RuntimeError, match="the cluster is gone"):
        project.build()


def test_a_lost_exit_code_fails_the_step(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy(FakeExecutor):
        def wait(self, handles: object, timeout: float | None) -> list[Finished]:
            return [Finished(each.handle, 0, "it was lost") for each in super().wait(handles, timeout)]  # type: ignore[arg-type]

    monkeypatch.setattr(process.ProcessExecutor, "of", lambda *_: Lossy(lambda job: 0))
    project.steps(independent(1))
    assert project.build().message("s0") == "it was lost"


# Timeouts


def test_a_timeout_ends_the_whole_tree(project: Folder, quick: None) -> None:
    project.steps("""
        [slow]
        command = "trap '' TERM; setsid sleep 600 & (trap '' TERM; sleep 600; true) & sleep 600; sleep 600"
        timeout = "300ms"
        [next]
        command = "true"
    """)
    built = project.build(keep_going=True)
    assert built.failed == ["slow"]
    assert built.message("slow") == "ended after its timeout of 0.3 s"
    assert built.done == ["next"]
    assert project.processes() == []


def test_one_that_ends_well_after_its_timeout_has_still_failed(project: Folder) -> None:
    project.steps("""
        [slow]
        command = "trap 'echo 1 > {outputs.x}; exit 0' TERM; while :; do sleep 0.05; done"
        outputs = { x = "build/x" }
        timeout = 0.3
    """)
    assert project.build().failed == ["slow"]
    assert not project.has("build/x")


def test_each_attempt_has_the_whole_time(project: Folder, quick: None) -> None:
    project.steps("""
        [slow]
        command = "echo >> ../tries; [ $(wc -l < ../tries) -ge 2 ] || exec sleep 600"
        timeout = "1s"
        retries = 1
    """)
    built = project.build()
    assert built.done == ["slow"]
    assert [event.message for event in built.of(StepRetried)] == ["ended after its timeout of 1 s"]


def test_a_timeout_that_is_not_reached_does_nothing(project: Folder) -> None:
    project.steps('[quick]\ncommand = "true"\ntimeout = "1h"')
    assert project.build().done == ["quick"]


# What a failure stops

FAILING = """
    [bad]
    command = "sleep 0.1; exit 1"
    outputs = { x = "build/bad" }
    [below]
    command = "cat {inputs.x} > {outputs.y}"
    inputs = { x = "@bad" }
    outputs = { y = "build/below" }
    [deeper]
    command = "cat {inputs.y} > {outputs.z}"
    inputs = { y = ["@below", "@good"] }
    outputs = { z = "build/deeper" }
    [good]
    command = "sleep 0.2; echo 1 > {outputs.x}"
    outputs = { x = "build/good" }
    [later]
    command = "cat {inputs.x} > {outputs.y}"
    inputs = { x = "@good" }
    outputs = { y = "build/later" }
"""


def test_a_failure_starts_nothing_more_and_lets_end_what_runs(project: Folder) -> None:
    project.steps(FAILING)
    built = project.build(jobs=2)
    assert built.failed == ["bad"]
    assert built.done == ["good"]
    assert sorted(built.started) == ["bad", "good"]
    assert project.states()["good"] == "fresh"
    assert (built.summary.ran, built.summary.failed) == (1, 1)


def test_keep_going_builds_all_that_can_be_built(project: Folder) -> None:
    project.steps(FAILING)
    built = project.build(keep_going=True)
    assert built.failed == ["bad"]
    assert sorted(built.done) == ["good", "later"]
    blocked = {built.project.shown(e.step): [str(reason) for reason in e.reasons] for e in built.of(StepBlocked)}
    assert blocked == {"below": ["step p.bad failed"], "deeper": ["step p.below is blocked"]}
    assert built.summary.blocked == 2
    project.steps(FAILING.replace("exit 1", "echo 1 > {outputs.x}"))
    assert sorted(project.build().done) == ["bad", "below", "deeper"]


def test_keep_going_leaves_what_was_fresh_below_a_failure(project: Folder) -> None:
    project.steps(FAILING.replace("exit 1", "echo 1 > {outputs.x}"))
    project.build()
    project.steps(FAILING)
    built = project.build(keep_going=True)
    assert built.failed == ["bad"]
    assert built.summary.blocked == 2
    assert project.read("build/bad") == project.read("build/below") == "1\n"
    assert project.states() == {"bad": "stale", "below": "maybe", "deeper": "maybe", "good": "fresh", "later": "fresh"}


def test_one_that_rests_is_not_tried_again_after_a_failure(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_FIRST_PAUSE", 3600.0)
    project.steps("""
        [flaky]
        command = "exit 1"
        retries = 5
        [bad]
        command = "while ! ls .mlmake/logs/1/ | grep -q flaky; do sleep 0.02; done; sleep 0.2; exit 1"
    """)
    built = project.build(jobs=2)
    assert built.failed == ["bad"]
    assert built.ended(Outcome.CANCELLED) == ["flaky"]
    assert built.message("flaky") == "not tried again"
    assert built.summary.cancelled == 1
    finished = next(event for event in built.of(StepFinished) if event.step == "p.flaky")
    assert finished.attempt == 1
    assert project.has(finished.log)


# Room


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_as_j_says_run_at_once(project: Folder, count: int) -> None:
    project.steps("\n".join(f'[s{n}]\ncommand = "sleep 0.1"' for n in range(7)))
    built = project.build(jobs=count)
    assert len(built.done) == 7
    assert overlap(built.events) == count


def test_without_j_as_many_as_there_are_cpus(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert here(None, None) == {"cpus": 3}
    assert here(2, None) == {"cpus": 2}
    assert here(None, Resources(cpus=8, memory=10)) == {"cpus": 8, "memory": 10}
    assert here(1, Resources(cpus=8, named={"licence": 2})) == {"cpus": 1, "licence": 2}
    assert here(None, Resources(cpus=0, gpus=1)) == {"cpus": 3, "gpus": 1}


ALONE = "mkdir ../%s || echo overlap >> ../overlaps; sleep 0.05; rmdir ../%s"
"""A command that notes if another one of its name runs at the same time."""


def test_a_named_resource_is_never_shared(project: Folder) -> None:
    taken = ALONE.replace("%s", "licence")
    project.steps(
        "[compute.local]\nresources = { licence = 1 }\ncpus = 4\n"
        + "\n".join(f'[s{n}]\ncommand = "{taken}"\nresources = {{ licence = 1 }}' for n in range(6))
        + "\n".join(f'\n[free{n}]\ncommand = "sleep 0.1"' for n in range(3))
    )
    built = project.build(jobs=None)
    assert len(built.done) == 9
    assert project.log("../overlaps") == []
    assert overlap(built.events) > 1  # what needs no licence ran meanwhile


def test_memory_is_never_oversold(project: Folder) -> None:
    taken = ALONE.replace("%s", "memory")
    project.steps(
        '[compute.local]\nmemory = "1GiB"\ncpus = 8\n'
        + "\n".join(f'[s{n}]\ncommand = "{taken}"\nresources = {{ memory = "600MiB" }}' for n in range(4))
    )
    assert len(project.build(jobs=None).done) == 4
    assert project.log("../overlaps") == []


def test_a_step_that_asks_for_more_cpus_than_there_are_runs_alone(project: Folder) -> None:
    project.steps("""
        [big]
        command = "ls ../running-* 2>/dev/null && echo overlap >> ../overlaps; touch ../big; sleep 0.2; rm ../big"
        resources = { cpus = 64 }
        [small]
        command = "[ -e ../big ] && echo overlap >> ../overlaps; f=../running-$$; touch $f; sleep 0.05; rm $f"
        matrix = { n = [1, 2, 3, 4, 5, 6] }
    """)
    built = project.build(jobs=2)
    assert len(built.done) == 7
    assert project.log("../overlaps") == []


@pytest.mark.parametrize(
    ("offered", "asked", "said"),
    [
        ("", "licence = 1", "licence = 1"),
        ("resources = { licence = 1 }", "licence = 2", "licence = 2"),
        ("", "gpus = 1", "gpus = 1"),
        ('memory = "1GiB"', 'memory = "2GiB"', "memory = 2.14748e+09"),
    ],
)
def test_what_can_never_start_is_refused_before_anything_has_run(
    project: Folder, offered: str, asked: str, said: str
) -> None:
    project.steps(f"""
        [compute.local]
        {offered}
        [first]
        command = "touch ran"
        [big]
        command = "true"
        resources = {{ {asked} }}
    """)
    with pytest.raises(UsageError, match=f"target 'local' does not offer {said}".replace("+", r"\+")):
        project.build()
    assert not project.has("ran")


def test_memory_is_no_limit_where_nobody_said_how_much_there_is(project: Folder) -> None:
    project.steps('[big]\ncommand = "true"\nresources = { memory = "64TiB" }')
    assert project.build().done == ["big"]


def test_gpus_are_leased_by_index(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        [compute.local]
        gpus = 3
        cpus = 8
        [train]
        command = "mkdir ../gpu-$CUDA_VISIBLE_DEVICES && sleep 0.1 && rmdir ../gpu-$CUDA_VISIBLE_DEVICES"
        matrix = { n = [1, 2, 3, 4, 5, 6, 7] }
        resources = { gpus = 1 }
        [large]
        command = "echo $CUDA_VISIBLE_DEVICES > ../large"
        resources = { gpus = 3 }
        [small]
        command = "echo $CUDA_VISIBLE_DEVICES > ../small"
    """
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    project.steps(text)
    assert len(project.build(jobs=None).done) == 9
    assert project.read("../large") == "0,1,2\n"
    assert project.read("../small") == "\n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,GPU-7")  # mlmake may use only these
    assert project.build("large", "small", jobs=None, force=True).failed == []
    assert project.read("../large") == project.read("../small") == "4,5,GPU-7\n"
    assert len(project.build("train", jobs=None, force=True).done) == 7


AMOUNTS = st.builds(
    Resources,
    cpus=st.sampled_from([0, 0.5, 1, 1.5, 2, 7, 64]),
    memory=st.integers(0, 8),
    gpus=st.integers(0, 2),
    named=st.dictionaries(st.sampled_from(["licence", "disk"]), st.sampled_from([0.0, 0.1, 0.3, 1.0])),
)


@given(st.lists(st.tuples(AMOUNTS, st.booleans()), max_size=60))
def test_slots_never_give_more_than_there_is(steps: list[tuple[Resources, bool]]) -> None:
    offers = {"cpus": 4.0, "memory": 8.0, "gpus": 2.0, "licence": 1.0, "disk": 1.0}
    slots = Slots(offers)
    running: list[Lease] = []
    for wants, ends in steps:
        lease = slots.take(wants)
        if lease is not None:
            running.append(lease)
            assert len(lease.gpus) == wants.gpus
        else:
            assert running, "alone, every step that asks for what there is must start"
        for name, amount in offers.items():
            assert sum(each.amounts.get(name, 0) for each in running) <= amount + 1e-6
        gpus = [gpu for each in running for gpu in each.gpus]
        assert len(gpus) == len(set(gpus))
        assert set(gpus) <= {0, 1}
        if ends and running:
            slots.give(running.pop(0))
    for each in running:
        slots.give(each)
    assert slots.take(Resources(cpus=4, memory=8, gpus=2, named={"licence": 1.0, "disk": 1.0}))


# Who goes first


def test_the_longest_remaining_path_goes_first(project: Folder) -> None:
    project.steps(
        """
        [short]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/short" }
        [medium]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/medium" }
        [head]
        command = "echo {params.n} > {outputs.x}"
        outputs = { x = "build/head" }
        [tail]
        command = "cat {inputs.x} > {outputs.y}"
        inputs = { x = "@head" }
        outputs = { y = "build/tail" }
    """,
        n=1,
    )
    project.build()
    seconds = {"short": 1, "medium": 5, "head": 2, "tail": 7}
    with sqlite3.connect(project.home.database) as connection:
        for step, took in seconds.items():
            connection.execute("UPDATE records SET seconds = ? WHERE step = ?", (took, f"p.{step}"))
    connection.close()
    assert project.build("p", jobs=1, force=True).started == ["head", "tail", "medium", "short"]


def test_without_a_past_the_longest_chain_goes_first(project: Folder) -> None:
    project.steps("""
        [lonely]
        command = "true"
        [a]
        command = "true"
        [b]
        command = "true"
        after = ["a"]
        [c]
        command = "true"
        after = ["b"]
    """)
    started = project.build(jobs=1).started
    assert started == ["a", "b", "c", "lonely"] or started == ["a", "b", "lonely", "c"]


def test_an_attempt_keeps_its_place_in_the_queue(project: Folder, fake: Callable[[Play], None], quick: None) -> None:
    """It is on the longest path, so it is tried again before what had been behind it all the time."""
    tries: list[str] = []

    def play(job: Job) -> int:
        tries.append(job.name)
        time.sleep(0.05)  # longer than the pause before the next attempt
        return 1 if job.name == "p.a attempt 1" else 0

    fake(play)
    project.steps("""
        [z0]
        command = "true"
        [z1]
        command = "true"
        [a]
        command = "true"
        outputs = { x = "build/a" }
        retries = 1
        [b]
        command = "true"
        inputs = { x = "@a" }
        outputs = { y = "build/b" }
        [c]
        command = "true"
        inputs = { x = "@b" }
    """)
    project.build(jobs=1)
    assert tries[0] == "p.a attempt 1"
    assert tries[2:4] == ["p.a attempt 2", "p.b attempt 1"]


def test_thousands_of_steps_wait_in_one_thread(project: Folder, fake: Callable[[Play], None]) -> None:
    most = 0

    def play(job: Job) -> int:
        nonlocal most
        most = max(most, threading.active_count())
        return 0

    before = threading.active_count()
    fake(play)
    project.steps(f'[s]\ncommand = "true"\nmatrix = {{ n = {list(range(300))} }}')
    assert len(project.build(jobs=300).done) == 300
    assert most <= before + 1


def test_steps_end_in_any_order(project: Folder) -> None:
    project.steps("""
        [slow]
        command = "while [ ! -e ../go ]; do sleep 0.01; done; echo 1 > {outputs.x}"
        outputs = { x = "build/slow" }
        [quick]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/quick" }
        [after]
        command = "touch ../go; cat {inputs.x} > {outputs.y}"
        inputs = { x = "@quick" }
        outputs = { y = "build/after" }
    """)
    built = project.build(jobs=2)
    assert built.done.index("quick") < built.done.index("slow")


def test_a_finished_step_is_on_disk_while_others_run(project: Folder) -> None:
    project.steps("""
        [quick]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/quick" }
        [slow]
        command = "while [ ! -e ../go ]; do sleep 0.01; done"
    """)
    running = project.start("-j2")
    until(lambda: "p.quick" in project.recorded())
    assert project.read("build/quick") == "1\n"
    project.write({"../go": ""})
    assert running.wait() == 0


def test_large_outputs_are_hashed_beside_the_others(project: Folder) -> None:
    """A file over the limit goes to a thread; the step after it still sees it settled."""
    project.steps("""
        [large]
        command = "head -c 20000000 /dev/zero > {outputs.x}"
        outputs = { x = "build/large" }
        [folder]
        command = "echo 1 > {outputs.d}/x"
        outputs = { d = "build/d/" }
        [count]
        command = "cat {inputs.x} | wc -c > {outputs.n}; ls {inputs.d} >> {outputs.n}"
        inputs = { x = "@large", d = "@folder" }
        outputs = { n = "build/n" }
    """)
    assert project.build(jobs=None).done[-1] == "count"
    assert project.log("build/n") == ["20000000", "x"]
    assert project.build(jobs=None).started == []


def test_an_output_that_cannot_be_read_fails_the_step(project: Folder) -> None:
    project.steps("""
        [pipe]
        command = "mkfifo {outputs.x}"
        outputs = { x = "build/pipe" }
    """)
    built = project.build()
    assert built.failed == ["pipe"]
    assert "cannot read its output" in built.message("pipe")


def test_two_builds_share_the_gpus_of_a_machine(project: Folder, tmp_path: Path) -> None:
    text = """
        [compute.local]
        gpus = 1
        [train]
        command = "mkdir {folder}/gpu-$CUDA_VISIBLE_DEVICES && sleep 0.2 && rmdir {folder}/gpu-$CUDA_VISIBLE_DEVICES"
        matrix = {{ n = [1, 2, 3] }}
        resources = {{ gpus = 1 }}
    """
    project.steps(text.format(folder=tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(Path(project.root) / "pipelines.toml", other)
    command = [sys.executable, "-m", "mlmake", "--quiet"]
    beside = subprocess.Popen(command, cwd=other)
    assert project.build(jobs=None).failed == []
    assert beside.wait(60) == 0
