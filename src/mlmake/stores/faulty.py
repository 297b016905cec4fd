"""A drive that fails as it is told to, for tests of everything that stands on stores."""

from __future__ import annotations

import fnmatch
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlmake.errors import StoreError, StoreUnavailable
from mlmake.stores.base import Entry, Outcome, Progress, unseen
from mlmake.stores.drive import Drive, Pair

ALWAYS = 1 << 30


@dataclass(kw_only=True, slots=True)
class Fault:
    """What goes wrong in one kind of call.

    Attributes:
        call: `stat`, `list`, `read`, `fetch`, `send`, `rename`, `copy`, `remove`, or `*`.
        key: a pattern of keys.
        after: so many such calls go well first.
        times: so many fail then.
        status: 403 is refused for ever, 503 is unavailable; 0 fails nothing.
        at: the byte at which a `read`, `fetch` or `send` breaks; those that end before it go well. What comes before
            it has been written.
        action: called first, such as one that replaces the file in the store.
    """

    call: str
    key: str = "*"
    after: int = 0
    times: int = ALWAYS
    status: int = 503
    at: int | None = None
    action: Callable[[], object] | None = None

    def strikes(self, call: str, key: str, end: int | None = None) -> bool:
        """Whether this call fails; it is counted if it is one of this kind."""
        if self.call not in (call, "*") or not fnmatch.fnmatchcase(key, self.key):
            return False
        if self.at is not None and (end is None or end <= self.at):
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return self.times >= 0


class FaultyDrive:
    """Another drive with `faults`; `calls` and `bytes_read` count what was asked of it.

    `lag()` makes listings stop at what they are now; `heal()` ends the lag and every fault.
    """

    def __init__(self, inner: Drive, *faults: Fault) -> None:
        self.inner = inner
        self.traits = inner.traits
        self.voice = inner.voice
        self.faults = list(faults)
        self.calls: Counter[str] = Counter()
        self.bytes_read = 0
        self._stale: list[Entry] | None = None
        self._lock = threading.Lock()

    def lag(self) -> None:
        """Listings stop at what they are now."""
        self._stale = self.inner.list("")

    def heal(self) -> None:
        """All is well from now on."""
        self._stale = None
        self.faults.clear()

    def address(self, key: str) -> str:
        return self.inner.address(key)

    def stat(self, key: str) -> Entry | None:
        self._meet("stat", key)
        return self.inner.stat(key)

    def list(self, folder: str) -> list[Entry]:
        self._meet("list", folder)
        if self._stale is None:
            return self.inner.list(folder)
        return [entry for entry in self._stale if entry.key.startswith(f"{folder}/" if folder else "")]

    def read(self, key: str, start: int, end: int | None) -> bytes:
        self._meet("read", key, end)
        block = self.inner.read(key, start, end)
        self._count(len(block))
        return block

    def fetch(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        def one(pair: Pair) -> Outcome:
            outcome = self.inner.fetch([pair], progress)[0]
            if outcome is None:
                self._count(os.path.getsize(pair[1]))
            return outcome

        return [self._struck("fetch", key, path, progress) or one((key, path)) for key, path in pairs]

    def send(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        return [
            self._struck("send", key, path, progress) or self.inner.send([(path, key)], progress)[0]
            for path, key in pairs
        ]

    def rename(self, key: str, to: str) -> None:
        self._meet("rename", to)
        self.inner.rename(key, to)

    def copy(self, key: str, to: str) -> None:
        self._meet("copy", key)
        self.inner.copy(key, to)

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._meet("remove", key)
        self.inner.remove(keys)

    def close(self) -> None:
        self.inner.close()

    def _count(self, size: int) -> None:
        with self._lock:
            self.bytes_read += size

    def _meet(self, call: str, key: str, end: int | None = None) -> None:
        """Count the call; raise the error of the first fault that strikes it."""
        with self._lock:
            self.calls[call] += 1
            fault = next((each for each in self.faults if each.strikes(call, key, end)), None)
        if fault is not None and fault.action is not None:
            fault.action()
        if fault is not None and fault.status:
            raise self._error(fault, key)

    def _struck(self, call: str, key: str, path: str, progress: Progress) -> StoreError | None:
        """As `_meet` for a whole file; where a fault breaks at a byte, what comes before it has been moved."""
        try:
            self._meet(call, key, ALWAYS)
        except StoreError as error:
            cut = next((each.at for each in self.faults if each.call == call and each.at is not None), None)
            if cut is not None:
                self._move_part(call, key, path, cut)
            return error
        return None

    def _move_part(self, call: str, key: str, path: str, size: int) -> None:
        if call == "fetch":
            with open(path, "wb") as file:
                file.write(self.inner.read(key, 0, size))
        elif not self.traits.atomic:
            with tempfile.NamedTemporaryFile() as part, open(path, "rb") as source:
                part.write(source.read(size))
                part.flush()
                self.inner.send([(part.name, key)], unseen)

    def _error(self, fault: Fault, key: str) -> StoreError:
        kind = StoreUnavailable if fault.status == 503 else StoreError
        return self.voice.error(kind, key, f"injected {fault.status}")
