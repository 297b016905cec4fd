"""Contents by digest on a host: what was sent once is not sent again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Tuple

from . import files
from .digest import of_file

_STAMP = 1_000_000_000
"""The time of last change that every object has, in seconds: one that somebody wrote through a link has another."""
_MODE, _PROGRAM = 0o444, 0o555
_BLOCK = 1 << 20

Content = Tuple[str, int]
"""A digest (xxh3_128 in hex) and a size in bytes."""


class Damaged(OSError):
    """What came is not what was announced."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.EBADMSG, what)


class Store:
    """Objects under `objects/`, what is on its way under `incoming/`."""

    def __init__(self, root: str, make: Callable[[], Any] | None) -> None:
        self._objects = os.path.join(root, "objects")
        self._incoming = os.path.join(root, "incoming")
        self._make = make
        self._parts: dict[str, _Part] = {}

    def path(self, digest: str, executable: bool = False) -> str:
        return os.path.join(self._objects, digest[:2], digest[2:] + (".x" if executable else ""))

    def has(self, digest: str, size: int) -> bool:
        """Whether a content is here, whole and untouched; it counts as used now."""
        path = self.path(digest)
        if _is_untouched(path, size, _MODE):
            return True
        with contextlib.suppress(FileNotFoundError):
            was = os.stat(path)
            if (was.st_size, was.st_mtime, was.st_mode & 0o777) != (size, _STAMP, _MODE):
                self._drop(digest)  # not what has come just now, while we looked
        return False

    def missing(self, wanted: Iterable[Content]) -> list[str]:
        """Which of these contents are not here."""
        return [digest for digest, size in dict(wanted).items() if not self.has(digest, size)]

    def take(self, digest: str, block: bytes, check: str) -> None:
        """Keep a small content. Raises Damaged, OSError."""
        hash_ = self._hasher()
        hash_.update(block)
        if hash_.hexdigest() != (digest if self._make else check):
            raise Damaged(f"{digest} arrived damaged")
        new = self._way(digest)
        try:
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(handle, "wb", buffering=0) as file:
                while block:
                    block = block[file.write(block) :]
            self._adopt(new, digest)
        except OSError:
            files.remove(new)
            raise

    def begin(self, digest: str, size: int) -> int:
        """Make ready for a large content; how much of it has come already. Raises OSError.

        Two that send the same have a part each; the second begins with what the first has. The last byte comes again
        in any case, and with it the check.
        """
        _make_folder(self._incoming)
        path = os.path.join(self._incoming, f"{digest}.part")
        held = files.lock(path, is_patient=False)
        if held is None or not _is_still(held, path):
            if held is not None:
                held.close()
            own = f"{path}-{os.getpid()}"
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path, own)
            path, held = own, open(own, "ab")  # noqa: SIM115 - it is open until the content is whole
        if os.path.getsize(path) >= size:
            os.truncate(path, size - 1)
        part = self._parts[digest] = _Part(path, held, self._hasher())
        return part.read()

    def append(self, digest: str, size: int, offset: int, block: bytes, check: str) -> None:
        """Keep the next block of a large content; the last one makes it whole. Raises Damaged, OSError."""
        part = self._parts[digest]
        try:
            part.append(offset, block)
        except OSError:
            self.abandon(digest)
            raise
        if part.size < size:
            return
        del self._parts[digest]
        try:
            if part.hash.hexdigest() != (digest if self._make else check):
                raise Damaged(f"{digest} arrived damaged")
            self._adopt(part.path, digest)
        finally:
            files.remove(part.path)
            part.file.close()

    def abandon(self, digest: str) -> None:
        """Drop what has come of a content."""
        part = self._parts.pop(digest)
        files.remove(part.path)
        part.file.close()

    def place(self, digest: str, executable: bool, target: str, is_cloned: bool) -> None:
        """Put a content at a path: an own copy of shared blocks, else a second name. Raises OSError."""
        source = self.path(digest)
        if is_cloned and files.clone(source, target):
            os.chmod(target, 0o755 if executable else 0o644)
            return
        files.share(self._executable(digest) if executable else source, target)

    def adopt_output(self, path: str, digest: str) -> None:
        """Keep what a job wrote, for the jobs after it. Raises OSError."""
        status = os.stat(path)
        if self.has(digest, status.st_size):
            return
        new = self._way(digest)
        try:
            if status.st_mode & 0o111:  # who shares a file shares its mode, and this is a program
                shutil.copyfile(path, new)
            else:
                files.share(path, new)
            self._adopt(new, digest)
        finally:
            files.remove(new)

    def copy_output(self, path: str, digest: str) -> None:
        """Keep what a job has linked to from elsewhere, or to other names. Raises Damaged, OSError."""
        new = self._way(digest)
        try:
            shutil.copyfile(path, new)
            if self._make and of_file(new, self._make) != digest:
                raise Damaged(f"{path} changed while it was kept")
            self._adopt(new, digest)
        finally:
            files.remove(new)

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
            files.remove(path)
            dropped += size
        return dropped, total - dropped

    def tidy(self, age: float) -> None:
        """Drop what was on its way so many seconds ago and did not come."""
        for name in os.listdir(self._incoming) if os.path.isdir(self._incoming) else ():
            path = os.path.join(self._incoming, name)
            with contextlib.suppress(OSError):
                if time.time() - os.stat(path).st_mtime >= age and not files.is_locked(path):
                    os.unlink(path)

    def size(self) -> tuple[int, int]:
        """How many objects there are, and their bytes."""
        sizes = [status.st_size for _, status in self._all()]
        return len(sizes), sum(sizes)

    def _all(self) -> Iterator[tuple[str, os.stat_result]]:
        for folder, _, names in os.walk(self._objects):
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    yield path, os.stat(path)

    def _hasher(self) -> Any:
        return self._make() if self._make else hashlib.blake2b(digest_size=16)

    def _way(self, name: str) -> str:
        """A path for something new that is of this process alone."""
        _make_folder(self._incoming)
        return os.path.join(self._incoming, f"{name}.{os.getpid()}")

    def _executable(self, digest: str) -> str:
        """The same content as a program: who shares a file shares its mode."""
        plain, path = self.path(digest), self.path(digest, executable=True)
        if not _is_untouched(path, os.path.getsize(plain), _PROGRAM):
            new = self._way(f"{digest}.x")
            try:
                shutil.copyfile(plain, new)
                self._adopt(new, digest, executable=True)
            finally:
                files.remove(new)
        return path

    def _adopt(self, new: str, digest: str, executable: bool = False) -> None:
        target = self.path(digest, executable)
        _make_folder(os.path.dirname(target))
        os.chmod(new, _PROGRAM if executable else _MODE)
        os.utime(new, (time.time(), _STAMP))
        os.replace(new, target)

    def _drop(self, digest: str) -> None:
        for executable in (False, True):
            files.remove(self.path(digest, executable))


