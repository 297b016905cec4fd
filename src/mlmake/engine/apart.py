"""Work in other threads, and what comes back from it: run in the build's own thread, one after the other."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from mlmake.errors import StoreError

T = TypeVar("T")
_HASHERS, _FETCHERS = 2, 8
"""Threads for work with this machine's files, and for work that waits for others."""


class Apart:
    """Threads, and a queue of calls that they leave for the build's own thread."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._hashers = ThreadPoolExecutor(_HASHERS, thread_name_prefix="mlmake-hash")
        self._fetchers = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="mlmake-fetch")
        self._waiting = 0
        self._is_stopped = False

    @property
    def waiting(self) -> int:
        """Works that have not come back."""
        return self._waiting

    def do(self, work: Callable[[], T], then: Callable[[T], None], *, is_slow: bool = False) -> None:
        """Do work in another thread and then, in this one, `then` with what it gave; slow is what waits for others."""
        (self._fetchers if is_slow else self._hashers).submit(self._done, work, self.expect(then))

    def expect(self, then: Callable[[T], None]) -> Callable[[T], None]:
        """What another thread is to call once with the result of its work, for `then` to be done in this one."""
        self._waiting += 1
        return lambda result: self.post(partial(self._come_back, then, result))

    def post(self, call: Callable[[], None]) -> None:
        """Leave a call for the build's thread; for any thread."""
        self._calls.put(call)

    def fail(self, error: Exception) -> None:
        """Let an error end the build: a bug must not leave it waiting. For any thread."""
        self.post(partial(_raise, error))

    def stop(self) -> None:
        """Let what waits for others give up at the next byte that moves."""
        self._is_stopped = True

    def go_on(self, _: int = 0) -> None:
        """A progress for what moves bytes. Raises StoreError once all is to stop. For any thread."""
        if self._is_stopped:
            raise StoreError("the build was stopped")

    def nudge(self) -> None:
        """Make `take` return soon; for any thread and for signal handlers."""
        self._calls.put(None)

    def take(self, *, is_patient: bool, seconds: float | None) -> None:
        """Do every call that is there; if patient, wait for one, at most so long."""
        try:
            call = self._calls.get(is_patient, timeout=seconds if is_patient else None)
            while True:
                if call is not None:
                    call()
                call = self._calls.get_nowait()
        except queue.Empty:
            return

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""
        for pool in (self._hashers, self._fetchers):
            pool.shutdown(wait=True, cancel_futures=True)

    def _done(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        try:
            then(work())
        except Exception as error:
            self.fail(error)

    def _come_back(self, then: Callable[[T], None], result: T) -> None:
        self._waiting -= 1
        then(result)


def _raise(error: Exception) -> None:
    raise error
