"""Submissions in the state file, written by whoever submits, and by the build that works one off."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mlmake.model.submission import Asked, Status, Submission, SubmittedStep
from mlmake.state.database import misread, transaction

_ROW = "number, id, experiment, status, run, created, started, ended, message, tags, asked"
_STEP = "step, status, run, reused, started, ended, message, log"
_OPEN = "status NOT IN ('Finished', 'Failed', 'Canceled')"


class Submissions:
    """The submissions of a project; every method is a transaction of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def add(self, submission: Submission, steps: Iterable[str]) -> int:
        """Write a new one with its steps; its number."""
        row = (submission.id, submission.experiment, submission.status.value, None, time.time())
        asked, tags = json.dumps(asdict(submission.asked)), json.dumps(dict(submission.tags))
        with transaction(self.connection):
            cursor = self.connection.execute(
                "INSERT INTO submissions (id, experiment, status, run, created, message, tags, asked) "
                "VALUES (?, ?, ?, ?, ?, '', ?, ?)",
                (*row, tags, asked),
            )
            self.connection.executemany(
                f"INSERT INTO submitted_steps (submission, {_STEP}) VALUES (?, ?, ?, NULL, 0, NULL, NULL, '', '')",
                ((submission.id, step, Status.NOT_STARTED.value) for step in steps),
            )
        return int(cursor.lastrowid or 0)

    def get(self, id: str) -> Submission | None:
        return next(iter(self._read("WHERE id = ?", (id,))), None)

    def all(self, experiment: str | None = None) -> list[Submission]:
        """All, or those of an experiment, the newest first."""
        where = "" if experiment is None else "WHERE experiment = ?"
        return self._read(f"{where} ORDER BY number DESC", () if experiment is None else (experiment,))

    def open(self) -> list[Submission]:
        """Those that have not ended, the oldest first."""
        return self._read(f"WHERE {_OPEN} ORDER BY number", ())

    def experiments(self) -> list[str]:
        """The names of all experiments, the first one first."""
        rows = self.connection.execute("SELECT experiment FROM submissions GROUP BY experiment ORDER BY MIN(number)")
        return [str(name) for (name,) in rows]

    def begin(self, id: str) -> None:
        """Note that it is being worked off; one that is to be cancelled stays so."""
        self._update(
            "status = CASE status WHEN 'CancelRequested' THEN status ELSE 'Running' END, started = ?",
            id,
            (time.time(),),
        )

    def note_run(self, id: str, run: int) -> None:
        """Note the build that works it off."""
        self._update("run = ?", id, (run,))

    def ask_to_cancel(self, id: str) -> bool:
        """Note that it is to end; False if it has ended."""
        return self._update("status = 'CancelRequested'", id, (), f"AND {_OPEN}") == 1

    def end(self, id: str, status: Status, message: str = "") -> None:
        """Note how it ended; steps that never came to their turn stay where they are."""
        self._update("status = ?, ended = ?, message = ?", id, (status.value, time.time(), message))

    def tag(self, id: str, tags: Mapping[str, str | None], gone: Iterable[str] = ()) -> None:
        """Put tags, and take others away."""
        with transaction(self.connection):
            row = self.connection.execute("SELECT tags FROM submissions WHERE id = ?", (id,)).fetchone()
            if row:
                left = {key: value for key, value in {**json.loads(row[0]), **tags}.items() if key not in set(gone)}
                self.connection.execute("UPDATE submissions SET tags = ? WHERE id = ?", (json.dumps(left), id))

    def put_properties(self, id: str, properties: Mapping[str, str]) -> None:
        """Add properties; those that are there stay as they are."""
        with transaction(self.connection):
            row = self.connection.execute("SELECT asked FROM submissions WHERE id = ?", (id,)).fetchone()
            if row:
                asked = json.loads(row[0])
                asked["properties"] = {**properties, **asked["properties"]}
                self.connection.execute("UPDATE submissions SET asked = ? WHERE id = ?", (json.dumps(asked), id))

    def put_steps(self, id: str, steps: Iterable[SubmittedStep]) -> None:
        """Write how steps stand, over what was known of them."""
        marks = ", ".join("?" * 9)
        with transaction(self.connection):
            self.connection.executemany(
                f"INSERT OR REPLACE INTO submitted_steps (submission, {_STEP}) VALUES ({marks})",
                ((id, *_values(step)) for step in steps),
            )

    def steps(self, id: str) -> list[SubmittedStep]:
        """Every step of one."""
        rows = self.connection.execute(f"SELECT {_STEP} FROM submitted_steps WHERE submission = ?", (id,))
        return [_step(row) for row in rows]

    def _update(self, what: str, id: str, values: Sequence[Any], also: str = "") -> int:
        with transaction(self.connection):
            done = self.connection.execute(f"UPDATE submissions SET {what} WHERE id = ? {also}", (*values, id))
        return done.rowcount

    def _read(self, where: str, values: Sequence[Any]) -> list[Submission]:
        rows = self.connection.execute(f"SELECT {_ROW} FROM submissions {where}", values)
        try:
            return [_submission(row) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise misread(self.connection, error) from error


def _submission(row: Sequence[Any]) -> Submission:
    values = dict(zip(_ROW.split(", "), row, strict=True))
    values["status"] = Status(values["status"])
    values["tags"] = json.loads(values["tags"])
    values["asked"] = Asked(**json.loads(values["asked"]))
    return Submission(**values)


def _values(step: SubmittedStep) -> tuple[Any, ...]:
    said = (step.step, step.status.value, step.run, step.is_reused)
    return (*said, step.started, step.ended, step.message, step.log)


def _step(row: Sequence[Any]) -> SubmittedStep:
    step, status, run, reused, started, ended, message, log = row
    return SubmittedStep(
        step=step,
        status=Status(status),
        run=run,
        is_reused=bool(reused),
        started=started,
        ended=ended,
        message=message,
        log=log,
    )
