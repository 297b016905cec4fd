"""Connections that are made when they are needed, used by one thread at a time, and kept for the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Lender(Generic[T]):
    """Lends at most `limit` things; who comes later waits. One whose use failed, and not in a `harmless` way, ends."""

    def __init__(
        self, make: Callable[[], T], end: Callable[[T], object], limit: int, harmless: tuple[type[Exception], ...]
    ) -> None:
        self._make = make
        self._end = end
        self._harmless = harmless
        self._room = threading.Semaphore(limit)
        self._free: list[T] = []
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[T]:
        """A thing for as long as the block lasts. Raises what making one raises."""
        with self._room:
            with self._lock:
                thing = self._free.pop() if self._free else None
            if thing is None:
                thing = self._make()
            try:
                yield thing
            except BaseException as error:
                if isinstance(error, self._harmless):
                    self._keep(thing)
                else:
                    self._end(thing)
                raise
            self._keep(thing)

    def _keep(self, thing: T) -> None:
        with self._lock:
            self._free.append(thing)

    def close(self) -> None:
        """End what is not in use."""
        with self._lock:
            free, self._free = self._free, []
        for thing in free:
            self._end(thing)
