"""xxh3_128 of a file, at the speed of reading it."""

from __future__ import annotations

import errno
import os
import threading
from queue import SimpleQueue

import xxhash

_BLOCK = 1 << 20
_LARGE = 64 << 20
"""From here on one thread reads while another hashes; below, starting the thread costs more than it saves."""
_BUFFERS = 4


def hash_file(path: str) -> tuple[str, int]:
    """The digest in hex of a file's content, and its bytes. Raises OSError.

    Not by mmap, which would be faster still: a file that shrinks while it is mapped kills the process.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        if size < _BLOCK:
            return _small(handle)
        return _large(handle) if size >= _LARGE else _medium(handle)
    finally:
        os.close(handle)


def _small(handle: int) -> tuple[str, int]:
    content = os.read(handle, _BLOCK)
    while more := os.read(handle, _BLOCK):
        content += more
    return xxhash.xxh3_128_hexdigest(content), len(content)


def _medium(handle: int) -> tuple[str, int]:
    hasher = xxhash.xxh3_128()
    size = 0
    while block := os.read(handle, _BLOCK):
        hasher.update(block)
        size += len(block)
    return hasher.hexdigest(), size


def _large(handle: int) -> tuple[str, int]:
    hasher = xxhash.xxh3_128()
    size = 0
    empty: SimpleQueue[memoryview] = SimpleQueue()
    full: SimpleQueue[tuple[memoryview, int]] = SimpleQueue()
    for _ in range(_BUFFERS):
        empty.put(memoryview(bytearray(_BLOCK)))
    reader = threading.Thread(target=_read, args=(handle, empty, full), name="mlmake-read", daemon=True)
    reader.start()
    try:
        while True:
            buffer, count = full.get()
            if count <= 0:
                break
            hasher.update(buffer[:count])
            size += count
            empty.put(buffer)
    finally:
        reader.join()
    if count < 0:
        raise OSError(-count, os.strerror(-count))
    return hasher.hexdigest(), size


def _read(handle: int, empty: SimpleQueue[memoryview], full: SimpleQueue[tuple[memoryview, int]]) -> None:
    """Fill buffers until the file ends, which a count of 0 tells, or cannot be read: then it is the error, negative."""
    count = 1
    while count > 0:
        buffer = empty.get()
        try:
            count = os.readv(handle, [buffer])
        except OSError as error:
            count = -(error.errno or errno.EIO)
        full.put((buffer, count))
