"""The last look at a project, flat: which files decided, what `stat` said of them, which steps read which.

A build or `status` that finds all of it unchanged knows that every step is as it was then, without reading
pipelines.toml, the records or the memo; and where a few files changed, which steps these can reach. A snapshot is
written only from judgements by content, and holds only files that were not racy when their content was read (else
their `stat` is kept as never equal), so it says nothing that the long way would not say.

No dataclasses here and no other part of mlmake but `stamps`: loading those takes longer than looking at 5,000 steps.
"""

from __future__ import annotations

import marshal
import os
import sys
import time
from struct import Struct

import xxhash

from mlmake import __version__
from mlmake.state.stamps import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone takes 7 ms to import
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

_FORMAT = 3
_KEPT = 8
"""Snapshots of other selections that are kept beside the newest."""
_STAT = Struct("<qqqQ")
_REST = ".rest"
ABSENT = (-1, -1, -1, 0)
"""The stat of a file that was not there, and would count if it were."""
NEVER = (0, 0, 0, 0)
"""Size, mtime, ctime (both in nanoseconds) and inode of a file whose content must be read again."""


def identity() -> tuple[str, str, str]:
    """What a snapshot must agree on beside the project: mlmake, interpreter, its version."""
    return __version__, sys.executable, sys.version


def folder_of(root: str) -> str:
    """Where a project's snapshots are."""
    return os.path.join(root, ".mlmake", "looks")


def path_of(root: str, targets: Sequence[str], folder: str) -> str:
    """The file of the snapshot for a selection; `folder` is where the user stands, which outputs may be relative to."""
    key = repr((root, tuple(targets), folder if targets else ""))
    return os.path.join(folder_of(root), xxhash.xxh3_64_hexdigest(key.encode("utf-8", "surrogateescape")))


