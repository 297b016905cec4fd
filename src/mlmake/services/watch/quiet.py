"""When what has changed may be taken: a burst is over when nothing was heard for the settle time."""

from __future__ import annotations

LONGEST = 10.0
"""Seconds after which what stands still is taken, although something else is written on and on."""


class Quiet:
    """Waits for a burst to end. Times are those of one clock, in seconds."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._first: float | None = None
        self._last = 0.0

    def heard(self, now: float) -> None:
        """Something happened."""
        if self._first is None:
            self._first = now
        self._last = now

    def taken(self) -> None:
        """It was all taken."""
        self._first = None

    @property
    def due(self) -> float | None:
        """When to look; None while there is nothing to look at."""
        return None if self._first is None else min(self._last + self._settle, self._first + LONGEST)

    def is_long(self, now: float) -> bool:
        """Whether it goes on for so long that nobody waits for its end any more."""
        return self._first is not None and now >= self._first + LONGEST
