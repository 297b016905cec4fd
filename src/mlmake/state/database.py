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

VERSION = 4
_MOVE_AWAY = "move it away (`mv .mlmake/state.db .mlmake/state.db.damaged`): every step runs once more"
_CIRCUMSTANCES = (
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_AUTH),
)
"""sqlite's codes for what is wrong around the file and not in it."""

_SCHEMA = """
CREATE TABLE digests (
    path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER, seen INTEGER, digest TEXT
) WITHOUT ROWID;
CREATE TABLE trees (
    path TEXT PRIMARY KEY, mark BLOB, newest INTEGER, seen INTEGER, digest TEXT, size INTEGER
) WITHOUT ROWID;
CREATE TABLE folders (path TEXT PRIMARY KEY, rows BLOB) WITHOUT ROWID;
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
_ADDED = {
    2: """
        CREATE TABLE actions (
            key TEXT PRIMARY KEY, step TEXT, run INTEGER, seconds REAL, log TEXT, outputs TEXT, used REAL, owed INTEGER
        ) WITHOUT ROWID;
        CREATE INDEX actions_by_use ON actions (used);
        CREATE TABLE contents (
            url TEXT, version TEXT, digest TEXT, size INTEGER, PRIMARY KEY (url, version)
        );
        ALTER TABLE step_runs ADD COLUMN inputs TEXT DEFAULT '{}';
        ALTER TABLE runs ADD COLUMN restored INTEGER DEFAULT 0
    """,
    3: """
        ALTER TABLE step_runs ADD COLUMN cpu_seconds REAL DEFAULT 0;
        ALTER TABLE step_runs ADD COLUMN peak_memory INTEGER DEFAULT 0
    """,
    4: """
        ALTER TABLE step_runs ADD COLUMN gpu_memory INTEGER DEFAULT 0;
        ALTER TABLE records ADD COLUMN target TEXT DEFAULT '';
        CREATE TABLE away (path TEXT PRIMARY KEY, target TEXT, entries TEXT, digest TEXT, size INTEGER) WITHOUT ROWID;
        CREATE TABLE submissions (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, experiment TEXT, status TEXT, run INTEGER,
            created REAL, started REAL, ended REAL, message TEXT, tags TEXT, asked TEXT
        );
        CREATE TABLE submitted_steps (
            submission TEXT, step TEXT, status TEXT, run INTEGER, reused INTEGER, started REAL, ended REAL,
            message TEXT, log TEXT, PRIMARY KEY (submission, step)
        ) WITHOUT ROWID;
        CREATE TABLE registered (
            kind TEXT, name TEXT, version INTEGER, created REAL, body TEXT, PRIMARY KEY (kind, name, version)
        ) WITHOUT ROWID
    """,
}
"""What each later version added to the first."""


def connect(home: Home, *, create: bool) -> sqlite3.Connection:
    """The state of a project; with `create` false a missing file reads as an empty one. Raises StateError."""
    if create:
        home.ensure()
    was_there = os.path.exists(home.database)
    if not was_there and not create:
        return empty()
    with explained(home):
        connection = sqlite3.connect(home.database, isolation_level=None, timeout=30)
        try:
            if _prepared(connection, home, create, was_there):
                return connection
        except UnicodeDecodeError as error:  # in sqlite's own message, which quotes the file
            connection.close()
            raise _damaged(home.database, error) from error
        except BaseException:
            connection.close()
            raise
    connection.close()
    return empty()


@contextmanager
def opened(home: Home, *, create: bool) -> Iterator[sqlite3.Connection]:
    """As `connect`, closed at the end; sqlite's errors meanwhile are StateErrors too."""
    connection = connect(home, create=create)
    try:
        with explained(home):
            yield connection
    finally:
        connection.close()


def empty() -> sqlite3.Connection:
    """A state that knows nothing and keeps nothing."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(";".join([_SCHEMA, *_ADDED.values()]))
    return connection


def _prepared(connection: sqlite3.Connection, home: Home, create: bool, was_there: bool) -> bool:
    """Whether the file can be used; with `create` false one that is being made cannot."""
    version = _version(connection)
    if version > VERSION:
        raise StateError(
            f"{home.database} was written by a newer mlmake (state version {version}; this one knows {VERSION})",
            hint=f"use that mlmake; or {_MOVE_AWAY}",
        )
    if version == 0:
        # A build that died while it made the file leaves no table either, but then no step of it had a log.
        # One that goes on right now may have made both since the version was read: that is why it is read again.
        if was_there and os.path.exists(os.path.join(home.folder, "logs")):
            version = _version(connection)
            if version == 0:
                raise _damaged(home.database, "it is empty, though builds have run here")
        elif not create:
            return False
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if version < VERSION:
        _make_tables(connection)
    return True


def _version(connection: sqlite3.Connection) -> int:
    """0 for a file without tables."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _make_tables(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        version = _version(connection)
        added = [text for number, text in _ADDED.items() if number > version]
        for statement in ";".join([*([_SCHEMA] if version == 0 else []), *added]).split(";"):
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
    except sqlite3.DatabaseError as error:
        if _primary(error) not in _CIRCUMSTANCES:
            raise _damaged(home.database, error) from error
        raise StateError(
            f"{home.database} cannot be used: {error}",
            hint="look at its rights, the free space of its disk, and who else has it open",
        ) from error


def misread(connection: sqlite3.Connection, error: Exception) -> StateError:
    """What to raise where a row cannot be what mlmake wrote: sqlite has no check sums, so it passes on such rows."""
    (_, _, path), *_ = connection.execute("PRAGMA database_list")
    return _damaged(path, error)


def check_pages(connection: sqlite3.Connection, table: str) -> None:
    """Read the whole table and see that its pages are sound. Raises StateError."""
    problem = connection.execute(f"PRAGMA quick_check({table})").fetchone()[0]
    if problem != "ok":
        raise misread(connection, ValueError(problem.splitlines()[-1]))


def _damaged(path: str, problem: object) -> StateError:
    return StateError(f"{path} is damaged: {problem}", hint=_MOVE_AWAY)


def _primary(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF
