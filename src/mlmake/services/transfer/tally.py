"""How far a transfer is, as lines of its log."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from mlmake.model.run import size_in_words
from mlmake.services.transfer.sides import File

_PAUSE = 2.0
"""Seconds between two lines."""
_NAMED = 20
"""Files that are named; of more, only the number."""


class Tally:
    """Counts files and bytes; any thread may tell of bytes."""

    def __init__(self, total: Sequence[File], moving: Sequence[File]) -> None:
        self._files = len(moving)
        self._bytes = sum(file.entry.size for file in moving)
        self._total = len(total)
        self._done = 0
        self._moved = 0
        self._told = time.monotonic()
        self._lock = threading.Lock()

    def begin(self, names: Sequence[str]) -> None:
        """Say what is to be done."""
        print(f"{self._files} of {self._total} files, {size_in_words(self._bytes)}", flush=True)
        tell("moves", names)

    def moved(self, count: int) -> None:
        """So many more bytes."""
        with self._lock:
            self._moved += count
            if time.monotonic() - self._told > _PAUSE:
                self._told = time.monotonic()
                amount = f"{size_in_words(self._moved)} of {size_in_words(self._bytes)}"
                print(f"  {self._done} of {self._files} files, {amount}", flush=True)

    def finished(self, count: int) -> None:
        """So many more files."""
        self._done += count

    def end(self) -> None:
        print(f"moved {self._done} of {self._total} files, {size_in_words(self._moved)}", flush=True)


def tell(verb: str, names: Sequence[str]) -> None:
    """A line for each name, up to a few."""
    for name in names[:_NAMED]:
        print(f"  {verb} {_shown(name)}", flush=True)
    if len(names) > _NAMED:
        print(f"  and {len(names) - _NAMED} more", flush=True)


def _shown(name: str) -> str:
    """A name on one line."""
    return name if name.isprintable() else ascii(name)
