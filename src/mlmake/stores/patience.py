"""The one place where a store tries again: what is unavailable now may be there in a moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from mlmake.errors import StoreUnavailable

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How often and how long: pauses double from `first` up to `longest`, each between half and whole of that.

    The chance in it keeps many jobs that failed together from coming back together.
    """

    tries: int = 6
    first: float = 0.25
    longest: float = 10.0
    sleep: Callable[[float], object] = time.sleep
    chance: Callable[[], float] = random.random

    def rounds(self) -> Iterator[bool]:
        """One item for each try, with a pause before every one but the first; true for the last."""
        for number in range(self.tries):
            if number:
                pause: float = min(self.longest, self.first * 2 ** (number - 1))
                self.sleep(pause * (0.5 + self.chance() / 2))
            yield number == self.tries - 1

    def call(self, work: Callable[[], T]) -> T:
        """What `work` gives, tried again while it is unavailable. Raises what the last try raised."""
        for is_last in self.rounds():
            try:
                return work()
            except StoreUnavailable:
                if is_last:
                    raise
        raise AssertionError("a patience has at least one try")


EAGER = Patience(first=0.0)
"""No pauses, for tests."""
