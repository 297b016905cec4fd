"""Content digests (xxh3_128), remembered by what `stat` says.

A remembered digest counts while size, mtime, ctime and inode are the same and the file was not racy when it was hashed
(see `stamps.is_racy`). A folder is remembered as a whole, by one mark over what `stat` says of all that is in it, and
per folder inside it, so that one changed file costs its own folder and not the tree.
"""

from __future__ import annotations

import marshal
import os
import sqlite3
import stat as modes
import time
from typing import NamedTuple

import xxhash

from mlmake.state.elsewhere import Away, Elsewhere
from mlmake.state.hashing import hash_file as _hash
from mlmake.state.snapshot import ABSENT, NEVER
from mlmake.state.stamps import TOP, Place, Stamp, entries, is_racy, stamp

_FILES = """
    SELECT path, size, mtime, ctime, inode, seen, digest FROM digests
    WHERE typeof(seen) = 'integer' AND typeof(digest) = 'text'
"""
_LONG = 0.05
"""Seconds for a look through a folder, from which on it is believed for as long as it took, until `look_again`."""
_TREES = "SELECT path, mark, newest, seen, digest, size FROM trees WHERE typeof(mark) = 'blob'"


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


class _Walk(NamedTuple):
    """A look through a folder that took long: the content, `Stamp.written`, and until when it is believed."""

    digest: Digest
    written: int
    until: float


class _Tree(NamedTuple):
    mark: bytes
    newest: int
    seen: int
    digest: str
    size: int


