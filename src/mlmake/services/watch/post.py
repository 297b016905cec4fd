"""One thing that is watched: what was last seen of it, what has to be heard for that, and what was heard since."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlmake.services.watch.interest import Heard, Interest, Row
from mlmake.state import snapshot
from mlmake.state.stamps import stamp


class Post:
    """Rows of a snapshot, kept an eye on.

    Attributes:
        interest: what has to be heard.
        is_astray: paths lead elsewhere since they were looked up.
    """

    def __init__(self, look: snapshot.Look, root: str) -> None:
        self.look = look
        self._root = root
        self.is_astray = False
        self._heard: dict[str, set[int]] = {}
        self._grown: set[Row] = set()
        self.find_all()

    def find_all(self) -> bool:
        """Look up all paths from the start, and take everything for changed until it is looked at."""
        self.is_astray = False
        self._grown.clear()
        self.interest = Interest(self.look.head, self._root)
        return self.find_new()

    def refresh(self) -> bool:
        """Look up what has to be looked up anew; whether there is something to look at now."""
        return self.find_all() if self.is_astray else self.find_new()

    def find_new(self) -> bool:
        """Look up what came to the rows since, and what is new in folders; whether rows came."""
        self.interest.take(self._grown)
        self._grown.clear()
        rows = self.interest.take_new()
        self.suspect(rows)
        return bool(rows)

    def hear(self, heard: Heard) -> bool:
        """Note what may have changed; whether anything may."""
        rows = self.interest.rows(heard)
        self.is_astray = self.is_astray or self.interest.is_way(heard)
        if heard.is_named:
            self._grown.update(rows)  # a folder may have come, or a link in place of a file
        self.suspect(rows)
        return bool(rows) or self.is_astray

    def suspect(self, rows: Iterable[Row]) -> None:
        """Look at these rows the next time."""
        for table, number in rows:
            self._heard.setdefault(table, set()).add(number)

    def suspect_all(self) -> None:
        """Look at everything the next time."""
        for table in ("files", "listings", "globs", "trees"):
            self.suspect((table, number) for number in range(len(self.look.head[table])))

    def changed(self) -> dict[str, list[int]]:
        """What has changed of all that may have; what has not is forgotten."""
        changed = self.look.changed_of({table: sorted(rows) for table, rows in self._heard.items()})
        self._heard = {table: set(rows) for table, rows in changed.items()}
        return changed

    def sights(self, rows: Mapping[str, Iterable[int]]) -> dict[Row, object]:
        """What is there now, to be compared later."""
        head = self.look.head
        return {(table, n): snapshot.sight(table, head[table][n]) for table, numbers in rows.items() for n in numbers}

    def restless(self, rows: Mapping[str, Sequence[int]], settle: float) -> set[Row]:
        """Those that were written within the settle time, as the file system tells."""
        every = [(table, number) for table, numbers in rows.items() for number in numbers]
        return {row for row in every if 0 <= time.time() - _written(row, self.look.head) < settle}


def _written(row: Row, head: dict[str, Any]) -> float:
    """When a row was last written to; 0 where nobody can tell."""
    table, number = row
    value = head[table][number]
    if table == "trees":
        return stamp(value[0]).newest / 1e9
    if table != "files":
        return 0.0
    try:
        return os.stat(value).st_mtime
    except (OSError, ValueError):
        return 0.0
