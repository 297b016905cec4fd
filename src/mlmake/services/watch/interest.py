"""Which folders to listen to, and what a change of a name in one of them may mean.

The kernel tells of entries of folders, so all comes down to real folders (without links in their paths) and names in
them. Every folder on the way to a file counts too: it may be renamed, made, or become a link to somewhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from glob import glob
from typing import Any, NamedTuple, TypeAlias

Row: TypeAlias = tuple[str, int]
"""A row of a snapshot: its table and its number."""
_BY_NAMES = ("listings", "globs")
"""Tables whose rows change only when a name comes or goes."""
_LINKS = 40
"""Links in a row that are followed, as in the kernel."""
_SWAP = re.compile(
    r"\.#.*|#.*#|.*~|\..*\.sw[a-px]|4913|\..*\.kate-swp|.*___jb_(tmp|old|bak)___|\.goutputstream-.*|\.~lock\..*#"
)
"""Names of files that editors keep for themselves, for a while."""


class Heard(NamedTuple):
    """Something happened to a name in a folder; `is_named` where the name came or went, `is_gone` where it went."""

    folder: str
    name: str
    is_named: bool = False
    is_gone: bool = False


class Interest:
    """What has to be heard to know when a row of a snapshot changes.

    Attributes:
        folders: real folder -> whether to hear of contents too, and not of names only.
    """

    def __init__(self, head: Mapping[str, Any], root: str) -> None:
        self._head = head
        self._root = f"{os.path.realpath(root)}/"
        self.folders: dict[str, bool] = {}
        self._names: dict[str, dict[str, list[Row]]] = {}
        self._whole: dict[str, dict[Row, None]] = {}
        self._ways: dict[str, set[str]] = {}
        self._real: dict[str, str | None] = {}
        self._taken = dict.fromkeys(("files", *_TAKEN_BY), 0)

    def take_new(self) -> list[Row]:
        """Take in the rows that came since the last time; these."""
        rows = [(table, n) for table, start in self._taken.items() for n in range(start, len(self._head[table]))]
        self.take(rows)
        self._taken = {table: len(self._head[table]) for table in self._taken}
        return rows

    def take(self, rows: Iterable[Row]) -> None:
        """Find out what has to be heard for some rows, as their folders are now."""
        for table, number in rows:
            value = self._head[table][number]
            if table == "files":
                self._take_file(value, ("files", number))
            elif value[0]:  # else it stands for nothing any more
                _TAKEN_BY[table](self, value, (table, number))

    def rows(self, heard: Heard) -> list[Row]:
        """The rows that what was heard may have changed."""
        found = list(self._names.get(heard.folder, {}).get(heard.name, ()))
        if heard.is_gone or not _SWAP.fullmatch(heard.name):
            whole = self._whole.get(heard.folder, ())
            found += [row for row in whole if heard.is_named or row[0] not in _BY_NAMES]
        return found

    def is_way(self, heard: Heard) -> bool:
        """Whether paths lead elsewhere now, so that everything has to be found anew."""
        return heard.is_named and heard.name in self._ways.get(heard.folder, ())

    def rows_in(self, folder: str) -> list[Row]:
        """All rows that depend on a folder."""
        return [*(row for rows in self._names.get(folder, {}).values() for row in rows), *self._whole.get(folder, ())]

    # Taking in.

    def _take_file(self, path: str, row: Row, links: int = _LINKS) -> None:
        folder, name = os.path.split(path)
        if not name:
            return
        real = self._enter(folder, links)
        if real is None:
            return
        self.folders[real] = True
        rows = self._names.setdefault(real, {}).setdefault(name, [])
        if row not in rows:
            rows.append(row)
        if links and (target := _link(os.path.join(real, name))):
            self._take_file(os.path.join(real, target), row, links - 1)

    def _take_listing(self, value: tuple[str, list[str]], row: Row) -> None:
        self._hear(self._enter(value[0]), row)

    def _take_glob(self, value: tuple[str, str, list[str]], row: Row) -> None:
        base, pattern, _ = value
        *above, _ = pattern.split("/")
        level = [base]
        for part in above:
            for folder in level:
                self._hear(self._enter(folder), row)
            if part == "**":
                level = [folder for top in level for folder, _ in self._walk(top, _is_plain)]
                break
            level = [os.path.join(top, name.rstrip("/")) for top in level for name in glob(f"{part}/", root_dir=top)]
        for folder in level:
            self._hear(self._enter(folder), row)

    def _take_tree(self, value: tuple[str, bytes], row: Row) -> None:
        self._take_file(value[0], row)
        for folder, links in self._walk(value[0]):
            self._hear(folder, row)
            for link in links:
                self._take_file(link, row)

    def _walk(self, top: str, is_wanted: Callable[[str], bool] = bool) -> Iterator[tuple[str, list[str]]]:
        """Every real folder of a tree, links followed but never in circles, with the links to files in it."""
        waiting, seen = [self._enter(top)], set[str]()
        while waiting:
            real = waiting.pop()
            if real is None or real in seen:
                continue
            seen.add(real)
            links = []
            for entry in _entries(real):
                if _is_folder(entry):
                    if is_wanted(entry.name):
                        waiting.append(self._enter(entry.path) if entry.is_symlink() else entry.path)
                elif entry.is_symlink():
                    links.append(entry.path)
            yield real, links

    def _hear(self, real: str | None, row: Row) -> None:
        if real is not None:
            self.folders[real] = True
            self._whole.setdefault(real, {})[row] = None

    def _enter(self, path: str, links: int = _LINKS) -> str | None:
        """The real folder of a path; None where there is none. All that leads there is taken down."""
        if path in self._real:
            return self._real[path]
        parent, name = os.path.split(path.rstrip("/") or "/")
        real = self._step(self._enter(parent, links), name, links) if name else "/"
        self._real[path] = real
        return real

    def _step(self, parent: str | None, name: str, links: int) -> str | None:
        if parent is None or name == ".":
            return parent
        if name == "..":
            return os.path.dirname(parent)
        path = os.path.join(parent, name)
        if not self._root.startswith(f"{path}/"):  # a project that is moved is another one
            self._ways.setdefault(parent, set()).add(name)
            self.folders.setdefault(parent, False)
        if target := _link(path):
            return self._enter(os.path.join(parent, target), links - 1) if links else None
        return path if os.path.isdir(path) else None


_TAKEN_BY: dict[str, Callable[[Interest, Any, Row], None]] = {
    "listings": Interest._take_listing,
    "globs": Interest._take_glob,
    "trees": Interest._take_tree,
}


def _link(path: str) -> str:
    """Where a link points; "" for anything else."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _is_plain(name: str) -> bool:
    return not name.startswith(".")