class Digests:
    """Digests of files and folders, looked up by absolute path; one instance lives for one command.

    With `whole` false, remembered digests are read from the state one by one as they are needed. What is `elsewhere`
    counts as if it stood in its place.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, whole: bool = True, elsewhere: Elsewhere | None = None
    ) -> None:
        self._connection = connection
        self._elsewhere = elsewhere
        self._whole = whole
        self._rows: dict[str, _Row] = {}
        self._trees: dict[str, _Tree] = {}
        if whole:
            # Odd types are damage that sqlite passed on; such a file is hashed again. Blobs sort after all texts.
            self._load_files("AND path < x''", ())
            self._load_files("AND path >= x''", ())
            self._load_trees("", ())
        self._new: dict[str, _Row] = {}
        self._new_trees: dict[str, _Tree] = {}
        self._new_folders: dict[str, bytes] = {}
        self._walks: dict[str, _Walk] = {}

    def look_again(self) -> None:
        """Believe nothing that was seen before: something has been written, or may have been."""
        self._walks.clear()

    def of(self, path: str) -> Digest | None:
        """The content of the file or folder at `path`; None where there is none."""
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            away = self.away(path)
            return Digest(away.digest, away.size) if away else None
        except (OSError, ValueError):
            return None
        if modes.S_ISDIR(status.st_mode):
            return self._folder(path)
        return self._file(path, status) if modes.S_ISREG(status.st_mode) else None

    def away(self, path: str) -> Away | None:
        """What belongs at a path, where it is elsewhere."""
        return self._elsewhere.at(path) if self._elsewhere else None

    def forget(self, path: str) -> None:
        """Nothing stands there any more; call it inside a transaction."""
        self.look_again()
        for table in (self._rows, self._trees, self._new, self._new_trees):
            table.pop(path, None)
        self._connection.execute("DELETE FROM digests WHERE path = ?", (_as_key(path),))
        self._connection.execute("DELETE FROM trees WHERE path = ?", (_as_key(path),))

    def written(self, path: str) -> int:
        """Changes when anything in a folder is written; of the moment of the last `of`, where that is believed."""
        walk = self._walks.get(path)
        return walk.written if walk else stamp(path).written

    def listing(self, path: str) -> bytes:
        """The text whose digest is that of a folder: every file and folder inside, by name, with digests."""
        waiting, lines = [TOP], []
        while waiting:
            found, inside, _ = self._look_into(path, waiting.pop(), Stamp())
            lines += found
            waiting += reversed(inside)
        return "".join(lines).encode("utf-8", "surrogateescape")

    def stat_of(self, path: str) -> tuple[int, int, int, int]:
        """What `stat` said of a file whose content is known for sure, as a snapshot keeps it."""
        row = self._row(path)
        if row is None:
            return NEVER if os.path.lexists(path) else ABSENT
        return NEVER if _racy(row) else row[:4]

    def tree_of(self, path: str) -> bytes | None:
        """The mark of a folder that was looked at; empty where its content is not known for sure."""
        tree = self._trees.get(path)
        if tree is None:
            return None
        return b"" if is_racy(tree.newest, tree.newest, tree.seen) else tree.mark

    def moved(self, old: str, new: str) -> None:
        """A file or folder was renamed: what is known of it goes along, as far as `stat` still says the same."""
        self.look_again()
        tree = self._trees.pop(old, None)
        if tree is not None:
            self._new_trees.pop(old, None)
            self._trees[new] = self._new_trees[new] = tree
            inside = [path for path in self._new_folders if path == old or path.startswith(f"{old}/")]
            for path in inside:
                self._new_folders[new + path[len(old) :]] = self._new_folders.pop(path)
            return
        row = self._rows.pop(old, None)
        self._new.pop(old, None)
        status = os.stat(new)
        if row and (row.size, row.mtime, row.inode) == (status.st_size, status.st_mtime_ns, status.st_ino):
            self._remember(new, row._replace(ctime=status.st_ctime_ns))

    def adopt(self, other: Digests) -> None:
        """Take over all that one in another thread learnt: each belongs to its thread, as its connection does."""
        self.look_again()
        self._rows.update(other._rows)
        self._trees.update(other._trees)
        self._new.update(other._new)
        self._new_trees.update(other._new_trees)
        self._new_folders.update(other._new_folders)

    def save(self) -> None:
        """Write what was learnt into the state; call it inside a transaction."""
        tables = (("digests", 7, self._new), ("trees", 6, self._new_trees))
        for table, width, new in tables:
            marks = ", ".join("?" * width)
            rows = ((_as_key(path), *row) for path, row in new.items())
            self._connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
            new.clear()
        folders = ((_as_key(path), blob) for path, blob in self._new_folders.items())
        self._connection.executemany("INSERT OR REPLACE INTO folders VALUES (?, ?)", folders)
        self._new_folders.clear()

    @property
    def learnt(self) -> int:
        """How many digests `save` would write."""
        return len(self._new) + len(self._new_trees)

    # Files.

    def _row(self, path: str) -> _Row | None:
        row = self._rows.get(path)
        if row is None and not self._whole:
            self._load_files("AND path = ?", (_as_key(path),))
            row = self._rows.get(path)
        return row

    def _load_files(self, where: str, values: tuple[str | bytes, ...]) -> None:
        for row in self._connection.execute(f"{_FILES} {where}", values):
            self._rows[os.fsdecode(row[0])] = _Row(*row[1:])

    def _file(self, path: str, status: os.stat_result) -> Digest | None:
        row = self._row(path)
        if row is not None and _same(row, status) and not _racy(row):
            return Digest(row.digest, row.size)
        row, digest = _read(path, status)
        if row is not None:
            self._remember(path, row)
        return digest

    def _remember(self, path: str, row: _Row) -> None:
        self._rows[path] = self._new[path] = row

    # Folders.

    def _load_trees(self, where: str, values: tuple[str | bytes, ...]) -> None:
        for row in self._connection.execute(f"{_TREES} {where}", values):
            self._trees[os.fsdecode(row[0])] = _Tree(*row[1:])

    def _folder(self, path: str) -> Digest | None:
        try:
            os.scandir(path).close()
        except OSError:
            return None
        walk = self._walks.get(path)
        began = time.monotonic()
        if walk is not None and began < walk.until:
            return walk.digest
        self._walks.pop(path, None)
        digest, written = self._walk(path)
        took = time.monotonic() - began
        if took >= _LONG:  # a look that takes so long is of no one moment anyway
            self._walks[path] = _Walk(digest, written, began + 2 * took)
        return digest

    def _walk(self, path: str) -> tuple[Digest, int]:
        """The content of a folder, and `Stamp.written`."""
        if path not in self._trees and not self._whole:
            self._load_trees("AND path = ?", (_as_key(path),))
        known = self._trees.get(path)
        if known is not None and not is_racy(known.newest, known.newest, known.seen):
            now = stamp(path)
            if known.mark == now.mark:
                return Digest(known.digest, known.size), now.written
        tree, written = self._look_through(path)
        self._trees[path] = self._new_trees[path] = tree
        return Digest(tree.digest, tree.size), written

    def _look_through(self, top: str) -> tuple[_Tree, int]:
        """Hash a tree, folder by folder; only what one folder holds is in memory at a time."""
        total, whole, size = xxhash.xxh3_128(), Stamp(), 0
        seen = time.time_ns()
        waiting = [TOP]
        while waiting:
            place = waiting.pop()
            lines, inside, bytes_ = self._look_into(top, place, whole)
            total.update("".join(lines).encode("utf-8", "surrogateescape"))
            waiting += reversed(inside)
            size += bytes_
        return _Tree(whole.mark, whole.newest, seen, total.hexdigest(), size), whole.written

    def _look_into(self, top: str, place: Place, whole: Stamp) -> tuple[list[str], list[Place], int]:
        """A line per entry of one folder, the folders inside it, and the bytes of its files."""
        folder = os.path.join(top, place[0]).rstrip("/")
        known = self._known_folder(folder)
        rows: dict[str, tuple[int | str, ...]] = {}
        lines, inside, size = [], [], 0
        for name, status, inner in entries(top, place, in_order=True):
            whole.add(place[0] + name, status)
            if status is None:
                lines.append(f"{place[0]}{name}/\0")
                inside += [inner] if inner else []
                continue
            row, content = _remembered(known.get(name), status) or _read(f"{folder}/{name}", status)
            if row is not None:
                rows[name] = tuple(row)
            if content is not None:
                lines.append(f"{place[0]}{name}\0{'x' if status.st_mode & 0o100 else '-'}{content.digest}\0")
                size += content.size
        if rows != known:
            self._new_folders[folder] = marshal.dumps(rows)
        return lines, inside, size

    def _known_folder(self, folder: str) -> dict[str, tuple[int | str, ...]]:
        blob = self._new_folders.get(folder)
        if blob is None:
            found = self._connection.execute("SELECT rows FROM folders WHERE path = ?", (_as_key(folder),)).fetchone()
            blob = found[0] if found else None
        try:
            rows = marshal.loads(blob) if isinstance(blob, bytes) else {}
        except (ValueError, EOFError, TypeError):
            return {}
        return rows if isinstance(rows, dict) else {}


def _remembered(known: tuple[int | str, ...] | None, status: os.stat_result) -> tuple[_Row | None, Digest] | None:
    if known is None:
        return None
    row = _Row(*known)  # type: ignore[arg-type]
    return (row, Digest(row.digest, row.size)) if _same(row, status) and not _racy(row) else None


def _read(path: str, status: os.stat_result) -> tuple[_Row | None, Digest | None]:
    """Hash a file; no row where it changed meanwhile, no digest where it cannot be read."""
    seen = time.time_ns()
    try:
        digest, size = _hash(path)
    except OSError:
        return None, None
    row = _Row(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, seen, digest)
    return (row if size == status.st_size else None), Digest(digest, size)


def _same(row: _Row, status: os.stat_result) -> bool:
    return (
        row.mtime == status.st_mtime_ns
        and row.size == status.st_size
        and row.ctime == status.st_ctime_ns
        and row.inode == status.st_ino
    )


def _racy(row: _Row) -> bool:
    return is_racy(row.mtime, row.ctime, row.seen)


def _as_key(path: str) -> str | bytes:
    """A path as sqlite takes it: a text, or bytes where the name is no Unicode."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path