class _Part:
    """What has come of a large content."""

    def __init__(self, path: str, file: IO[bytes], hash_: Any) -> None:
        self.path = path
        self.file = file
        self.hash = hash_
        self.size = 0

    def read(self) -> int:
        """Take in what is there from before."""
        with open(self.path, "rb", buffering=0) as old:
            while True:
                block = old.read(_BLOCK)
                if not block:
                    return self.size
                self.hash.update(block)
                self.size += len(block)

    def append(self, offset: int, block: bytes) -> None:
        if offset != self.size:
            raise Damaged(f"a part came for {offset} and not for {self.size}")
        self.file.write(block)
        self.file.flush()
        self.hash.update(block)
        self.size += len(block)


def _make_folder(folder: str) -> None:
    if not os.path.isdir(folder):  # a single question, where makedirs asks many
        os.makedirs(folder, exist_ok=True)


def _is_untouched(path: str, size: int, mode: int) -> bool:
    """Whether an object is as it was made, as far as its file tells; it counts as used now."""
    try:
        status = os.stat(path)
        if status.st_size != size or status.st_mtime != _STAMP or status.st_mode & 0o777 != mode:
            return False
        os.utime(path, (time.time(), _STAMP))
    except OSError:
        return False
    return True


def _is_still(held: IO[bytes], path: str) -> bool:
    """Whether the file that was locked is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(held.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
