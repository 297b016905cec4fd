"""A store in the memory of this process, for tests."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import md5

from mlmake.errors import StoreMissing
from mlmake.stores.base import Entry, Outcome, Progress, Traits
from mlmake.stores.drive import Pair, spread
from mlmake.stores.voice import Voice


class MemoryDrive:
    """Keeps every file as bytes; versions are md5, as an object store's."""

    traits = Traits(atomic=True, server_copy=True, exact=True)

    def __init__(self, name: str = "memory") -> None:
        self.voice = Voice(name=name, url=f"memory://{name}")
        self._files: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def address(self, key: str) -> str:
        return f"{self.voice.url}/{key}"

    def stat(self, key: str) -> Entry | None:
        with self._lock:
            data = self._files.get(key)
        return None if data is None else _entry(key, data)

    def list(self, folder: str) -> list[Entry]:
        with self._lock:
            files = sorted(self._files.items())
        return [_entry(key, data) for key, data in files if key.startswith(f"{folder}/" if folder else "")]

    def read(self, key: str, start: int, end: int | None) -> bytes:
        with self._lock:
            if key not in self._files:
                raise self.voice.error(StoreMissing, key, "is not there")
            return self._files[key][start:end]

    def fetch(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        def one(pair: Pair) -> None:
            data = self.read(pair[0], 0, None)
            with open(pair[1], "wb") as file:
                progress(file.write(data))

        return spread(one, pairs, 1)

    def send(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        def one(pair: Pair) -> None:
            with open(pair[0], "rb") as file:
                data = file.read()
            with self._lock:
                self._files[pair[1]] = data
            progress(len(data))

        return spread(one, pairs, 1)

    def rename(self, key: str, to: str) -> None:
        self.copy(key, to)
        self.remove([key])

    def copy(self, key: str, to: str) -> None:
        data = self.read(key, 0, None)
        with self._lock:
            self._files[to] = data

    def remove(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._files.pop(key, None)

    def close(self) -> None:
        """Nothing is open."""


def _entry(key: str, data: bytes) -> Entry:
    digest = md5(data, usedforsecurity=False).hexdigest()
    return Entry(key=key, size=len(data), version=f"md5 {digest}", is_exact=True)
