"""What was registered under a name, with versions: datastores, datasets, environments, models, modules, targets."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlmake.state.database import misread, transaction

_SELECT = "SELECT name, version, created, body FROM registered WHERE kind = ?"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of what has a name."""

    name: str
    version: int
    created: float
    body: Mapping[str, Any]


class Registered:
    """The things of one kind; every method is a transaction of its own."""

    def __init__(self, connection: sqlite3.Connection, kind: str) -> None:
        self._connection = connection
        self._kind = kind

    def put(self, name: str, body: Mapping[str, Any], *, is_new: bool = True) -> Entry:
        """Write a new version, from 1 on; or, unless `is_new`, over the newest."""
        with transaction(self._connection):
            newest = self._connection.execute(
                "SELECT MAX(version) FROM registered WHERE kind = ? AND name = ?", (self._kind, name)
            ).fetchone()[0]
            version = (newest or 0) + 1 if is_new or not newest else newest
            entry = Entry(name, version, time.time(), body)
            row = (self._kind, name, version, entry.created, json.dumps(body))
            self._connection.execute("INSERT OR REPLACE INTO registered VALUES (?, ?, ?, ?, ?)", row)
        return entry

    def get(self, name: str, version: int | None = None) -> Entry | None:
        """A version, or the newest."""
        found = self.versions(name)
        return next((each for each in found if version in (None, each.version)), None)

    def versions(self, name: str) -> list[Entry]:
        """All versions of a name, the newest first."""
        return self._read("AND name = ? ORDER BY version DESC", (name,))

    def newest(self) -> dict[str, Entry]:
        """The newest version of every name."""
        return {each.name: each for each in self._read("ORDER BY name, version", ())}

    def remove(self, name: str, version: int | None = None) -> None:
        """Forget a version, or all of a name."""
        also, values = ("", ()) if version is None else ("AND version = ?", (version,))
        with transaction(self._connection):
            self._connection.execute(
                f"DELETE FROM registered WHERE kind = ? AND name = ? {also}", (self._kind, name, *values)
            )

    def _read(self, also: str, values: tuple[Any, ...]) -> list[Entry]:
        rows = self._connection.execute(f"{_SELECT} {also}", (self._kind, *values))
        try:
            return [Entry(name, version, created, json.loads(body)) for name, version, created, body in rows]
        except (ValueError, TypeError) as error:
            raise misread(self._connection, error) from error
