"""The shared cache during a build: looked into before a step runs, given what steps wrote, never waited for in between.

What goes wrong here is no failure of the build: it is told once, and the build goes on without the shared cache. What
could not be pushed is owed, and the next build that has a look at all, or `mlmake cache push`, pushes it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import TypeAlias, TypeVar

from mlmake.errors import MlmakeError, StoreUnavailable
from mlmake.model.caching import CachePolicy
from mlmake.model.events import Noticed, Pushing, Sink
from mlmake.state.cache import Action, Cache
from mlmake.state.manifests import Record
from mlmake.state.objects import Objects
from mlmake.state.shared import Refused, Shared, sweep
from mlmake.stores.opening import open_store
from mlmake.stores.patience import Patience

T = TypeVar("T")
Question: TypeAlias = tuple[str, Callable[[Record | None], None]]
_LOOKERS = 16
"""Steps that are looked up at once: they wait for the network, not for this machine."""
_GLANCE = 0.2
"""Seconds between two looks at what is still on its way."""
_BATCH = 500
"""Actions that are pushed together."""
_READ, _WRITE = "read", "write"
_BOTH = (_READ, _WRITE)
_NAMED = 3
"""Contents that are named where many are refused."""


class Sharing:
    """The shared cache of one build. All but `find` is called from the build's own thread.

    Its threads are daemons: one that waits for a store that does not answer holds back no end of a build.
    """

    def __init__(self, policy: CachePolicy, objects: Objects) -> None:
        self._policy = policy
        self._objects = objects
        self._shared: Shared | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._problems: dict[str, str] = {}
        self._notes: SimpleQueue[str] = SimpleQueue()
        self._asked: dict[int, Question] = {}
        self._questions: SimpleQueue[int | None] = SimpleQueue()
        self._lookers: list[threading.Thread] = []
        self._waiting: SimpleQueue[Action | None] = SimpleQueue()
        self._pushed: SimpleQueue[str] = SimpleQueue()
        self._pusher: threading.Thread | None = None
        self._number = 0
        self._given = 0
        self._done = 0

    @property
    def reads(self) -> bool:
        """Whether it is looked into: it may be, and that has not failed."""
        return self._policy.mode.reads and _READ not in self._problems

    @property
    def writes(self) -> bool:
        """Whether it is given what steps write."""
        return self._policy.mode.writes and _WRITE not in self._problems

    # In.

    def find(self, key: str) -> Record | None:
        """The record of a key with all that it names brought here; None if there is none. For any thread."""
        if not self.reads:
            return None
        try:
            shared = self._open()
            record = shared.find(key)
            refused = shared.pull(shared.lacking([record])) if record else []
        except Exception as error:  # also a bug here ends no build
            self._fail(_READ, error)
            return None
        if record and refused:
            self._notes.put(f"{refusal(self._policy.name, record, refused)}; the step runs")
            return None
        return record

    def look_up(self, key: str, then: Callable[[Record | None], None]) -> None:
        """Call `then`, in any thread, with what `find` gives."""
        number = self._number
        self._number += 1
        self._asked[number] = (key, then)
        self._questions.put(number)
        if len(self._lookers) < _LOOKERS:
            self._lookers.append(_started(self._look, "mlmake-pull"))

    def stop_looking(self) -> None:
        """Answer all that was asked and is not answered yet with None, at once."""
        for number in list(self._asked):
            self._answer(number, None)

    def _look(self) -> None:
        while (number := self._questions.get()) is not None:
            question = self._asked.get(number)
            if question and not self._ended.is_set():
                self._answer(number, self.find(question[0]))

    def _answer(self, number: int, record: Record | None) -> None:
        """Whoever answers first is heard."""
        question = self._asked.pop(number, None)
        if question:
            question[1](record)

    # Out.

    def give(self, action: Action) -> None:
        """Push an action in the background."""
        if not self.writes:
            return
        self._given += 1
        self._waiting.put(action)
        if self._pusher is None:
            self._pusher = _started(self._push_all, "mlmake-push")

    def pushed(self) -> list[str]:
        """Keys of the actions that are owed no more since the last call."""
        return list(_drained(self._pushed))

    def _push_all(self) -> None:
        try:
            while (batch := self._batch()) and not self._ended.is_set():
                pushed = self._open().push(batch)
                for action in pushed.unsound:
                    self._notes.put(unsound(action))
                for key in (*pushed.keys, *(action.key for action in pushed.unsound)):
                    self._pushed.put(key)
                self._done += len(batch)
        except Exception as error:  # also a bug here ends no build
            self._fail(_WRITE, error)

    def _batch(self) -> list[Action]:
        """What waits to be pushed, or waits for that; nothing at the end."""
        batch: list[Action] = []
        while len(batch) < _BATCH:
            try:
                action = self._waiting.get(block=not batch)
            except Empty:
                break
            if action is None:
                self._waiting.put(None)  # the end is still the end for the next call
                break
            batch.append(action)
        return batch

    # Ending.

    def tell(self, sink: Sink) -> None:
        """Tell what went wrong since the last call."""
        for note in _drained(self._notes):
            sink(Noticed(note))

    def finish(self, sink: Sink, is_stopped: Callable[[], bool]) -> None:
        """Wait for what is still on its way, unless the build is to stop."""
        self._waiting.put(None)
        while self._pusher and self._pusher.is_alive() and not is_stopped():
            self._pusher.join(_GLANCE)
            sink(Pushing(self._given - self._done if self.writes else 0))
        self.tell(sink)
        left = self._given - self._done
        if left and self.writes:
            sink(Noticed(f"not in the shared cache yet: {counted(left, 'result')}; the next build pushes what is left"))

    def close(self) -> None:
        """End the threads; what is not pushed is owed, and the next build pushes it."""
        self._ended.set()
        self._waiting.put(None)
        for _ in self._lookers:
            self._questions.put(None)
        threads = [*self._lookers, *([self._pusher] if self._pusher else [])]
        for thread in threads:
            thread.join(_GLANCE / len(threads))
        if self._shared is not None and not any(thread.is_alive() for thread in threads):
            self._shared.store.close()

    def _open(self) -> Shared:
        with self._lock:
            if self._shared is None:
                try:
                    self._shared = open_shared(self._policy, self._objects, self._heard, self._ended.wait)
                except MlmakeError as error:
                    self._note_problem(_BOTH, "open", error.message)
                    raise
            return self._shared

    def _heard(self, text: str) -> None:
        self._notes.put(f"the shared cache {self._policy.name}: {text}; the step runs")

    def _fail(self, what: str, error: Exception) -> None:
        """Note that reading or writing cannot go on; both, where the store does not answer at all."""
        is_known = isinstance(error, MlmakeError | OSError)
        text = error.message if isinstance(error, MlmakeError) else str(error)
        with self._lock:
            whats = _BOTH if isinstance(error, StoreUnavailable) else (what,)
            self._note_problem(whats, what, text if is_known else f"{type(error).__name__}: {text}")

    def _note_problem(self, whats: Iterable[str], verb: str, text: str) -> None:
        new = [what for what in whats if what not in self._problems]
        self._problems.update(dict.fromkeys(new, text))
        if new and not self._ended.is_set():
            without = "writing to it" if new == [_WRITE] else "reading it" if new == [_READ] else "it"
            self._notes.put(
                f"cannot {verb} the shared cache {self._policy.name}: {text}; this build goes on without {without}"
            )


def sharing_of(cache: Cache) -> Sharing | None:
    """The shared cache, if there is one; what an earlier build still owes it is on its way at once."""
    if not cache.policy.enabled or not cache.policy.remote:
        return None
    sweep(cache.objects)
    sharing = Sharing(cache.policy, cache.objects)
    for action in cache.actions.all(owed=True):
        sharing.give(action)
    return sharing


def open_shared(
    policy: CachePolicy,
    objects: Objects,
    notice: Callable[[str], object],
    sleep: Callable[[float], object] | None = None,
) -> Shared:
    """The shared cache of a policy; `sleep` pauses between two tries. Raises StoreError."""
    patience = Patience(sleep=sleep) if sleep else None
    return Shared(open_store("cache", policy.remote, policy.options, os.environ, patience=patience), objects, notice)


def refusal(name: str, record: Record, refused: Iterable[Refused]) -> str:
    """In words, what could not be had from the shared cache for a step."""
    told = [str(each) for each in refused]
    more = f", and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    step = "".join(letter if letter.isprintable() else "?" for letter in record.action.step)
    return f"{step} cannot be restored from the shared cache {name}: {', '.join(told[:_NAMED])}{more}"


def unsound(action: Action) -> str:
    """In words, that a result is not whole in the cache here."""
    return (
        f"what {action.step} wrote is not sent to the shared cache: something of it is damaged or gone here; "
        "`mlmake cache verify` finds it"
    )


def counted(number: int, noun: str) -> str:
    """`1 result`, `2 results`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _started(work: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def _drained(queue: SimpleQueue[T]) -> list[T]:
    """What is in a queue now."""
    found: list[T] = []
    try:
        while True:
            found.append(queue.get_nowait())
    except Empty:
        return found
