"""Upkeep of the cache: what it holds, what goes, what is damaged. Whoever removes or moves holds the project's lock."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from mlmake.config.load import load
from mlmake.errors import ConfigError
from mlmake.model.run import size_in_words
from mlmake.state.cache import Action, Cache
from mlmake.state.database import transaction
from mlmake.state.mirror import sweep
from mlmake.state.needs import Needs, needs_of
from mlmake.state.objects import FILES, FOLDERS, Objects

Object = tuple[str, str]
"""An object: its digest and its kind."""
_THREADS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """What a cache holds. Sizes are bytes; `needed` is that part of `size` that upkeep never takes."""

    results: int
    files: int
    folders: int
    size: int
    needed: int
    damaged: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """What was taken out of the cache, or would be: actions, objects with their bytes; and the bytes that are left."""

    results: int
    objects: int
    freed: int
    left: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """An object that was not what its name says, where it lies now, and the steps that wrote what it should be."""

    digest: str
    place: str
    steps: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """How many objects were read, their bytes, and those that were damaged."""

    objects: int
    size: int
    damaged: tuple[Damaged, ...]


def stats(cache: Cache, needs: Needs) -> Stats:
    """Count what a cache holds."""
    stock = _Stock(cache.objects)
    stock.hold(needs.digests)
    actions = cache.actions.all()
    stock.hold(_contents(action for action in actions if action.key in needs.keys))
    kinds = Counter(kind for _, kind in stock.sizes)
    return Stats(
        results=len(actions),
        files=kinds[FILES],
        folders=kinds[FOLDERS],
        size=stock.total,
        needed=sum(stock.sizes[each] for each in stock.held),
        damaged=len(cache.objects.damaged()),
    )


def collect(
    cache: Cache, needs: Needs, connection: sqlite3.Connection, *, limit: int | None = None, dry_run: bool = False
) -> Collected:
    """Take what is not needed out of a cache: all of it, or what was used longest ago until the rest fits a limit."""
    stock = _Stock(cache.objects)
    stock.hold(needs.digests)
    actions = cache.actions.all()
    stock.hold(_contents(action for action in actions if action.key in needs.keys))
    needed = set(stock.held)
    spare = [action for action in actions if action.key not in needs.keys]
    stock.hold(_contents(spare))
    gone = stock.drop_unheld()
    taken = []
    for action in spare:
        if limit is not None and stock.total <= limit:
            break
        if limit is None or any(each not in needed for each in stock.behind(action)):
            taken.append(action)
            gone += stock.let_go(action)
    freed = sum(size for _, size in gone)
    if not dry_run:
        with transaction(connection):
            cache.actions.remove(action.key for action in taken)
        for (digest, kind), _ in gone:
            cache.objects.remove(digest, kind)
    freed += sweep(cache.home, dry_run=dry_run)
    freed += _sweep([*cache.objects.leftovers(), *cache.objects.damaged()], dry_run)
    return Collected(results=len(taken), objects=len(gone), freed=freed, left=stock.total)


def trim(cache: Cache, root: str, connection: sqlite3.Connection) -> str:
    """Keep a cache under the size that its policy allows; what to tell if it cannot be, else "".

    What is spare goes, least recently used first. Where the project's file cannot be read just now, nothing does.
    """
    limit = cache.policy.size
    if not limit or sum(size for _, _, size in cache.objects.all()) <= limit:
        return ""
    try:
        needs = needs_of(load(root), connection, cache.policy.runs)
    except ConfigError:
        return ""
    left = collect(cache, needs, connection, limit=limit).left
    if left <= limit:
        return ""
    return (
        f"the cache holds {size_in_words(left)}, its size is {size_in_words(limit)}, and all that is left is needed: "
        f"allow more under [cache] size, or keep fewer than {cache.policy.runs} runs under [cache] runs"
    )


def verify(cache: Cache) -> Verified:
    """Read every object, and set aside what is not what its name says."""
    objects = cache.objects
    found = list(objects.all())
    with ThreadPoolExecutor(max_workers=min(_THREADS, os.cpu_count() or 1), thread_name_prefix="mlmake-verify") as pool:
        sound = pool.map(lambda each: objects.is_sound(each[0], each[1]), found)
        bad = [(digest, kind) for (digest, kind, _), is_sound in zip(found, sound, strict=True) if not is_sound]
    steps = _steps_of(cache, bad)
    damaged = [Damaged(digest, objects.set_aside(digest, kind), steps[digest, kind]) for digest, kind in bad]
    return Verified(objects=len(found), size=sum(size for _, _, size in found), damaged=tuple(damaged))


class _Stock:
    """All objects of a cache with their sizes, and by how many each is held."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.sizes: dict[Object, int] = {(digest, kind): size for digest, kind, size in objects.all()}
        self.total = sum(self.sizes.values())
        self.held: Counter[Object] = Counter()
        self._known: dict[str, tuple[Object, ...]] = {}

    def hold(self, digests: Iterable[str]) -> None:
        """Count one more who wants these contents."""
        for digest in digests:
            self.held.update(self._of(digest))

    def behind(self, action: Action) -> set[Object]:
        """The objects that an action names."""
        return {each for digest in _contents([action]) for each in self._of(digest)}

    def drop_unheld(self) -> list[tuple[Object, int]]:
        """Take out what nobody wants."""
        return [self._drop(each) for each in list(self.sizes) if not self.held[each]]

    def let_go(self, action: Action) -> list[tuple[Object, int]]:
        """Count one less, and take out what nobody wants any more."""
        dropped = []
        for digest in _contents([action]):
            for each in self._of(digest):
                self.held[each] -= 1
                if not self.held[each]:
                    dropped.append(self._drop(each))
        return dropped

    def _drop(self, each: Object) -> tuple[Object, int]:
        size = self.sizes.pop(each)
        self.total -= size
        return each, size

    def _of(self, digest: str) -> tuple[Object, ...]:
        """The objects of a content: its file, or a listing with all files that this names."""
        if digest not in self._known:
            self._known[digest] = tuple(each for each in _objects(self._objects, digest) if each in self.sizes)
        return self._known[digest]


def _objects(objects: Objects, digest: str) -> list[Object]:
    inside = objects.members(digest) or []
    files = dict.fromkeys((member.digest, FILES) for member in inside if member.digest)
    return [(digest, FOLDERS), *({(digest, FILES): None} | files)]


def _contents(actions: Iterable[Action]) -> Iterator[str]:
    return (kept.digest for action in actions for kept in action.outputs)


def _steps_of(cache: Cache, objects: Iterable[Object]) -> dict[Object, tuple[str, ...]]:
    """The steps whose results an object is a part of."""
    found: dict[Object, dict[str, None]] = {each: {} for each in objects}
    for action in cache.actions.all() if found else ():
        for digest in _contents([action]):
            for each in _objects(cache.objects, digest):
                if each in found:
                    found[each][action.step] = None
    return {each: tuple(steps) for each, steps in found.items()}


def _sweep(paths: Iterable[str], dry_run: bool) -> int:
    """Remove files; their bytes."""
    freed = 0
    for path in paths:
        with suppress(OSError):
            freed += os.path.getsize(path)
            if not dry_run:
                os.unlink(path)
    return freed