class Look:
    """A snapshot that was read.

    Attributes:
        head: the flat tables, by name: `files` with `stats`, `listings`, `globs`, `trees`, `unsettled`, `groups`.
    """

    __slots__ = ("head", "path")

    def __init__(self, path: str, head: dict[str, Any]) -> None:
        self.path = path
        self.head = head

    def changed(self) -> dict[str, list[int]]:
        """What is not as it was: table -> numbers of its rows; {} if all is."""
        found = {table: [n for n, row in enumerate(self.head[table]) if test(row)] for table, test in _TESTS.items()}
        return {table: numbers for table, numbers in {"files": self._changed_files(), **found}.items() if numbers}

    def changed_of(self, rows: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
        """The same, looking at some rows only."""
        found = {table: [n for n in rows.get(table, ()) if test(self.head[table][n])] for table, test in _TESTS.items()}
        files = [n for n in rows.get("files", ()) if now(self.head["files"][n]) != self.stat(n)]
        return {table: numbers for table, numbers in {"files": files, **found}.items() if numbers}

    def stat(self, number: int) -> tuple[int, ...]:
        """What `stat` said of a file."""
        return _STAT.unpack_from(self.head["stats"], number * _STAT.size)

    def _changed_files(self) -> list[int]:
        stat = os.stat
        changed = []
        watched = zip(self.head["files"], _STAT.iter_unpack(self.head["stats"]), strict=True)
        for number, (path, known) in enumerate(watched):
            try:
                now = stat(path)
            except (OSError, ValueError):
                if known != ABSENT:
                    changed.append(number)
                continue
            if (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino) != known:
                changed.append(number)
        return changed

    def rest(self) -> dict[str, Any] | None:
        """The part that is needed only when something has changed: steps, who reads what, who comes after whom."""
        return _load(f"{self.path}{_REST}", self.head["written"])


_TESTS: dict[str, Callable[[Any], bool]] = {
    "listings": lambda row: listing(row[0]) != row[1],
    "globs": lambda row: matches(row[0], row[1]) != row[2],
    "trees": lambda row: stamp(row[0]).mark != row[1],
}
"""For every table but that of the files, which are many: whether a row is not as it was."""


def sight(table: str, row: Any) -> object:
    """What there is now of a row, in some form that can be compared."""
    if table == "files":
        return now(row)
    if table == "trees":
        return stamp(row[0]).mark
    return listing(row[0]) if table == "listings" else matches(row[0], row[1])


def now(path: str) -> tuple[int, int, int, int]:
    """What `stat` says of a file, as a snapshot keeps it."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ABSENT
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def read(path: str, database: str) -> Look | None:
    """The snapshot in a file; None if there is none that can be used, whatever the reason.

    It belongs to one state file: another one in its place knows other records.
    """
    try:
        head = _load(path, None)
        if head is None or head["identity"] != identity() or head["database"] != os.stat(database).st_ino:
            return None
    except OSError:
        return None
    same = all(_variable(name) == known for name, known in head["variables"])
    return Look(path, head) if same else None


def write(path: str, database: str, head: dict[str, Any], rest: dict[str, Any]) -> int:
    """Write a snapshot; what tells it from any other. The oldest of other selections goes.

    It is no failure if the disk is full or no state there; then it gives 0.
    """
    folder = os.path.dirname(path)
    stamped = {"format": _FORMAT, "written": time.time_ns()}
    try:
        told = {**stamped, "identity": identity(), "database": os.stat(database).st_ino, **head}
        os.makedirs(folder, exist_ok=True)
        _dump(f"{path}{_REST}", {**stamped, **rest})
        _dump(path, told, stamped["written"])
        _drop_oldest(folder)
    except (OSError, ValueError):
        forget(folder)
        return 0
    return int(stamped["written"])


def is_written(path: str, written: int) -> bool:
    """Is the snapshot in a file still the one that was read? Its time says so, where times are fine enough."""
    try:
        if os.stat(path).st_mtime_ns == written:
            return True
    except OSError:
        return False
    head = _load(path, None)
    return head is not None and head["written"] == written


def forget(folder: str) -> None:
    """Drop every snapshot in a folder, before anything changes that `stat` might not show."""
    try:
        paths = [entry.path for entry in os.scandir(folder)]
    except OSError:
        return
    for path in paths:
        _remove(path)


def variables(names: Iterable[str]) -> list[tuple[str, str]]:
    """Environment variables that steps name, each with a digest of its value."""
    return [(name, _variable(name)) for name in names]


def listing(folder: str) -> list[str]:
    """The names in a folder that can decide which file an import finds."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in found if _matters(entry)]
    except OSError:
        return []
    names.sort()
    return names


def matches(base: str, pattern: str) -> list[str]:
    """What a glob finds."""
    from glob import glob

    return sorted(glob(pattern, root_dir=base, recursive=True))


def flat_stats(stats: Iterable[tuple[int, int, int, int]]) -> bytes:
    """Stats as `Look` compares them."""
    return b"".join(_STAT.pack(*each) for each in stats)


def without(flat: bytes, number: int) -> bytes:
    """`flat_stats` with one file as not there."""
    start = number * _STAT.size
    return b"".join((flat[:start], _STAT.pack(*ABSENT), flat[start + _STAT.size :]))


def unpacked_stats(flat: bytes) -> list[tuple[int, int, int, int]]:
    """The stats behind `flat_stats`."""
    return list(_STAT.iter_unpack(flat))


def _matters(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    if name.startswith(".") or name == "__pycache__":
        return False
    return name.endswith((".py", ".pyc", ".so", ".pyd")) or entry.is_dir()


def _variable(name: str) -> str:
    value = os.environ.get(name)
    return "" if value is None else xxhash.xxh3_128_hexdigest(value.encode("utf-8", "surrogateescape"))


def _load(path: str, written: int | None) -> dict[str, Any] | None:
    """A part of a snapshot, if it is of our format and was written together with the other one."""
    try:
        with open(path, "rb") as file:
            part: dict[str, Any] = marshal.loads(file.read())
        return part if part["format"] == _FORMAT and written in (None, part["written"]) else None
    except (OSError, ValueError, EOFError, TypeError, KeyError):
        return None


def _dump(path: str, part: dict[str, Any], written: int = 0) -> None:
    new = f"{path}.{os.getpid()}"
    with open(new, "wb") as file:
        file.write(marshal.dumps(part))
    if written:
        os.utime(new, ns=(written, written))
    os.replace(new, path)


def _drop_oldest(folder: str) -> None:
    paths = sorted((entry.path for entry in os.scandir(folder)), key=lambda path: os.stat(path).st_mtime_ns)
    for path in paths[: -2 * _KEPT]:
        _remove(path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
