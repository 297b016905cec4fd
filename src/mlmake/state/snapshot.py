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
from struct import Struct

import xxhash

from mlmake import __version__
from mlmake.state.stamps import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone takes 7 ms to import
    from collections.abc import Iterable, Sequence
    from typing import Any

_FORMAT = 1
_KEPT = 8
"""Snapshots of other selections that are kept beside the newest."""
_STAT = Struct("<qqqQ")
NEVER = (0, 0, 0, 0)
"""Size, mtime, ctime (both in nanoseconds) and inode of a file whose content must be read again."""

def identity() -> tuple[str, str, str]:
    """What a snapshot must agree on beside the project: mlmake, interpreter, its version."""
    return __version__, sys.executable, sys.version


def path_of(folder: str, targets: Sequence[str], overrides: Sequence[str]) -> str:
    """The file of the snapshot for a selection, under the project's state folder."""
    key = xxhash.xxh3_64_hexdigest(repr((tuple(targets), tuple(overrides))).encode("utf-8", "surrogateescape"))
    return os.path.join(folder, "looks", key)


class Look:
    """A snapshot that was read.

    Attributes:
        head: the flat tables, by name.
    """

    __slots__ = ("head", "path")

    def __init__(self, path: str, head: dict[str, Any]) -> None:
        self.path = path
        self.head = head

    @property
    def steps(self) -> int:
        """How many steps were judged."""
        return int(self.head["steps"])

    @property
    def unsettled(self) -> list[int]:
        """Numbers of steps that were not fresh."""
        return list(self.head["unsettled"])

    def changed(self) -> list[int]:
        """Numbers of watched things that are not as they were: files first, then listings, globs and trees."""
        return [*self._changed_files(), *self._changed_others()]

    def _changed_files(self) -> list[int]:
        stat = os.stat
        changed = []
        for number, (path, known) in enumerate(zip(self.head["files"], _STAT.iter_unpack(self.head["stats"]))):
            try:
                now = stat(path)
            except (OSError, ValueError):
                changed.append(number)
                continue
            if (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino) != known:
                changed.append(number)
        return changed

    def _changed_others(self) -> list[int]:
        first = len(self.head["files"])
        found = [(listing(path) == names) for path, names in self.head["listings"]]
        found += [(matches(base, pattern) == names) for base, pattern, names in self.head["globs"]]
        found += [(stamp(path)[0] == known) for path, known in self.head["trees"]]
        return [first + number for number, same in enumerate(found) if not same]


def read(path: str) -> Look | None:
    """The snapshot in a file; None if there is none that can be used, whatever the reason."""
    try:
        with open(path, "rb") as file:
            head = marshal.load(file)  # noqa: S302
        if head["format"] != _FORMAT or head["identity"] != identity():
            return None
    except (OSError, ValueError, EOFError, TypeError, KeyError):
        return None
    same = all(_variable(name) == known for name, known in head["variables"])
    return Look(path, head) if same else None


def write(path: str, head: dict[str, Any]) -> None:
    """Write a snapshot in one rename; the oldest of other selections goes. A disk that is full is no failure."""
    folder = os.path.dirname(path)
    new = f"{path}.{os.getpid()}"
    try:
        os.makedirs(folder, exist_ok=True)
        with open(new, "wb") as file:
            marshal.dump({"format": _FORMAT, "identity": identity(), **head}, file)
        os.replace(new, path)
        _drop_oldest(folder)
    except (OSError, ValueError):
        _remove(new)


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


def _matters(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    if name.startswith(".") or name == "__pycache__":
        return False
    return name.endswith((".py", ".pyc", ".so", ".pyd")) or entry.is_dir()


def _variable(name: str) -> str:
    value = os.environ.get(name)
    return "" if value is None else xxhash.xxh3_128_hexdigest(value.encode("utf-8", "surrogateescape"))


def _drop_oldest(folder: str) -> None:
    paths = sorted((entry.path for entry in os.scandir(folder)), key=lambda path: os.stat(path).st_mtime_ns)
    for path in paths[:-_KEPT]:
        _remove(path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
