"""The memory of every build in which something could run, step by step."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from mlmake.model.reason import Cause, Reason
from mlmake.model.run import Item, Outcome, Run, StepRun
from mlmake.state.database import misread
from mlmake.state.records import decode_items, encode_items

T = TypeVar("T")
_RUN_FIELDS = tuple(each.name for each in fields(Run))
_STEP_RUN_FIELDS = tuple(each.name for each in fields(StepRun))
_RUN, _STEP_RUN = ", ".join(_RUN_FIELDS), ", ".join(_STEP_RUN_FIELDS)
_GOOD = tuple(outcome.value for outcome in Outcome if outcome.is_good)
_PUT = f"INSERT OR REPLACE INTO step_runs ({_STEP_RUN}) VALUES ({', '.join('?' for _ in _STEP_RUN_FIELDS)})"


class Runs:
    """Runs and their step runs, newest first where there are several."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self, run: Run) -> int:
        """Write a run that starts; its number."""
        values = [_plain(getattr(run, name)) for name in _RUN_FIELDS]
        marks = ", ".join("?" for _ in values)
        cursor = self._connection.execute(f"INSERT INTO runs ({_RUN}) VALUES ({marks})", [None, *values[1:]])
        return int(cursor.lastrowid or 0)

    def end(self, number: int, outcome: Outcome, ended: float, counts: tuple[int, int, int, int]) -> None:
        """Write how a run ended: (ran, fresh, restored, failed)."""
        self._connection.execute(
            "UPDATE runs SET outcome = ?, ended = ?, ran = ?, fresh = ?, restored = ?, failed = ? WHERE number = ?",
            (outcome.value, ended, *counts, number),
        )

    def put(self, step_run: StepRun) -> None:
        """Write a step of a run, over what was known of it."""
        self._connection.execute(_PUT, [_plain(getattr(step_run, name)) for name in _STEP_RUN_FIELDS])

    def close_lost(self) -> list[StepRun]:
        """Mark as lost what a build that died left as running; call it under the lock. Gives these step runs."""
        lost = self._steps("outcome = ?", (Outcome.RUNNING.value,))
        for table in ("step_runs", "runs"):
            self._connection.execute(
                f"UPDATE {table} SET outcome = ? WHERE outcome = ?",
                (Outcome.LOST.value, Outcome.RUNNING.value),
            )
        return lost

    def last(self, limit: int) -> list[Run]:
        rows = self._connection.execute(f"SELECT {_RUN} FROM runs ORDER BY number DESC LIMIT ?", (limit,))
        return [self._read(_run, row) for row in rows]

    def get(self, number: int) -> Run | None:
        row = self._connection.execute(f"SELECT {_RUN} FROM runs WHERE number = ?", (number,)).fetchone()
        return self._read(_run, row) if row else None

    def steps_of(self, number: int) -> list[StepRun]:
        """The steps of a run in the order in which they started."""
        return self._steps("run = ? ORDER BY started", (number,))

    def of(self, number: int, step: str) -> StepRun | None:
        """A step of a run."""
        return next(iter(self._steps("run = ? AND step = ?", (number, step))), None)

    def last_of(self, step: str) -> StepRun | None:
        """The newest run of a step, however it ended."""
        return next(iter(self._steps("step = ? ORDER BY run DESC LIMIT 1", (step,))), None)

    def last_done(self, step: str) -> StepRun | None:
        """The newest run of a step that ran and went well."""
        where = "step = ? AND outcome = ? ORDER BY run DESC LIMIT 1"
        return next(iter(self._steps(where, (step, Outcome.DONE.value))), None)

    def good_until(self, number: int) -> dict[str, StepRun]:
        """What stood when a run ended: the last good run of every step up to it."""
        newest = "SELECT step, MAX(run) FROM step_runs WHERE run <= ? AND outcome IN (?, ?) GROUP BY step"
        return {each.step: each for each in self._steps(f"(step, run) IN ({newest}) ORDER BY run", (number, *_GOOD))}

    def good_since(self, number: int) -> list[StepRun]:
        """Every good step of a run and of those after it."""
        return self._steps("run >= ? AND outcome IN (?, ?) ORDER BY run", (number, *_GOOD))

    def _steps(self, where: str, values: Sequence[Any]) -> list[StepRun]:
        rows = self._connection.execute(f"SELECT {_STEP_RUN} FROM step_runs WHERE {where}", values)
        return [self._read(_step_run, row) for row in rows]

    def _read(self, decode: Callable[[Sequence[Any]], T], row: Sequence[Any]) -> T:
        try:
            return decode(row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise misread(self._connection, error) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Outcome):
        return value.value
    if isinstance(value, tuple):
        if not value:
            return "[]"
        items = [item.as_json() for item in value] if isinstance(value[0], Reason) else encode_items(value)
        return json.dumps(items)
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()  # a path in a message may be no Unicode
    if isinstance(value, dict):
        return json.dumps({name: _nested(each) for name, each in value.items()}) if value else "{}"
    return value


def _nested(value: Any) -> Any:
    is_items = isinstance(value, tuple) and all(isinstance(each, Item) for each in value)
    return encode_items(value) if is_items else value


def _run(row: Sequence[Any]) -> Run:
    values = dict(zip(_RUN_FIELDS, row, strict=True))
    return Run(**{**values, "outcome": Outcome(values["outcome"])})


def _step_run(row: Sequence[Any]) -> StepRun:
    values = dict(zip(_STEP_RUN_FIELDS, row, strict=True))
    values["outcome"] = Outcome(values["outcome"])
    values["reasons"] = tuple(map(_reason, json.loads(values["reasons"])))
    values["outputs"] = decode_items(json.loads(values["outputs"]))
    values["inputs"] = {name: decode_items(items) for name, items in json.loads(values["inputs"]).items()}
    values["facts"] = json.loads(values["facts"])
    values["metrics"] = json.loads(values["metrics"])
    return StepRun(**values)


def _reason(table: dict[str, Any]) -> Reason:
    return Reason(cause=Cause[table["cause"].upper()], subject=table["subject"], old=table["old"], new=table["new"])
