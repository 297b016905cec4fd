"""Contents by their digest under `.mlmake/cache/`: a file each for contents, and one for the listing of each folder.

A folder's listing is the very text whose digest is the folder's (`Digests.listing`), so that both are checked alike.
An object appears whole, by a rename, and is read-only. Nobody believes it for its name: what is brought out is hashed
again by whoever asked for it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat as modes
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import xxhash

from mlmake.model.caching import Link
from mlmake.state.hashing import hash_file

FILES, FOLDERS = "files", "folders"
EMPTY = xxhash.xxh3_128_hexdigest(b"")
"""The digest of an empty file, and of an empty folder too."""
_DAMAGED, _INCOMING = "damaged", "incoming"
_REST = 30
"""Letters of a digest after the two that are its folder's name."""
_READ_ONLY = 0o444
_FICLONE = 0x40049409
"""Linux's ioctl that lets two files share their blocks (include/uapi/linux/fs.h)."""
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP)
"""On another disk, too many names already, or a file system without such links."""
_SMALL = 1 << 16
"""Bytes of a file that is copied in one go."""
_WORTH_CLONING = 1 << 16
"""Bytes from which on a reflink is tried: less is copied as quickly."""


@dataclass(frozen=True, slots=True)
class Member:
    """One line of a folder's listing: a file with its digest, or a folder, which has none."""

    path: str
    digest: str = ""
    executable: bool = False


class Objects:
    """The contents in one folder. Every method may be called from any thread."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, digest: str, kind: str = FILES) -> str:
        """Where an object is, or would be."""
        return os.path.join(self.folder, kind, digest[:2], digest[2:])

    def kind_of(self, digest: str) -> str:
        """`files` or `folders`; "" where nothing of that digest is kept."""
        return next((kind for kind in (FILES, FOLDERS) if os.path.exists(self.path(digest, kind))), "")

    def has(self, digest: str) -> bool:
        """Whether a content is kept: of a folder, all that is in it."""
        kind = self.kind_of(digest)
        if kind != FOLDERS:
            return bool(kind)
        members = self.members(digest)
        return members is not None and all(self.kind_of(each.digest) == FILES for each in members if each.digest)

    def members(self, digest: str) -> list[Member] | None:
        """What is in a folder; None if its listing is not there or cannot be read."""
        try:
            with open(self.path(digest, FOLDERS), "rb") as file:
                return list(parsed(file.read()))
        except (OSError, ValueError):
            return None

    # In.

    def keep(self, path: str, digest: str, link: Link) -> None:
        """Keep the content of a file. With a link, the file in its place becomes the object. Raises OSError."""
        target = self.path(digest)
        if os.path.exists(target):
            return
        status = os.lstat(path)
        is_ours_alone = not modes.S_ISLNK(status.st_mode) and status.st_nlink == 1
        with self._appearing(target) as new:
            if link is not Link.COPY and is_ours_alone and _linked(path, new):
                os.chmod(new, _READ_ONLY | _executable(status))
                return
            if os.path.getsize(path) <= _SMALL:
                copied = _copy_small(path, new)
            else:
                clone(path, new)
                copied = hash_file(new)[0]
            if copied != digest:
                raise OSError(errno.EIO, "it changed while it was copied into the cache", path)
            os.chmod(new, _READ_ONLY | _executable(os.stat(path)))

    def keep_text(self, text: bytes, digest: str, kind: str = FOLDERS) -> None:
        """Keep a content that is at hand. Raises OSError."""
        target = self.path(digest, kind)
        if os.path.exists(target):
            return
        with self._appearing(target) as new:
            with open(new, "wb") as file:
                file.write(text)
            os.chmod(new, _READ_ONLY)

    def adopt(self, path: str, digest: str, kind: str, executable: bool = False) -> None:
        """Take over a file of ours (same file system), whose content was checked. Raises OSError."""
        target = self.path(digest, kind)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.chmod(path, _READ_ONLY | (0o111 if executable else 0))
        os.replace(path, target)

    # Out.

    def bring(self, digest: str, target: str, link: Link, *, is_folder: bool = False) -> None:
        """Put a kept content at `target`, where nothing or an empty folder is. Raises OSError. Nothing is checked."""
        if is_folder and digest == EMPTY:
            os.makedirs(target, exist_ok=True)
            return
        if self.kind_of(digest) != FOLDERS:
            self.bring_file(digest, target, link)
            return
        members = self.members(digest)
        if members is None:
            raise OSError(errno.EIO, "the listing of a folder cannot be read", self.path(digest, FOLDERS))
        os.makedirs(target, exist_ok=True)
        for each in members:
            place = os.path.join(target, each.path)
            if each.digest:
                self.bring_file(each.digest, place, link, each.executable)
            else:
                os.makedirs(place, exist_ok=True)

    def bring_file(self, digest: str, target: str, link: Link, executable: bool | None = None) -> None:
        """Put a kept file at `target`, executable or not; None leaves it as it was kept. Raises OSError.

        It is copied where a link cannot be: to another disk, or as the object cannot be executable and not so too.
        """
        source = self.path(digest)
        was_executable = bool(_executable(os.stat(source)))
        executable = was_executable if executable is None else executable
        if link is Link.SYMLINK and executable is was_executable:
            os.symlink(source, target)
            return
        if link is Link.HARDLINK and executable is was_executable and _linked(source, target):
            return
        clone(source, target)
        if executable:
            mode = os.stat(target).st_mode
            os.chmod(target, mode | (mode & 0o444) >> 2)  # whoever may read it may run it

    # What is wrong, and what goes.

    def is_sound(self, digest: str, kind: str) -> bool:
        """Whether an object still holds what its name says."""
        try:
            return hash_file(self.path(digest, kind))[0] == digest
        except OSError:
            return False

    def set_aside(self, digest: str, kind: str) -> str:
        """Take a damaged object out of use; where it lies now."""
        place = os.path.join(self.folder, _DAMAGED, digest)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with suppress(FileNotFoundError):
            os.replace(self.path(digest, kind), place)
        return place

    def unsound(self, digest: str) -> list[tuple[str, str]]:
        """What of a content is damaged or gone, as (digest, kind): itself, or what is in it."""
        kind = self.kind_of(digest) or FILES
        if not self.is_sound(digest, kind):
            return [(digest, kind)]
        inside = self.members(digest) or [] if kind == FOLDERS else []
        files = dict.fromkeys(each.digest for each in inside if each.digest)
        return [(each, FILES) for each in files if not self.is_sound(each, FILES)]

    def all(self) -> Iterator[tuple[str, str, int]]:
        """Every object: its digest, kind and bytes."""
        for kind in (FILES, FOLDERS):
            for part in _inside(os.path.join(self.folder, kind)):
                for entry in _inside(part.path):
                    if len(entry.name) == _REST:
                        yield part.name + entry.name, kind, entry.stat().st_size

    def remove(self, digest: str, kind: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path(digest, kind))

    def damaged(self) -> list[str]:
        """Where damaged objects lie that were set aside."""
        return [entry.path for entry in _inside(os.path.join(self.folder, _DAMAGED))]

    def leftovers(self) -> list[str]:
        """Files that were begun and never finished; nobody may be writing."""
        parts = [part.path for kind in (FILES, FOLDERS) for part in _inside(os.path.join(self.folder, kind))]
        begun = [entry.path for part in parts for entry in _inside(part) if len(entry.name) != _REST]
        came = [entry.path for part in _inside(os.path.join(self.folder, _INCOMING)) for entry in _inside(part.path)]
        return [*begun, *came]

    @contextmanager
    def _appearing(self, target: str) -> Iterator[str]:
        """A name for an object that is being made; if all goes well it is renamed, else it goes."""
        os.makedirs(os.path.dirname(target), exist_ok=True)
        new = f"{target}.{os.getpid()}-{os.urandom(4).hex()}"
        try:
            yield new
            os.replace(new, target)
        finally:
            with suppress(FileNotFoundError):  # a rename between two names of one file leaves both
                os.unlink(new)


def parsed(listing: bytes) -> Iterator[Member]:
    """The members in a folder's listing. Raises ValueError."""
    parts = listing.decode("utf-8", "surrogateescape").split("\0")
    if parts.pop() != "":
        raise ValueError("the listing is cut short")
    waiting = iter(parts)
    for path in waiting:
        if os.path.isabs(path) or ".." in path.split("/"):
            raise ValueError(f"a line of a listing that leads out of its folder: {path!r}")
        if path.endswith("/"):
            yield Member(path)
            continue
        told = next(waiting, "")
        if len(told) != 33:
            raise ValueError(f"no line of a listing: {path!r}")
        yield Member(path, told[1:], told[0] == "x")


