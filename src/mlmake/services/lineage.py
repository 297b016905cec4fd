"""The graph of what was made of what, over all runs, matched by content."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from mlmake.model.lineage import Activity, Origin, Use, Version, Where
from mlmake.model.run import Item


class Level(NamedTuple):
    """A step run that a walk came to, and how many steps away it is: 1 is next to where the walk began."""

    level: int
    activity: Activity


class Lineage:
    """Versions and the step runs between them.

    What a step run read came from the last run before it that left the same content in the same place. What nobody
    left there by itself may be a part of a folder that was made, or a folder of which parts were made.
    """

    def __init__(self, activities: Iterable[Activity], where: Callable[[str], Where]) -> None:
        """`activities` in the order in which they started; `where` says where a text points to."""
        self._where = where
        self._places: dict[str, dict[str, Version]] = {}
        self._makers: dict[str, list[Origin]] = {}
        self._activities = tuple(activities)
        for each in self._activities:
            self._add(each)

    @property
    def activities(self) -> Sequence[Activity]:
        return self._activities

    # Versions.

    def places(self) -> list[str]:
        """The keys of all places, by name."""
        return sorted(self._places)

    def versions(self, key: str) -> list[Version]:
        """Every version of a place, the one that was made or used last first; none of a place that no run knows."""
        return list(reversed(self._places.get(key, {}).values()))

    def present(self, key: str, until: float = math.inf) -> Version | None:
        """The version that was made or used last, by the end of a run. None if there was none."""
        if until == math.inf:
            return next(iter(self.versions(key)), None)
        known = [(_last_run(each, until), each) for each in self.versions(key)]
        return max(((moment, each) for moment, each in known if moment), key=lambda pair: pair[0], default=((), None))[
            1
        ]

    def inputs(self, activity: Activity) -> Iterator[tuple[str, Version]]:
        """What a step run read, each with the input's name."""
        for name, items in activity.inputs.items():
            yield from ((name, self._version(item)) for item in items)

    def outputs(self, activity: Activity) -> Iterator[Version]:
        """What a step run left."""
        return (self._version(item) for item in activity.outputs)

    # Ways.

    def origins(self, version: Version, user: Activity | None = None) -> list[Origin]:
        """Whence a step run had what it read, or whence it comes at all; empty for a source."""
        run = user.run if user else math.inf
        own = next((each for each in reversed(version.made) if each.run <= run and each is not user), None)
        if own:
            return [Origin(version, own)]
        last = user or (version.used[-1].activity if version.used else None)
        return self._by_folder(version, last.run if last else math.inf, last)

    def maker(self, version: Version) -> Origin | None:
        """Who made a version, or the folder around it. None for a source, and a folder that several steps write to."""
        if version.maker:
            return Origin(version, version.maker)
        around = (each for each in self.origins(version) if version.where.key.startswith(f"{each.version.where.key}/"))
        return next(around, None)

    def uses(self, version: Version) -> list[Activity]:
        """The step runs that read a version, by itself, as a part of a folder or as the folder around it."""
        found = {id(use.activity): use.activity for use in version.used}
        found |= {id(each): each for each in self._uses_by_folder.get(id(version), ())}
        return sorted(found.values(), key=lambda each: (each.run, each.started))

    def up(self, version: Version, depth: float = math.inf) -> Iterator[Level]:
        """Every step run that a version comes from, the nearest first and each once."""
        return _walk([each.activity for each in self.origins(version)], self._above, depth)

    def down(self, version: Version, depth: float = math.inf) -> Iterator[Level]:
        """Every step run that used a version or what was made of it, the nearest first and each once."""
        return _walk(self.uses(version), self._below, depth)

    def _above(self, activity: Activity) -> Iterator[Activity]:
        for _, version in self.inputs(activity):
            yield from (origin.activity for origin in self.origins(version, activity))

    def _below(self, activity: Activity) -> Iterator[Activity]:
        for version in self.outputs(activity):
            yield from self.uses(version)

    # Building.

    def _add(self, activity: Activity) -> None:
        for name, items in activity.inputs.items():
            for item in items:
                self._seen(item).used.append(Use(activity, name))
        for item in activity.outputs:
            version = self._seen(item)
            version.made.append(activity)
            self._makers.setdefault(version.where.key, []).append(Origin(version, activity))

    def _seen(self, item: Item) -> Version:
        """The version that an item is, which is now the newest of its place."""
        where = self._where(item.text)
        versions = self._places.setdefault(where.key, {})
        version = versions.pop(item.digest, None) or Version(where=where, item=item)
        versions[item.digest] = version
        return version

    def _version(self, item: Item) -> Version:
        return self._places[self._where(item.text).key][item.digest]

    # Folders and what is in them.

    def _by_folder(self, version: Version, run: float, user: Activity | None) -> list[Origin]:
        around = self._around(version.where.key, run, user)
        return [around] if around else list(self._inside(version.where, run, user))

    def _around(self, key: str, run: float, user: Activity | None) -> Origin | None:
        """The newest maker of a folder around a place."""
        folder = key.rpartition("/")[0]
        while folder:
            if folder in self._makers and (found := _newest(self._makers[folder], run, user)):
                return found
            folder = folder.rpartition("/")[0]
        return None

    def _inside(self, where: Where, run: float, user: Activity | None) -> Iterator[Origin]:
        """The newest makers of all that is in a folder."""
        if not where.is_folder:
            return
        start = f"{where.key}/"
        for position in range(bisect_left(self._made, start), len(self._made)):
            if not self._made[position].startswith(start):
                return
            if found := _newest(self._makers[self._made[position]], run, user):
                yield found

    @cached_property
    def _made(self) -> list[str]:
        return sorted(self._makers)

    @cached_property
    def _uses_by_folder(self) -> dict[int, list[Activity]]:
        """id of a version -> who read a part of it, or a folder that it is in."""
        found: dict[int, list[Activity]] = {}
        for user in self._activities:
            for _, version in self.inputs(user):
                for origin in self.origins(version, user):
                    if origin.version is not version:
                        found.setdefault(id(origin.version), []).append(user)
        return found


def _newest(origins: Sequence[Origin], run: float, user: Activity | None) -> Origin | None:
    return next((each for each in reversed(origins) if each.activity.run <= run and each.activity is not user), None)


def _last_run(version: Version, until: float) -> tuple[float, ...]:
    """When a version was last made or used, by the end of a run; () for never."""
    activities = [*version.made, *(use.activity for use in version.used)]
    return max(((each.run, each.started) for each in activities if each.run <= until), default=())


def _walk(
    start: Iterable[Activity], further: Callable[[Activity], Iterable[Activity]], depth: float
) -> Iterator[Level]:
    level, seen, now = 1, set[int](), list(start)
    while now and level <= depth:
        fresh = [each for each in {id(each): each for each in now}.values() if id(each) not in seen]
        seen.update(map(id, fresh))
        yield from (Level(level, each) for each in fresh)
        now = [other for each in fresh for other in further(each)]
        level += 1
