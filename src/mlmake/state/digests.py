"""Content digests (xxh3_128), remembered by what `stat` says of a file.

A remembered digest counts while size, mtime, ctime and inode are the same and the file was older, when it was hashed,
than the clock step of its file system: a younger one may have been written again within the same step (the racy rule
of git's index, Documentation/technical/racy-git.txt).
"""

from __future__ import annotations

import os
import sqlite3
import stat as modes
import time
from collections.abc import Iterator
from typing import NamedTuple

import xxhash

_BLOCK = 1 << 18
_SECOND = 1_000_000_000
_CLOCK_STEP = 20_000_000
"""Nanoseconds within which two writes may carry the same time: twice the kernel's slowest tick."""
_COARSE_STEP = 2 * _SECOND
"""The same where times have whole seconds only (FAT, some network file systems)."""


_SELECT = """
    SELECT path, size, mtime, ctime, inode, seen, digest FROM digests
    WHERE typeof(seen) = 'integer' AND typeof(digest) = 'text'
"""


class Digest(NamedTuple):
    """The content of a file or a folder: xxh3_128 in hex, and bytes."""

    digest: str
    size: int


class _Row(NamedTuple):
    size: int
    mtime: int
    ctime: int
    inode: int
    seen: int
    digest: str


class Digests:
    """Digests of files and folders, looked up by absolute path; one instance lives for one command."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # Odd types are damage that sqlite passed on; such a file is hashed again. Blobs sort after all texts.
        rows = connection.execute(f"{_SELECT} AND path < x''")
        self._rows: dict[str, _Row] = {row[0]: _Row(*row[1:]) for row in rows}
        rows = connection.execute(f"{_SELECT} AND path >= x''")
        self._rows.update((os.fsdecode(row[0]), _Row(*row[1:])) for row in rows)
        self._new: dict[str, _Row] = {}

    def of(self, path: str) -> Digest | None:
        """The content of the file or folder at `path`; None where there is none."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        if modes.S_ISDIR(status.st_mode):
            return self._folder(path)
        return self._file(path, status) if modes.S_ISREG(status.st_mode) else None

    def moved(self, old: str, new: str) -> None:
        """A file or folder was renamed: what is known of it goes along, as far as `stat` still says the same."""
        if os.path.isdir(new):
            for name, status in _walk(new, ""):
                if status is not None:
                    self._moved(os.path.join(old, name), os.path.join(new, name), status)
        else:
            self._moved(old, new, os.stat(new))

    def _moved(self, old: str, new: str, status: os.stat_result) -> None:
        row = self._rows.pop(old, None)
        self._new.pop(old, None)
        if row and (row.size, row.mtime, row.inode) == (status.st_size, status.st_mtime_ns, status.st_ino):
            self._remember(new, row._replace(ctime=status.st_ctime_ns))

    def save(self) -> None:
        """Write what was learnt into the state; call it inside a transaction."""
        rows = ((_as_key(path), *row) for path, row in self._new.items())
        self._connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._new.clear()

    @property
    def learnt(self) -> int:
        """How many digests `save` would write."""
        return len(self._new)

    def _file(self, path: str, status: os.stat_result) -> Digest | None:
        row = self._rows.get(path)
        if row is not None and _same(row, status) and not _racy(row):
            return Digest(row.digest, row.size)
        seen = time.time_ns()
        try:
            digest, size = _hash(path)
        except OSError:
            return None
        row = _Row(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, seen, digest)
        if size == status.st_size:
            self._remember(path, row)
        return Digest(digest, size)

    def _remember(self, path: str, row: _Row) -> None:
        self._rows[path] = self._new[path] = row

    def _folder(self, path: str) -> Digest | None:
        try:
            os.scandir(path).close()
        except OSError:
            return None
        total = xxhash.xxh3_128()
        size = 0
        for name, status in _walk(path, ""):
            if status is None:
                total.update(f"{name}/\0".encode("utf-8", "surrogateescape"))
                continue
            content = self._file(os.path.join(path, name), status)
            if content is not None:
                mark = "x" if status.st_mode & 0o100 else "-"
                total.update(f"{name}\0{mark}{content.digest}\0".encode("utf-8", "surrogateescape"))
                size += content.size
        return Digest(total.hexdigest(), size)


def _same(row: _Row, status: os.stat_result) -> bool:
    return (
        row.mtime == status.st_mtime_ns
        and row.size == status.st_size
        and row.ctime == status.st_ctime_ns
        and row.inode == status.st_ino
    )


def _racy(row: _Row) -> bool:
    step = _COARSE_STEP if row.mtime % _SECOND == 0 and row.ctime % _SECOND == 0 else _CLOCK_STEP
    return max(row.mtime, row.ctime) + step >= row.seen


def _as_key(path: str) -> str | bytes:
    """A path as sqlite takes it: a text, or bytes where the name is no Unicode."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def _hash(path: str) -> tuple[str, int]:
    hasher = xxhash.xxh3_128()
    size = 0
    handle = os.open(path, os.O_RDONLY)
    try:
        while block := os.read(handle, _BLOCK):
            hasher.update(block)
            size += len(block)
    finally:
        os.close(handle)
    return hasher.hexdigest(), size


def _walk(
    folder: str, prefix: str, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[str, os.stat_result | None]]:
    """Files with their status and, first, folders without, in the order of names. Links are followed, loops not."""
    try:
        with os.scandir(os.path.join(folder, prefix)) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        try:
            status = entry.stat()
        except OSError:
            continue
        name = f"{prefix}{entry.name}"
        if modes.S_ISREG(status.st_mode):
            yield name, status
        elif modes.S_ISDIR(status.st_mode) and (here := (status.st_dev, status.st_ino)) not in above:
            yield name, None
            yield from _walk(folder, f"{name}/", (*above, here))
