"""Contents by digest on a host: what was sent once is not sent again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Tuple

from . import digest as digests
from . import files

_STAMP = 1_000_000_000
"""The time of last change that every object has, in seconds: one that somebody wrote through a link has another."""
_BLOCK = 1 << 20

Content = Tuple[str, int]
"""A digest (xxh3_128 in hex) and a size in bytes."""


class Damaged(Exception):
    """What came is not what was announced."""


class Store:
    """Objects under `objects/`, what is on its way under `incoming/`."""

    def __init__(self, root: str, make: Callable[[], Any] | None) -> None:
        self._objects = os.path.join(root, "objects")
        self._incoming = os.path.join(root, "incoming")
        self._make = make

    def path(self, digest: str, executable: bool = False) -> str:
        return os.path.join(self._objects, digest[:2], digest[2:] + (".x" if executable else ""))

    def has(self, digest: str, size: int) -> bool:
        """Whether a content is here, whole and untouched; it counts as used now."""
        path = self.path(digest)
        try:
            status = os.stat(path)
        except OSError:
            return False
        if status.st_size != size or status.st_mtime != _STAMP:
            self._drop(digest)
            return False
        os.utime(path, (time.time(), _STAMP))
        return True

    def part(self, digest: str) -> int:
        """How much of a content has come."""
        try:
            return os.path.getsize(self._part(digest))
        except OSError:
            return 0

    def take(self, digest: str, block: bytes, check: str) -> None:
        """Keep a small content. Raises Damaged, OSError."""
        self._check(digest, block, check)
        os.makedirs(self._incoming, exist_ok=True)
        new = os.path.join(self._incoming, f"{digest}.{os.getpid()}")
        with open(new, "wb") as file:
            file.write(block)
        self._adopt(new, digest)

    def append(self, digest: str, size: int, offset: int, block: bytes, check: str) -> None:
        """Keep the next block of a large content; the last one makes it whole. Raises Damaged, OSError."""
        os.makedirs(self._incoming, exist_ok=True)
        path = self._part(digest)
        with open(path, "ab") as file:
            if file.tell() != offset:
                raise Damaged(f"a part of {digest} is at {file.tell()} and not at {offset}")
            file.write(block)
        if offset + len(block) == size:
            if not self._is_sound(path, digest, check):
                os.unlink(path)
                raise Damaged(f"{digest} arrived damaged")
            self._adopt(path, digest)

    def place(self, digest: str, executable: bool, target: str, is_cloned: bool) -> None:
        """Put a content at a path: an own copy of shared blocks, else a second name. Raises OSError."""
        source = self.path(digest)
        if is_cloned and files.clone(source, target):
            os.chmod(target, 0o755 if executable else 0o644)
            return
        files.share(self._executable(digest) if executable else source, target)

    def adopt_output(self, path: str, digest: str) -> None:
        """Keep what a job wrote, for the jobs after it. Raises OSError."""
        if not self.has(digest, os.path.getsize(path)):
            os.makedirs(self._incoming, exist_ok=True)
            new = os.path.join(self._incoming, f"{digest}.{os.getpid()}")
            files.remove(new)
            files.share(path, new)
            self._adopt(new, digest)

    def can_clone(self, folder: str) -> bool:
        """Whether the file system shares blocks between files, as seen on one object."""
        probe = os.path.join(folder, ".clone")
        for path, _ in self._all():
            try:
                return files.clone(path, probe)
            except OSError:
                return False
            finally:
                files.remove(probe)
        return False

    def trim(self, limit: int) -> tuple[int, int]:
        """Drop what was used least recently until at most so many bytes are here; (dropped, kept) in bytes."""
        found = sorted((status.st_atime, status.st_size, path) for path, status in self._all())
        total = sum(size for _, size, _ in found)
        dropped = 0
        for _, size, path in found:
            if total - dropped <= limit:
                break
            os.unlink(path)
            dropped += size
        return dropped, total - dropped

    def size(self) -> tuple[int, int]:
        """How many objects there are, and their bytes."""
        sizes = [status.st_size for _, status in self._all()]
        return len(sizes), sum(sizes)

    def _all(self) -> Iterator[tuple[str, os.stat_result]]:
        for folder, _, names in os.walk(self._objects):
            for name in names:
                path = os.path.join(folder, name)
                yield path, os.stat(path)

    def _part(self, digest: str) -> str:
        return os.path.join(self._incoming, digest + ".part")

    def _executable(self, digest: str) -> str:
        """The same content as a program: who shares a file shares its mode."""
        path = self.path(digest, executable=True)
        if not os.path.exists(path):
            new = f"{path}.{os.getpid()}"
            _copy(self.path(digest), new)
            os.chmod(new, 0o555)
            os.utime(new, (time.time(), _STAMP))
            os.replace(new, path)
        return path

    def _check(self, digest: str, block: bytes, check: str) -> None:
        if self._make is not None:
            hash_ = self._make()
            hash_.update(block)
            is_sound = hash_.hexdigest() == digest
        else:
            is_sound = hashlib.blake2b(block, digest_size=16).hexdigest() == check
        if not is_sound:
            raise Damaged(f"{digest} arrived damaged")

    def _is_sound(self, path: str, digest: str, check: str) -> bool:
        if self._make is not None:
            return digests.of_file(path, self._make) == digest
        return digests.of_file(path, lambda: hashlib.blake2b(digest_size=16)) == check

    def _adopt(self, new: str, digest: str) -> None:
        target = self.path(digest)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.chmod(new, 0o444)
        os.utime(new, (time.time(), _STAMP))
        os.replace(new, target)

    def _drop(self, digest: str) -> None:
        for executable in (False, True):
            files.remove(self.path(digest, executable))


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as old, open(target, "wb") as new:
        while True:
            block = old.read(_BLOCK)
            if not block:
                return
            new.write(block)


def missing(store: Store, wanted: list[Content]) -> dict[str, int]:
    """What of these contents is not here: digest -> how much of it has come already."""
    return {digest: store.part(digest) for digest, size in dict(wanted).items() if not store.has(digest, size)}
