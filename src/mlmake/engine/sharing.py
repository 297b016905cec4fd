"""The shared cache during a build: looked into before a step runs, given what steps wrote, never waited for in between.

What goes wrong here is no failure of the build: it is told once, and the build goes on without the shared cache.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TypeVar

from mlmake.errors import MlmakeError
from mlmake.model.caching import CachePolicy
from mlmake.model.events import Noticed, Pushing, Sink
from mlmake.state.cache import Action, Cache
from mlmake.state.objects import Objects
from mlmake.state.shared import Record, Shared
from mlmake.stores.opening import open_store

T = TypeVar("T")
_LOOKERS = 16
"""Steps that are looked up at once: they wait for the network, not for this machine."""
_GLANCE = 0.2
"""Seconds between two looks at what is still on its way."""
_BATCH = 500
"""Actions that are pushed together."""


class Sharing:
    """The shared cache of one build. All but `find` is called from the build's own thread."""

    def __init__(self, policy: CachePolicy, objects: Objects) -> None:
        self._policy = policy
        self._objects = objects
        self._shared: Shared | None = None
        self._opening = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=_LOOKERS, thread_name_prefix="mlmake-pull")
        self._waiting: SimpleQueue[Action | None] = SimpleQueue()
        self._pushed: SimpleQueue[str] = SimpleQueue()
        self._pusher = threading.Thread(target=self._push_all, name="mlmake-push", daemon=True)
        self._given = 0
        self._done = 0
        self._is_stopping = False
        self._is_told = False
        self.problem = ""

    @property
    def reads(self) -> bool:
        return self._policy.mode.reads and not self.problem

    def find(self, key: str) -> Record | None:
        """The record of a key with all that it names brought here; None if there is none. For any thread."""
        if self.problem:
            return None
        try:
            shared = self._open()
            record = shared.find(key)
            if record is None or shared.pull(shared.lacking([record])):
                return None
        except (MlmakeError, OSError) as error:
            self._fail("read", error)
            return None
        return record

    def look_up(self, key: str, then: Callable[[Record | None], None]) -> None:
        """Call `then` in another thread with what `find` gives."""
        self._pool.submit(lambda: then(self.find(key)))

    def give(self, action: Action) -> None:
        """Push an action in the background."""
        if not self._policy.mode.writes or self.problem:
            return
        self._given += 1
        self._waiting.put(action)
        if not self._pusher.is_alive():
            self._pusher.start()

    def pushed(self) -> list[str]:
        """Keys of the actions that were pushed since the last call."""
        return list(_drained(self._pushed))

    def tell(self, sink: Sink) -> None:
        """Tell what went wrong, once."""
        if self.problem and not self._is_told:
            self._is_told = True
            sink(Noticed(f"{self.problem}; this build goes on without it"))

    def finish(self, sink: Sink, is_stopped: Callable[[], bool]) -> None:
        """Wait for what is still on its way, unless the build is to stop."""
        self._is_stopping = True
        self._waiting.put(None)
        while self._pusher.is_alive() and not is_stopped():
            self._pusher.join(_GLANCE)
            sink(Pushing(0 if self.problem else self._given - self._done))
        self.tell(sink)

    def close(self) -> None:
        """End the threads; what is not pushed is owed, and the next build pushes it."""
        self._is_stopping = True
        self._waiting.put(None)
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._shared is not None and not self._pusher.is_alive():
            self._shared.store.close()

    def _open(self) -> Shared:
        with self._opening:
            if self._shared is None:
                policy = self._policy
                store = open_store("cache", policy.remote, policy.options, os.environ)
                self._shared = Shared(store, self._objects)
            return self._shared

    def _push_all(self) -> None:
        known: set[str] = set()
        while (first := self._waiting.get()) is not None:
            batch = [first, *(each for each in _drained(self._waiting, _BATCH - 1) if each is not None)]
            try:
                for key in self._open().push(batch, known=known):
                    self._pushed.put(key)
            except (MlmakeError, OSError) as error:
                self._fail("write", error)
                return
            self._done += len(batch)
            if self._is_stopping and self._waiting.empty():
                return

    def _fail(self, verb: str, error: Exception) -> None:
        if not self.problem:
            text = error.message if isinstance(error, MlmakeError) else f"{error}"
            self.problem = f"cannot {verb} the shared cache {self._policy.name}: {text}"


def sharing_of(cache: Cache) -> Sharing | None:
    """The shared cache, if there is one; what an earlier build still owes it is on its way at once."""
    if not cache.policy.enabled or not cache.policy.remote:
        return None
    sharing = Sharing(cache.policy, cache.objects)
    for action in cache.actions.all(owed=True):
        sharing.give(action)
    return sharing


def _drained(queue: SimpleQueue[T], most: int = 1 << 30) -> list[T]:
    """What is in a queue now."""
    found: list[T] = []
    try:
        while len(found) < most:
            found.append(queue.get_nowait())
    except Empty:
        pass
    return found
