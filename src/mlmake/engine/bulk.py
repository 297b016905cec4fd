"""Results to the shared cache and from it, many at once and without a build. Whoever calls holds the project's lock."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mlmake.engine.ledger import Ledger
from mlmake.engine.look import look
from mlmake.engine.sharing import refusal, unsound
from mlmake.model.project import Project
from mlmake.model.step import Step
from mlmake.state.cache import Action, Cache, key_of
from mlmake.state.database import transaction
from mlmake.state.digests import Digest
from mlmake.state.manifests import Content, Record
from mlmake.state.objects import FOLDERS
from mlmake.state.shared import Refused, Shared

T = TypeVar("T")
_BATCH = 1000
"""Actions that are pushed together, so that what is done is done where the rest fails."""
_PART = 2000
"""Contents that are pulled together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """What went to the shared cache or came from it, and what could not."""

    results: int
    objects: int
    size: int
    problems: tuple[str, ...] = ()


class Watcher(Protocol):
    """Who looks on. `moved` may be called from any thread."""

    def expect(self, objects: int, size: int) -> None:
        """So much more is to move."""

    def moved(self, size: int) -> None:
        """So many bytes have moved; less than 0 where some came in vain."""

    def arrived(self, objects: int) -> None:
        """So many objects have moved."""


def push(cache: Cache, connection: sqlite3.Connection, shared: Shared, steps: set[str] | None, watch: Watcher) -> Moved:
    """Send what steps (by id; None for every step) wrote, as far as the store lacks it. Raises StoreError, OSError."""
    actions = [action for action in cache.actions.all() if steps is None or action.step in steps]
    load = shared.load(actions)
    watch.expect(len(load.contents), load.size)
    _note_pushed(cache, connection, {action.key for action in actions} - {action.key for action in load.actions})
    results, objects, size = 0, 0, 0
    problems: list[str] = []
    for batch in _parts(load.actions, _BATCH):
        pushed = shared.push(batch, watch.moved, load.contents.keys())
        _note_pushed(cache, connection, pushed.keys)
        watch.arrived(pushed.objects)
        results, objects, size = results + len(pushed.keys), objects + pushed.objects, size + pushed.size
        problems += map(unsound, pushed.unsound)
    return Moved(results=results, objects=objects, size=size, problems=tuple(problems))


def _note_pushed(cache: Cache, connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    with transaction(connection):
        for key in keys:
            cache.actions.pushed(key)


def pull(
    project: Project,
    connection: sqlite3.Connection,
    shared: Shared,
    steps: Sequence[Step],
    name: str,
    watch: Watcher,
) -> Moved:
    """Bring what steps, which stand in order, would write by the facts that they have now. Nothing runs.

    What a step would write decides about the steps after it, so records are asked for level by level. Raises
    StoreError, OSError.
    """
    return _Puller(look(project, connection), connection, shared, name, watch).pull(steps)


class _Puller:
    """One pull."""

    def __init__(
        self, ledger: Ledger, connection: sqlite3.Connection, shared: Shared, name: str, watch: Watcher
    ) -> None:
        self._ledger = ledger
        self._cache = ledger.cache
        self._connection = connection
        self._shared = shared
        self._name = name
        self._watch = watch
        self._known: set[str] = set()
        self._results = 0
        self._objects = 0
        self._size = 0
        self._problems: list[str] = []

    def pull(self, steps: Sequence[Step]) -> Moved:
        """Level by level: of the steps whose inputs are known, those that the store has something for are known too."""
        waiting = list(steps)
        selected = {step.id for step in steps}
        while waiting:
            asked: dict[str, list[Step]] = {}
            later = []
            for step in waiting:
                if any(above in selected and above not in self._known for above in step.upstream):
                    later.append(step)
                elif key := self._key_if_lacking(step):
                    asked.setdefault(key, []).append(step)
            self._ask(asked)
            if not asked:
                break  # what is left waits for steps that nobody knows the results of
            waiting = later
        self._ledger.fingerprints.expect_nothing()
        self._ledger.save()
        return Moved(
            results=self._results, objects=self._objects, size=self._size, problems=tuple(dict.fromkeys(self._problems))
        )

    def _key_if_lacking(self, step: Step) -> str:
        """The key to ask for; "" where nothing is lacking, or nobody could have anything."""
        fingerprint = self._ledger.fingerprints.of(step)
        if not self._ledger.reasons(step):
            self._known.add(step.id)
            return ""
        action = self._cache.find(step, fingerprint, self._ledger.digests.of)
        if action:
            self._expect(step, action)
            return ""
        return key_of(step, fingerprint)

    def _ask(self, asked: dict[str, list[Step]]) -> None:
        found = [each for each in self._shared.find_many(list(asked)) if self._is_enough(each, asked)]
        lacking = self._shared.lacking(found)
        spoilt = self._brought(lacking)
        for record in found:
            refused = [spoilt[each.key] for each in record.contents if each.key in spoilt]
            if refused:
                self._problems.append(refusal(self._name, record, refused))
        whole = [record for record in found if not any(each.key in spoilt for each in record.contents)]
        with transaction(self._connection):
            for record in whole:
                self._cache.actions.put(record.action)
        self._results += len(whole)
        for record in whole:
            for step in asked[record.action.key]:
                self._expect(step, record.action)

    def _brought(self, lacking: Sequence[Content]) -> dict[str, Refused]:
        """Bring contents; those that could not be had, by their key."""
        self._watch.expect(len(lacking), sum(each.size for each in lacking))
        spoilt: dict[str, Refused] = {}
        for part in _parts(lacking, _PART):
            refused = self._shared.pull(part, self._watch.moved)
            self._watch.arrived(len(part))
            spoilt.update((each.content.key, each) for each in refused)
        came = [each for each in lacking if each.key not in spoilt]
        self._objects += len(came)
        self._size += sum(each.size for each in came)
        return spoilt

    def _is_enough(self, record: Record, asked: dict[str, list[Step]]) -> bool:
        """Whether the step would be restored: its outputs are those of the record, which holds what does not stand."""
        step = asked[record.action.key][0]
        places = {output.name: output.location.path for output in step.outputs}
        if places.keys() != {each.name for each in record.action.outputs}:
            return False
        loose = [each for each in record.action.outputs if not each.is_kept]
        stand = {each.name: self._ledger.digests.of(places[each.name]) for each in loose}
        return all((found := stand[each.name]) is not None and found.digest == each.digest for each in loose)

    def _expect(self, step: Step, action: Action) -> None:
        """Let the steps after this one count with what it would write, also with what is in its folders."""
        self._known.add(step.id)
        places = {output.name: output.location.path for output in step.outputs}
        for kept in action.outputs:
            place = places[kept.name]
            self._ledger.fingerprints.expect(place, Digest(kept.digest, kept.size))
            if self._cache.objects.kind_of(kept.digest) == FOLDERS:
                for member in self._cache.objects.members(kept.digest) or []:
                    if member.digest:
                        self._ledger.fingerprints.expect(os.path.join(place, member.path), Digest(member.digest, 0))


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
