"""What `stat` says of files and folders, in the shape in which it is remembered and compared.

Nothing heavy is imported here: a build with nothing to do needs no more of mlmake than this and `snapshot`.
"""

from __future__ import annotations

import os
import stat as modes

import xxhash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1_000_000_000
CLOCK_STEP = 20_000_000
"""Nanoseconds within which two writes may carry the same time: twice the kernel's slowest tick."""
COARSE_STEP = 2 * SECOND
"""The same where times have whole seconds only (FAT, some network file systems)."""

_LIMIT = 1 << 128
Place = tuple[str, frozenset[tuple[int, int]]]
"""A folder to look into, relative to the top and ending in `/` (the top itself is empty), and those above it."""
TOP: Place = ("", frozenset())


def is_racy(mtime: int, ctime: int, seen: int) -> bool:
    """Could a file with these times, looked at when it was `seen`, have been written again without a trace?

    The racy rule of git's index (Documentation/technical/racy-git.txt): only a file that was older than the clock
    step of its file system, when it was read, would carry another time if it had been written after that.
    """
    step = COARSE_STEP if mtime % SECOND == 0 and ctime % SECOND == 0 else CLOCK_STEP
    return max(mtime, ctime) + step >= seen


def entries(top: str, place: Place, *, in_order: bool) -> Iterator[tuple[str, os.stat_result | None, Place | None]]:
    """What is in one folder of a tree: files with their status, and folders with the place to look into next.

    Links are followed, except into a folder that the place lies in. What cannot be read is left out.
    """
    prefix, above = place
    try:
        with os.scandir(os.path.join(top, prefix)) as found:
            for entry in sorted(found, key=_name) if in_order else found:
                try:
                    status = entry.stat()
                except OSError:
                    continue
                if modes.S_ISREG(status.st_mode):
                    yield entry.name, status, None
                elif modes.S_ISDIR(status.st_mode) and (here := (status.st_dev, status.st_ino)) not in above:
                    yield entry.name, None, (f"{prefix}{entry.name}/", above | {here})
    except OSError:
        return


def stamp(top: str) -> Stamp:
    """What `stat` says of a whole tree now."""
    whole = Stamp()
    waiting = [TOP]
    while waiting:
        place = waiting.pop()
        for name, status, inner in entries(top, place, in_order=False):
            whole.add(place[0] + name, status)
            if inner is not None:
                waiting.append(inner)
    return whole


class Stamp:
    """What `stat` says of a tree, as one number: a sum of a hash per entry, which needs no order and holds no entry.

    Attributes:
        newest: the newest time in the tree, in nanoseconds since the epoch.
        written: changes when a file is written, made or removed, but not when it only gets another name; holds within
            this process.
    """

    __slots__ = ("_total", "newest", "written")

    def __init__(self) -> None:
        self._total = 0
        self.newest = 0
        self.written = 0

    def add(self, name: str, status: os.stat_result | None) -> None:
        """Take in a file, or a folder, which has no status."""
        told = f"{name}/"
        if status is not None:
            mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
            told = f"{name}\0{status.st_size} {mtime} {ctime} {status.st_ino} {status.st_mode}"
            self.newest = max(self.newest, mtime, ctime)
            self.written += hash((name, status.st_size, mtime, status.st_ino))
        self._total += xxhash.xxh3_128_intdigest(told.encode("utf-8", "surrogateescape"))

    @property
    def mark(self) -> bytes:
        """Sixteen bytes, equal for equal trees."""
        return (self._total % _LIMIT).to_bytes(16, "little")


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
