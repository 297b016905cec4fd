"""How a selection stood when it was last judged, kept in memory: what is built next costs what has changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mlmake.engine.scope import Rows, Scope, Table, nothing, scope_within, table_of_nothing
from mlmake.model.project import Project
from mlmake.model.reason import Cause, State
from mlmake.state import snapshot

TOML = 0
"""The row of pipelines.toml among the files."""


class Standing:
    """The last judgement of a scope that was remembered.

    Attributes:
        look: what it saw, to be compared with what is there now.
    """

    def __init__(self, scope: Scope, table: Table) -> None:
        self._scope = scope
        self.table = table
        self.look = snapshot.Look("", table.head)

    @classmethod
    def of(cls, scope: Scope) -> Standing | None:
        """That of a scope; None if it was not remembered."""
        return cls(scope, scope.table) if scope.table else None

    @classmethod
    def unknown(cls, project: Project) -> Standing:
        """That of a project of which nobody knows more than its file."""
        return cls(nothing(project), table_of_nothing(project))

    @property
    def is_current(self) -> bool:
        """Nobody else has built since."""
        return self._scope.is_current

    def narrowed(self, changed: Rows, *, asks: bool) -> Scope:
        """The steps that what has changed can reach; with `asks` also those whose data is not on this machine."""
        return scope_within(self.table, self._scope.path, changed, asks=asks)

    def left(self) -> set[str]:
        """Steps that a build right now would run: something has changed while the last one went on."""
        return {
            step
            for step, verdict in self.table.left.items()
            if verdict.state in (State.STALE, State.RESTORABLE)
            and any(reason.cause is not Cause.ALWAYS for reason in verdict.reasons)
        }

    def paths(self, rows: Rows) -> list[str]:
        """What has changed in rows, as absolute paths: of a glob or a list of names, what came and went."""
        head = self.look.head
        found = [head["files"][number] for number in rows.get("files", ())]
        found += [head["trees"][number][0] for number in rows.get("trees", ())]
        listed = [(folder, names, snapshot.listing(folder)) for folder, names in _of(head, "listings", rows)]
        listed += [(base, names, snapshot.matches(base, glob)) for base, glob, names in _of(head, "globs", rows)]
        for folder, old, new in listed:
            found += (os.path.join(folder, name) for name in sorted(set(old) ^ set(new)))
        return list(dict.fromkeys(found))


def _of(head: Mapping[str, Any], table: str, rows: Rows) -> list[Any]:
    return [head[table][number] for number in rows.get(table, ())]
