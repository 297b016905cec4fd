"""The cache: for the facts of every step that ran well, what it wrote.

An action is the digest of a step's facts with the contents of its outputs (the term and the idea are those of Bazel's
action cache). It stands in the state file beside the records, so that it is written in their transaction; contents
are `objects`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mlmake.home import Home
from mlmake.model.caching import CachePolicy
from mlmake.model.step import Step
from mlmake.state.database import misread
from mlmake.state.digests import Digest
from mlmake.state.fingerprint import EDITED, Fingerprint
from mlmake.state.objects import Objects

_FORMAT = "mlmake action 1"


@dataclass(frozen=True, slots=True)
class Kept:
    """One output of an action: what it held, and whether the cache holds that too."""

    name: str
    digest: str
    size: int
    is_kept: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """What a step with these facts wrote.

    Attributes:
        key: digest of the facts.
        step: id of the step that ran.
        run: number of its run in this project; 0 where another project ran it.
        seconds: how long it ran.
        log: where its log was, relative to the root.
    """

    key: str
    step: str
    outputs: tuple[Kept, ...]
    run: int = 0
    seconds: float = 0.0
    log: str = ""


def key_of(step: Step, fingerprint: Fingerprint) -> str:
    """The digest of a step's facts: SHA-256, as others may write into a shared cache; "" where no action can be."""
    if not step.spec.reuse or not step.outputs or not any(step.spec.caches(output.name) for output in step.outputs):
        return ""
    if fingerprint.pending or fingerprint.missing or fingerprint.unbuilt:
        return ""
    return key_of_facts(fingerprint.facts)


def key_of_facts(facts: Mapping[str, str]) -> str:
    """The digest of facts; "" where one of them is not known."""
    if EDITED in facts.values():
        return ""
    text = json.dumps([_FORMAT, sorted(facts.items())], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Actions:
    """The actions in a state file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._is_empty: bool | None = None

    @property
    def is_empty(self) -> bool:
        """No step has ever run with the cache on."""
        if self._is_empty is None:
            self._is_empty = self._connection.execute("SELECT 1 FROM actions LIMIT 1").fetchone() is None
        return self._is_empty

    @property
    def owes(self) -> bool:
        """Some action is to be pushed."""
        return self._connection.execute("SELECT 1 FROM actions WHERE owed LIMIT 1").fetchone() is not None

    def get(self, key: str) -> Action | None:
        """The action of a key."""
        if not key or self.is_empty:
            return None
        row = self._connection.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
        return self._decoded(row) if row else None

    def put(self, action: Action, *, owed: bool = False) -> None:
        """Write an action; inside a transaction. `owed` marks it to be pushed to the shared cache."""
        self._is_empty = False
        outputs = json.dumps([[each.name, each.digest, each.size, each.is_kept] for each in action.outputs])
        row = (action.key, action.step, action.run, action.seconds, action.log, outputs, time.time(), owed)
        self._connection.execute("INSERT OR REPLACE INTO actions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def touch(self, key: str) -> None:
        """Note that an action was used; inside a transaction."""
        self._connection.execute("UPDATE actions SET used = ? WHERE key = ?", (time.time(), key))

    def pushed(self, key: str) -> None:
        """Note that the shared cache has an action; inside a transaction."""
        self._connection.execute("UPDATE actions SET owed = 0 WHERE key = ?", (key,))

    def all(self, *, owed: bool = False) -> list[Action]:
        """Every action, the one that was used longest ago first; with `owed`, those that are to be pushed."""
        where = "WHERE owed" if owed else ""
        return [self._decoded(row) for row in self._connection.execute(f"{_SELECT} {where} ORDER BY used")]

    def remove(self, keys: Iterable[str]) -> None:
        """Forget actions; inside a transaction."""
        self._connection.executemany("DELETE FROM actions WHERE key = ?", ((key,) for key in keys))

    def _decoded(self, row: tuple[object, ...]) -> Action:
        try:
            key, step, run, seconds, log, outputs = row
            return Action(
                key=str(key),
                step=str(step),
                run=int(run),  # type: ignore[call-overload]
                seconds=float(seconds),  # type: ignore[arg-type]
                log=str(log),
                outputs=tuple(Kept(*each) for each in json.loads(str(outputs))),
            )
        except (ValueError, TypeError) as error:
            raise misread(self._connection, error) from error


_SELECT = "SELECT key, step, run, seconds, log, outputs FROM actions"


class Cache:
    """What a project keeps of what its steps wrote."""

    def __init__(self, home: Home, policy: CachePolicy, connection: sqlite3.Connection) -> None:
        self.home = home
        self.policy = policy
        self.objects = Objects(home.cache)
        self.actions = Actions(connection)

    @property
    def is_empty(self) -> bool:
        """Nothing can be found."""
        return not self.policy.enabled or self.actions.is_empty

    @property
    def owes(self) -> bool:
        """Something was kept here that the shared cache is still to get."""
        is_shared = bool(self.policy.remote) and self.policy.mode.writes
        return is_shared and not self.is_empty and self.actions.owes

    def find(self, step: Step, fingerprint: Fingerprint, digest_of: Callable[[str], Digest | None]) -> Action | None:
        """The action that spares a step its run; `digest_of` tells what stands at a path now."""
        if self.is_empty:
            return None
        action = self.actions.get(key_of(step, fingerprint))
        return action if action and self.is_restorable(action, step, digest_of) else None

    def is_restorable(self, action: Action, step: Step, digest_of: Callable[[str], Digest | None]) -> bool:
        """Whether every output of a step can be had without a run: out of the cache, or as it stands in its place."""
        places = {output.name: output.location.path for output in step.outputs}
        if places.keys() != {each.name for each in action.outputs}:
            return False
        for kept in action.outputs:
            if kept.is_kept and self.objects.has(kept.digest):
                continue
            stands = None if step.spec.in_place else digest_of(places[kept.name])
            if stands is None or stands.digest != kept.digest:
                return False
        return True
