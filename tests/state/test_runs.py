"""Runs: every build and every step of it, as they were told, and what a build that died leaves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlmake.errors import StateError
from mlmake.home import Home
from mlmake.model.reason import Cause, Reason
from mlmake.model.run import Item, Outcome, Run, StepRun
from mlmake.state.database import connect, transaction
from mlmake.state.runs import Runs

FLOATS = st.floats(0, 1e12)
TEXTS = st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
REASONS = st.builds(Reason, cause=st.sampled_from(Cause), subject=TEXTS, old=st.none() | TEXTS, new=st.none() | TEXTS)
STEP_RUNS = st.builds(
    StepRun,
    run=st.integers(1, 3),
    step=st.sampled_from(["p.a", "p.b[x=1]", "p.ü"]),
    outcome=st.sampled_from(Outcome),
    started=FLOATS,
    ended=st.none() | FLOATS,
    attempt=st.integers(1, 9),
    exit_code=st.none() | st.integers(-64, 255),
    message=TEXTS,
    host=TEXTS,
    target=TEXTS,
    log=TEXTS,
    reasons=st.lists(REASONS, max_size=3).map(tuple),
    facts=st.dictionaries(TEXTS, TEXTS, max_size=3),
    outputs=st.lists(st.builds(Item, TEXTS, TEXTS, st.integers(0, 2**60)), max_size=3).map(tuple),
    metrics=st.dictionaries(TEXTS, VALUES, max_size=3),
)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    connection = connect(Home(str(tmp_path)), create=True)
    yield Runs(connection)
    connection.close()


def database(runs: Runs) -> sqlite3.Connection:
    return runs._connection


def run(**other: object) -> Run:
    values: dict[str, object] = {
        "number": 0,
        "outcome": Outcome.RUNNING,
        "command": "mlmake -k",
        "started": 10.5,
        "host": "here",
        "pid": 7,
        "steps": 3,
    }
    return Run(**{**values, **other})  # type: ignore[arg-type]


def step_run(number: int = 1, step: str = "p.a", outcome: Outcome = Outcome.DONE, started: float = 1.0) -> StepRun:
    return StepRun(run=number, step=step, outcome=outcome, started=started)


def test_runs_are_numbered_from_one(runs: Runs) -> None:
    assert [runs.begin(run()) for _ in range(3)] == [1, 2, 3]
    assert runs.get(2) == run(number=2)
    assert runs.get(4) is None


def test_a_number_is_never_given_twice(runs: Runs) -> None:
    runs.begin(run())
    database(runs).execute("DELETE FROM runs")
    assert runs.begin(run()) == 2


def test_the_end_of_a_run_is_written_over_its_start(runs: Runs) -> None:
    number = runs.begin(run())
    runs.end(number, Outcome.FAILED, 20.25, (4, 5, 7, 6))
    expected = run(number=1, outcome=Outcome.FAILED, ended=20.25, ran=4, fresh=5, restored=7, failed=6)
    assert runs.get(number) == expected
    assert runs.last(9) == [expected]


def test_the_last_runs_come_newest_first(runs: Runs) -> None:
    for _ in range(5):
        runs.begin(run())
    assert [each.number for each in runs.last(3)] == [5, 4, 3]
    assert runs.last(0) == []


@given(step_runs=st.lists(STEP_RUNS, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
def test_what_is_put_is_what_is_got(runs: Runs, step_runs: list[StepRun]) -> None:
    with transaction(database(runs)):
        database(runs).execute("DELETE FROM step_runs")
        for each in step_runs:
            runs.put(each)
    newest = {(each.run, each.step): each for each in step_runs}
    found = [each for number in (1, 2, 3) for each in runs.steps_of(number)]
    assert {(each.run, each.step): each for each in found} == newest
    assert len(found) == len(newest)
    for number in (1, 2, 3):
        starts = [each.started for each in runs.steps_of(number)]
        assert starts == sorted(starts)


def test_words_that_are_no_unicode_can_be_kept(runs: Runs) -> None:
    odd = "cannot read caf\udce9"
    runs.put(replace(step_run(), message=odd))
    assert runs.steps_of(1)[0].message == "cannot read caf\\udce9"
    runs.begin(run(command=odd))
    assert runs.last(1)[0].command == "cannot read caf\\udce9"


def test_the_last_run_of_a_step_counts_however_it_ended(runs: Runs) -> None:
    for number, outcome in [(1, Outcome.DONE), (3, Outcome.FAILED), (2, Outcome.DONE)]:
        runs.put(step_run(number, outcome=outcome))
    last = runs.last_of("p.a")
    assert last is not None
    assert (last.run, last.outcome) == (3, Outcome.FAILED)
    assert runs.last_of("p.b") is None


def test_what_stood_when_a_run_ended(runs: Runs) -> None:
    for number, step, outcome in [
        (1, "p.a", Outcome.DONE),
        (1, "p.b", Outcome.DONE),
        (2, "p.a", Outcome.FAILED),
        (3, "p.a", Outcome.DONE),
        (3, "p.c", Outcome.LOST),
    ]:
        runs.put(step_run(number, step, outcome))
    stood = [{step: each.run for step, each in runs.good_until(number).items()} for number in (0, 1, 2, 3, 9)]
    assert stood == [{}, {"p.a": 1, "p.b": 1}, {"p.a": 1, "p.b": 1}, {"p.a": 3, "p.b": 1}, {"p.a": 3, "p.b": 1}]


def test_what_a_build_that_died_left_running_is_lost(runs: Runs) -> None:
    for _ in range(3):
        runs.begin(run())
    runs.end(1, Outcome.DONE, 2.0, (1, 0, 0, 0))
    runs.put(step_run(1, "p.a", Outcome.DONE))
    runs.put(step_run(2, "p.a", Outcome.RUNNING))
    runs.put(step_run(2, "p.b", Outcome.DONE))
    runs.put(step_run(3, "p.c", Outcome.RUNNING))
    assert sorted(each.step for each in runs.close_lost()) == ["p.a", "p.c"]
    assert [each.outcome for each in runs.last(3)] == [Outcome.LOST, Outcome.LOST, Outcome.DONE]
    assert [each.outcome for number in (1, 2, 3) for each in runs.steps_of(number)] == [
        Outcome.DONE,
        Outcome.LOST,
        Outcome.DONE,
        Outcome.LOST,
    ]
    assert runs.close_lost() == []


def test_a_lost_run_is_lost_even_if_no_step_of_it_had_started(runs: Runs) -> None:
    runs.begin(run())
    assert runs.close_lost() == []
    assert [each.outcome for each in runs.last(1)] == [Outcome.LOST]


@pytest.mark.parametrize(
    "change",
    [
        "outcome = 'odd'",
        "outcome = NULL",
        "reasons = '['",
        "reasons = '[3]'",
        """reasons = '[{"cause": "odd", "subject": "", "old": null, "new": null}]'""",
        "facts = NULL",
        "outputs = '[[1]]'",
        "metrics = 'x'",
    ],
)
def test_a_step_run_that_cannot_be_is_damage(runs: Runs, change: str) -> None:
    runs.put(step_run())
    database(runs).execute(f"UPDATE step_runs SET {change}")
    with pytest.raises(StateError, match=r"state\.db is damaged"):
        runs.steps_of(1)


def test_a_run_that_cannot_be_is_damage(runs: Runs) -> None:
    number = runs.begin(run())
    database(runs).execute("UPDATE runs SET outcome = 'odd'")
    for read in (lambda: runs.get(number), lambda: runs.last(1)):
        with pytest.raises(StateError, match=r"state\.db is damaged"):
            read()
