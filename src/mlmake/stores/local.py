"""A folder of this machine, also one that a network file system brings."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mlmake.errors import StoreError, StoreMissing
from mlmake.stores.base import Entry, Outcome, Progress, Traits
from mlmake.stores.drive import Pair, spread, stamped
from mlmake.stores.voice import Voice

_WIDTH = 8


class LocalDrive:
    """Files below a folder. The folder itself is made when the first file is put."""

    traits = Traits(atomic=False, server_copy=True, local=True)

    def __init__(self, url: str, options: Mapping[str, Any], voice: Voice) -> None:
        if options:
            raise voice.error(StoreError, "", f"a folder has no options, got {', '.join(options)}")
        self.voice = voice
        self._root = os.path.abspath(os.path.expanduser(url.removeprefix("file://")))

    def address(self, key: str) -> str:
        return os.path.join(self._root, key)

    def stat(self, key: str) -> Entry | None:
        try:
            found = os.stat(self.address(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _entry(key, found) if stat.S_ISREG(found.st_mode) else None

    def list(self, folder: str) -> list[Entry]:
        return sorted(_below(self.address(folder) if folder else self._root, folder, ()), key=lambda entry: entry.key)

    def read(self, key: str, start: int, end: int | None) -> bytes:
        try:
            with open(self.address(key), "rb") as file:
                file.seek(start)
                return file.read() if end is None else file.read(end - start)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise self._missing(key) from None

    def fetch(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        def one(pair: Pair) -> None:
            self._copy_file(self.address(pair[0]), pair[1], pair[0])
            progress(os.path.getsize(pair[1]))

        return spread(one, pairs, _WIDTH)

    def send(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        def one(pair: Pair) -> None:
            shutil.copyfile(pair[0], self._made(pair[1]))
            progress(os.path.getsize(pair[0]))

        return spread(one, pairs, _WIDTH)

    def rename(self, key: str, to: str) -> None:
        os.replace(self.address(key), self._made(to))

    def copy(self, key: str, to: str) -> None:
        self._copy_file(self.address(key), self._made(to), key)

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(self.address(key))

    def close(self) -> None:
        """Nothing is open."""

    def _made(self, key: str) -> str:
        path = self.address(key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def _copy_file(self, source: str, target: str, key: str) -> None:
        if not os.path.isfile(source):
            raise self._missing(key)
        shutil.copyfile(source, target)

    def _missing(self, key: str) -> StoreMissing:
        return self.voice.error(StoreMissing, key, "is not there")


def _below(path: str, folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[Entry]:
    """Every file below a folder. Links are followed, but never into a folder that the walk is in."""
    try:
        found = os.stat(path)
        items = list(os.scandir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    here = (found.st_dev, found.st_ino)
    if here in above:
        return
    for item in items:
        key = f"{folder}/{item.name}" if folder else item.name
        if item.is_dir():
            yield from _below(item.path, key, (*above, here))
        elif item.is_file():
            with suppress(FileNotFoundError):
                yield _entry(key, item.stat())


def _entry(key: str, found: os.stat_result) -> Entry:
    seconds, rest = divmod(found.st_mtime_ns, 10**9)
    return stamped(key, found.st_size, f"{seconds}.{rest:09d}")
