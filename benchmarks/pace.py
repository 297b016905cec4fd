"""What took how long at which size, so that nothing is started that would run into its limit."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.shapes import Shape
from benchmarks.timing import Broken

_NEAR = 10

Key = tuple[str, str, str]
"""What is done, the shape, the tool."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """`base` seconds at the smallest size, `seconds` at the largest, `size`."""

    base: float
    size: int
    seconds: float

    def at(self, size: int) -> float:
        """Seconds at a larger size, if all but the base grows with it; a guess from afar gets the benefit of doubt."""
        more = (self.seconds - self.base) * size / self.size
        return self.base + (more / 2 if size > _NEAR * self.size else more)


@dataclass(slots=True)
class Pace:
    """Remembers, and foretells for larger sizes; what is known of independent steps counts for other shapes."""

    _seen: dict[Key, _Seen] = field(default_factory=dict)

    def note(self, key: Key, size: int, seconds: float) -> None:
        """Remember what was measured, or that a limit was passed."""
        base = min(self._seen[key].base, seconds) if key in self._seen else seconds if size == 1 else 0.0
        self._seen[key] = _Seen(base, size, seconds)

    def check(self, key: Key, size: int, limit: float) -> None:
        """Raise Broken where `size` steps would take longer than `limit`."""
        what, _, tool = key
        seen = self._seen.get(key) or self._seen.get((what, Shape.WIDE.value, tool))
        if seen and seen.at(size) > limit:
            steps = "1 step" if seen.size == 1 else f"{seen.size:,} steps"
            raise Broken(f"not measured: {seen.seconds:.1f} s at {steps}")
