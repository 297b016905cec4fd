"""A large file in ranges: several at once, written in order, so that what is there is always a beginning of it."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TypeAlias

from mlmake.stores.base import Entry, Progress

SUFFIX = ".mlmake-part"
"""How the names of unfinished files end, here and in stores."""
_WIDTH = 4
Read: TypeAlias = Callable[[int, int], bytes]


class Short(Exception):
    """A range held fewer bytes than the file's size promised: it is another file by now."""


def unfinished() -> str:
    """A new name for a file that is not whole yet."""
    return f".{uuid.uuid4().hex}{SUFFIX}"


@contextmanager
def begun(target: str, entry: Entry) -> Iterator[str]:
    """The path of what is there of one version of `target`, for this caller alone, and made if nothing is.

    What was begun of other versions is removed. Where another process is at the same, the path is a new one.
    """
    folder = os.path.dirname(target) or "."
    mine = f".{_short(os.path.basename(target))}-"
    path = os.path.join(folder, f"{mine}{_short(f'{entry.key} {entry.version}')}{SUFFIX}")
    for name in os.listdir(folder):
        if name.startswith(mine) and name != os.path.basename(path):
            _remove_unused(os.path.join(folder, name))
    handle = _locked(path)
    is_alone = handle is not None
    if handle is None:
        path = os.path.join(folder, unfinished())
        handle = _opened(path)
    try:
        yield path
    finally:
        if os.fstat(handle).st_size == 0 or not is_alone:
            with suppress(FileNotFoundError):
                os.unlink(path)  # nobody would go on with it
        os.close(handle)


def collect(path: str, size: int, part: int, read: Read, progress: Progress) -> None:
    """Read what `path` lacks of `size` bytes, in ranges of `part`. Raises Short, and what `read` raises."""
    there = os.path.getsize(path)
    if there > size:
        os.truncate(path, 0)
        there = 0
    progress(there)
    with open(path, "ab", buffering=0) as file:
        for block in _blocks(there, size, part, read):
            file.write(block)
            progress(len(block))


def _blocks(start: int, size: int, part: int, read: Read) -> Iterator[bytes]:
    """The ranges in order; a few are under way while one is written."""
    with ThreadPoolExecutor(_WIDTH, thread_name_prefix="mlmake-part") as pool:
        waiting: deque[tuple[int, Future[bytes]]] = deque()
        try:
            for offset in range(start, size, part):
                end = min(offset + part, size)
                waiting.append((end - offset, pool.submit(read, offset, end)))
                if len(waiting) > _WIDTH:
                    yield _whole(*waiting.popleft())
            while waiting:
                yield _whole(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _whole(length: int, future: Future[bytes]) -> bytes:
    block = future.result()
    if len(block) != length:
        raise Short
    return block


def _locked(path: str) -> int | None:
    """The file, opened and locked; None while another process has it."""
    for _ in range(3):
        handle = _opened(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == os.stat(path).st_ino:
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass  # busy, or finished and renamed since it was opened
        os.close(handle)
    return None


def _remove_unused(path: str) -> None:
    with suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except BlockingIOError:
            pass  # somebody else still brings that version
        finally:
            os.close(handle)


def _opened(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _short(text: str) -> str:
    return sha256(os.fsencode(text)).hexdigest()[:16]