def listed(members: Iterable[Member]) -> bytes:
    """The listing of a folder with these in it, whatever order they come in; what `parsed` reads."""
    folders: dict[str, list[Member]] = {}
    for member in members:
        folders.setdefault(os.path.dirname(member.path.rstrip("/")), []).append(member)
    waiting, lines = [""], []
    while waiting:
        inside = sorted(folders.get(waiting.pop(), ()), key=lambda each: os.path.basename(each.path.rstrip("/")))
        for each in inside:
            lines.append(f"{each.path}\0")
            if each.digest:
                lines.append(f"{'x' if each.executable else '-'}{each.digest}\0")
        waiting += reversed([each.path.rstrip("/") for each in inside if not each.digest])
    return "".join(lines).encode("utf-8", "surrogateescape")


def _copy_small(source: str, target: str) -> str:
    """Copy a file in one go, as thousands of small ones are worth it; the digest of what was copied."""
    with open(source, "rb", buffering=0) as old, open(target, "xb", buffering=0) as new:
        content = old.readall()
        if new.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
    return xxhash.xxh3_128_hexdigest(content)


def link_or_copy(source: str, target: str) -> None:
    """Give a file a second name, or copy it with its mode where it can have none. Raises OSError."""
    try:
        os.link(source, target)
    except OSError:
        clone(source, target)
        shutil.copymode(source, target)


def clone(source: str, target: str) -> None:
    """Copy a file's content into a new file, sharing its blocks where the file system can. Raises OSError."""
    if sys.platform == "linux" and os.path.getsize(source) >= _WORTH_CLONING:
        with open(source, "rb") as old, open(target, "xb") as new, suppress(OSError):
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
            return
    shutil.copyfile(source, target)


def _linked(source: str, target: str) -> bool:
    """Give a file a second name; False where it cannot have one. Raises OSError if its disk is full and the like."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True


def _executable(status: os.stat_result) -> int:
    return 0o111 if status.st_mode & 0o100 else 0


def _inside(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
