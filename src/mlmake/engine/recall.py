"""Steps to be cancelled while a build goes on, because what they read is not there any more as they read it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable


class Recall:
    """Takes the ids of steps from another thread than that of the build."""

    def __init__(self) -> None:
        self._asked: deque[frozenset[str]] = deque()
        self._nudge: Callable[[], None] | None = None

    def call(self, steps: Iterable[str]) -> None:
        """Cancel those of these steps that run now."""
        self._asked.append(frozenset(steps))
        if self._nudge:
            self._nudge()

    def attach(self, nudge: Callable[[], None]) -> None:
        """Let `nudge` wake the build when something is asked."""
        self._nudge = nudge

    def take(self) -> frozenset[str]:
        """What was asked since the last time."""
        taken: frozenset[str] = frozenset()
        while self._asked:
            taken |= self._asked.popleft()
        return taken
