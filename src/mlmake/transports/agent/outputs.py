"""What stands in a job's folder when it has ended, and its contents on their way back."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, List, Tuple

from . import digest, files
from .store import Store

_BLOCK = 1 << 20
_MOST_FILES = 1000

Entry = Tuple[str, int, bool, str]
"""Path, size, executable, digest; the path of a folder ends in a slash."""
Block = Tuple[List[Any], bytes]
"""Parts of files, each [number of the file, bytes, whether it is the last of it], and these bytes."""


class Outputs:
    """The outputs of one job."""

    def __init__(self, folder: str, store: Store, make: Callable[[], Any] | None) -> None:
        self._tree = os.path.join(folder, "tree")
        self._real = os.path.realpath(self._tree)
        self._known = os.path.join(folder, "outputs.json")
        self._store = store
        self._make = make
        self._digests: dict[str, list[Any]] = files.read_json(self._known) or {}
        self._is_news = False

    def listed(self, paths: list[str]) -> dict[str, list[Entry]]:
        """What stands at each path. Digests are remembered, for when the answer is lost on its way. Raises OSError."""
        found = {path: list(self._at(path)) for path in paths}
        if self._is_news:
            files.write_json(self._known, self._digests)
        return found

    def kept(self, paths: list[str]) -> dict[str, list[Entry]]:
        """What stands at each path, all of which is in the store from now on; nothing where no digests can be told.

        Raises OSError.
        """
        if self._make is None:
            return {}
        found = {path: entries for path, entries in self.listed(paths).items() if entries}
        for path, size, _, name in (entry for entries in found.values() for entry in entries):
            if name and not self._store.has(name, size):
                self._store.copy_output(os.path.join(self._tree, path), name)
        return found

    def contents(self, wanted: list[tuple[str, int]]) -> Iterator[Block]:
        """The contents of files, each from an offset on. Raises OSError."""
        return blocks([(os.path.join(self._tree, path), offset) for path, offset in wanted])

    def adopt(self, told: list[tuple[str, str]]) -> None:
        """Keep outputs for the jobs after this one. Raises OSError."""
        for path, name in told:
            full = os.path.join(self._tree, path)
            if self._is_ours(full) and os.stat(full).st_nlink == 1:
                self._store.adopt_output(full, name)

    def _at(self, path: str) -> Iterator[Entry]:
        full = os.path.join(self._tree, path)
        if os.path.isdir(full):
            yield path.rstrip("/") + "/", 0, False, ""
            yield from self._below(full, path.rstrip("/"), frozenset())
        elif os.path.isfile(full):
            yield self._file(full, path, os.stat(full), is_own=self._is_ours(full))

    def _below(self, folder: str, path: str, above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
        """What is in a folder. Links are followed, except into a folder that the walk is in."""
        is_own = self._is_ours(folder)
        for entry in sorted(os.scandir(folder), key=lambda each: each.name):
            try:
                status = entry.stat()
            except OSError:
                continue  # a link to nowhere, or to itself
            inner = f"{path}/{entry.name}"
            here = (status.st_dev, status.st_ino)
            if stat.S_ISREG(status.st_mode):
                yield self._file(entry.path, inner, status, is_own=is_own and not entry.is_symlink())
            elif stat.S_ISDIR(status.st_mode) and here not in above:
                yield f"{inner}/", 0, False, ""
                yield from self._below(entry.path, inner, above | {here})

    def _file(self, full: str, path: str, status: os.stat_result, *, is_own: bool) -> Entry:
        is_executable = bool(status.st_mode & 0o100)
        if self._make is None:
            return path, status.st_size, is_executable, ""
        known = self._digests.get(path)
        if known is None or known[:3] != [status.st_size, status.st_mtime_ns, status.st_ino]:
            name = digest.of_file(full, self._make)
            if is_own and status.st_nlink == 1:
                self._store.adopt_output(full, name)
                status = os.stat(full)
            known = self._digests[path] = [status.st_size, status.st_mtime_ns, status.st_ino, is_executable, name]
            self._is_news = True
        return path, status.st_size, known[3], known[4]

    def _is_ours(self, full: str) -> bool:
        """Whether a path leads nowhere else: what a job only links to is not ours to change."""
        return os.path.realpath(full).startswith(self._real + os.sep) and not os.path.islink(full)


def blocks(wanted: list[tuple[str, int]]) -> Iterator[Block]:
    """The contents of files, each from an offset on, in blocks of parts. Raises OSError."""
    parts: list[list[Any]] = []
    pieces: list[bytes] = []
    size = 0
    for number, (path, offset) in enumerate(wanted):
        for piece, is_last in _pieces(path, offset):
            parts.append([number, len(piece), is_last])
            pieces.append(piece)
            size += len(piece)
            if size >= _BLOCK or len(parts) >= _MOST_FILES:
                yield parts, b"".join(pieces)
                parts, pieces, size = [], [], 0
    yield parts, b"".join(pieces)


def _pieces(path: str, offset: int) -> Iterator[tuple[bytes, bool]]:
    """The content of a file from an offset on, in pieces; with each, whether it is the last."""
    with open(path, "rb", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size - offset
        file.seek(offset)
        while True:
            piece = file.read(min(_BLOCK, max(left, 0)))
            left -= len(piece)
            is_last = left <= 0 or not piece
            yield piece, is_last
            if is_last:
                return
