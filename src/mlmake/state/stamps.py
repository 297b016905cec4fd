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


def is_racy(mtime: int, ctime: int, seen: int) -> bool:
    """Could a file with these times, looked at when it was `seen`, have been written again without a trace?

    The racy rule of git's index (Documentation/technical/racy-git.txt): only a file that was older than the clock
    step of its file system, when it was read, would carry another time if it had been written after that.
    """
    step = COARSE_STEP if mtime % SECOND == 0 and ctime % SECOND == 0 else CLOCK_STEP
    return max(mtime, ctime) + step >= seen


def walk(folder: str, *, in_order: bool) -> Iterator[tuple[str, os.stat_result | None]]:
    """Every file below a folder by its relative path, with its status, and every folder by `path/`, with None.

    Links are followed, except into a folder that is being walked already. What cannot be read is left out.
    """
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        prefix, above = waiting.pop()
        inner = []
        for name, status in _entries(os.path.join(folder, prefix), in_order):
            if modes.S_ISREG(status.st_mode):
                yield f"{prefix}{name}", status
            elif modes.S_ISDIR(status.st_mode) and (here := (status.st_dev, status.st_ino)) not in above:
                yield f"{prefix}{name}/", None
                inner.append((f"{prefix}{name}/", above | {here}))
        waiting += reversed(inner)


def _entries(folder: str, in_order: bool) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder) as found:
            for entry in sorted(found, key=_name) if in_order else found:
                try:
                    yield entry.name, entry.stat()
                except OSError:
                    continue
    except OSError:
        return


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def stamp(folder: str) -> tuple[bytes, int]:
    """What `stat` says of a whole tree, as 16 bytes, and the newest time in it (nanoseconds since the epoch).

    A sum of one hash per entry, so that the entries need neither be sorted nor held.
    """
    total = newest = 0
    for name, status in walk(folder, in_order=False):
        if status is None:
            told = name
        else:
            mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
            told = f"{name}\0{status.st_size} {mtime} {ctime} {status.st_ino} {status.st_mode}"
            newest = max(newest, mtime, ctime)
        total += xxhash.xxh3_128_intdigest(told.encode("utf-8", "surrogateescape"))
    return (total % _LIMIT).to_bytes(16, "little"), newest
