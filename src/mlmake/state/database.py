"""The state file: sqlite in WAL mode, one short transaction per finished step.

`synchronous = NORMAL` does not wait for the disk at each commit. A power cut may lose the last commits, never tear
one: a lost record makes its step run again. A kept record whose output did not reach the disk is noticed too, as
outputs are compared by size, times and inode and, where these differ, by content.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from mlmake.errors import StateError
from mlmake.home import Home

VERSION = 1

_SCHEMA = """
CREATE TABLE digests (
    path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER, seen INTEGER, digest TEXT
) WITHOUT ROWID;
CREATE TABLE imports (digest TEXT PRIMARY KEY, names TEXT) WITHOUT ROWID;
CREATE TABLE texts (digest TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, outcome TEXT, command TEXT, started REAL, ended REAL,
    host TEXT, pid INTEGER, steps INTEGER, ran INTEGER, fresh INTEGER, failed INTEGER
);
CREATE TABLE step_runs (
    run INTEGER, step TEXT, outcome TEXT, started REAL, ended REAL, attempt INTEGER, exit_code INTEGER,
    message TEXT, host TEXT, target TEXT, log TEXT, reasons TEXT, facts TEXT, outputs TEXT, metrics TEXT,
    PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE INDEX step_runs_by_step ON step_runs (step, run);
CREATE TABLE records (
    step TEXT PRIMARY KEY, run INTEGER, finished REAL, seconds REAL, facts TEXT, inputs TEXT, outputs TEXT
) WITHOUT ROWID;
"""


def connect(home: Home, *, create: bool) -> sqlite3.Connection:
    """The state of a project; with `create` false a missing file reads as an empty one. Raises StateError."""
    if create:
        home.ensure()
    elif not os.path.exists(home.database):
        return _empty()
    with explained(home):
        connection = sqlite3.connect(home.database, isolation_level=None, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _check_version(connection, home)
    return connection


def _empty() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(_SCHEMA)
    return connection


def _check_version(connection: sqlite3.Connection, home: Home) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise StateError(
            f"{home.database} was written by a newer mlmake (state version {version}; this one knows {VERSION})",
            hint="use that mlmake; or move the file away, and every step runs once more",
        )
    if version == 0:
        with transaction(connection):
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def explained(home: Home) -> Iterator[None]:
    """sqlite's errors as a line that names the file, with the next move."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StateError(
            f"{home.database} cannot be used: {error}",
            hint="look at its rights, the free space of its disk, and who else has it open",
        ) from error
    except sqlite3.DatabaseError as error:
        raise StateError(
            f"{home.database} is damaged: {error}",
            hint="move it away (`mv .mlmake/state.db .mlmake/state.db.damaged`); every step runs once more",
        ) from error
