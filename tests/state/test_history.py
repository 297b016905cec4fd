"""The data of past runs, read in one go."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlmake.errors import StateError
from mlmake.home import Home
from mlmake.model.run import Item, Outcome, StepRun
from mlmake.state.database import connect, empty
from mlmake.state.digests import Digest
from mlmake.state.history import activities, contents
from mlmake.state.runs import Runs

ONE = StepRun(
    run=1,
    step="p.a",
    outcome=Outcome.DONE,
    started=1.0,
    ended=2.0,
    facts={"param x": "1", "output table": "build/table"},
    inputs={"raw": (Item("raw.txt", "r1", 3),)},
    outputs=(Item("build/table", "t1", 4),),
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(Home(str(tmp_path)), create=True)
    yield connection
    connection.close()


def test_what_was_put_is_what_is_read(connection: sqlite3.Connection) -> None:
    Runs(connection).put(ONE)
    (read,) = activities(connection)
    assert (read.run, read.step, read.outcome, read.started, read.ended) == (1, "p.a", Outcome.DONE, 1.0, 2.0)
    assert (read.inputs, read.outputs) == (ONE.inputs, ONE.outputs)
    assert read.names == {"build/table": "table"}


def test_good_steps_only_in_the_order_in_which_they_started(connection: sqlite3.Connection) -> None:
    runs = Runs(connection)
    for outcome in Outcome:
        runs.put(replace(ONE, step=f"p.{outcome.value}", outcome=outcome, started=9.0))
    runs.put(replace(ONE, step="p.first"))
    runs.put(replace(ONE, step="p.next", run=2, started=0.5))
    assert [each.step for each in activities(connection)] == ["p.first", "p.done", "p.restored", "p.next"]


def test_one_query_for_all(connection: sqlite3.Connection) -> None:
    runs = Runs(connection)
    for number in range(1, 50):
        runs.put(replace(ONE, run=number))
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    assert len(activities(connection)) == 49
    assert len(asked) == 1


@pytest.mark.parametrize("column", ["inputs", "outputs", "facts"])
@pytest.mark.parametrize("text", ["spoilt", "[1]", "null"])
def test_a_damaged_row_is_told(connection: sqlite3.Connection, column: str, text: str) -> None:
    Runs(connection).put(ONE)
    connection.execute(f"UPDATE step_runs SET {column} = ?", (text,))
    with pytest.raises(StateError, match="is damaged"):
        activities(connection)


def test_contents_of_datastores(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO contents VALUES ('s3://b/x', 'etag 1', 'd1', 3)")
    assert contents(connection) == {("s3://b/x", "etag 1"): Digest("d1", 3)}


def test_nothing_yet() -> None:
    connection = empty()
    assert activities(connection) == []
    assert contents(connection) == {}
