"""Who makes what: output paths and the steps that make them, as in make."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from mlmake.model.data import Location
from mlmake.model.globs import matches
from mlmake.model.step import Step


@dataclass(frozen=True, slots=True)
class Claim:
    """One output: who makes it, and where the file says so."""

    step: Step
    location: Location
    where: str


class Owners:
    """Every output by its path: one output has one producer."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._sorted: list[str] = []

    def claim(self, claim: Claim) -> Claim | None:
        """Note an output; the one that is there already, if it has a producer."""
        other = self._claims.setdefault(claim.location.path, claim)
        return None if other is claim else other

    def at(self, path: str) -> Claim | None:
        """The output at just this path."""
        return self._claims.get(path)

    def by_path(self) -> dict[str, str]:
        """Output path -> id of its step."""
        return {path: claim.step.id for path, claim in self._claims.items()}

    def texts(self) -> Iterator[str]:
        """Outputs as declared."""
        return (claim.location.text for claim in self._claims.values())

    def overlaps(self) -> Iterator[tuple[Claim, Claim]]:
        """Outputs that hold other outputs: (outer, the first one inside)."""
        for path, claim in self._claims.items():
            if inner := self._under(path, most=1):
                yield claim, self._claims[inner[0]]

    def producers(self, location: Location) -> tuple[str, ...]:
        """Steps that make what a location names: the path, a folder it lies in, what lies in it, what it matches."""
        path = location.path
        while len(path) > 1:
            if path in self._claims:
                return (self._claims[path].step.id,)
            path = path.rpartition("/")[0]
        found = self._under(location.path)
        if location.pattern:
            found = [each for each in found if self._is_match(each, location)]
        return tuple(dict.fromkeys(self._claims[each].step.id for each in found))

    def _under(self, folder: str, most: int | None = None) -> list[str]:
        """Owned paths inside a folder: neighbours when sorted, since `0` follows `/`."""
        if len(self._sorted) != len(self._claims):
            self._sorted = sorted(self._claims)
        stem = folder.rstrip("/")
        first, last = bisect_left(self._sorted, f"{stem}/"), bisect_left(self._sorted, f"{stem}0")
        return self._sorted[first : last if most is None else min(last, first + most)]

    def _is_match(self, path: str, location: Location) -> bool:
        inner = path[len(location.path.rstrip("/")) + 1 :]
        return matches(inner, location.pattern, self._claims[path].location.is_folder)
