"""While a build goes on in the main thread: takes messages, and says which steps a change has made pointless."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

M = TypeVar("M")


class _End:
    """The build has ended."""


class Attendant(Generic[M]):
    """A thread that hands messages to `take`; at the time that this gives, by the monotonic clock, it calls `look`."""

    def __init__(self, inbox: SimpleQueue[M], take: Callable[[M], float | None], look: Callable[[], None]) -> None:
        self._inbox = inbox
        self._take = take
        self._look = look
        self._thread = threading.Thread(target=self._run, name="watch-attendant", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inbox.put(_End())  # type: ignore[arg-type]
        self._thread.join()

    def _run(self) -> None:
        due: float | None = None
        while True:
            try:
                message = self._inbox.get(timeout=None if due is None else max(0.0, due - time.monotonic()))
            except Empty:
                due = None
                self._look()
                continue
            if isinstance(message, _End):
                return
            due = self._take(message)
