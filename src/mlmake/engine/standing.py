"""How a selection stood when it was last judged, kept in memory: what is built next costs what has changed."""

from __future__ import annotations

import os

from mlmake.engine.scope import Rows, Scope, Table, scope_within
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
        """What rows stand for, as absolute paths."""
        head = self.look.head
        found = [head["files"][number] for number in rows.get("files", ())]
        found += [head[table][number][0] for table in ("listings", "trees") for number in rows.get(table, ())]
        return found + [os.path.join(*head["globs"][number][:2]) for number in rows.get("globs", ())]
