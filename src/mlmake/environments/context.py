"""What the build of an image may read: the folder of its Dockerfile, less what `.dockerignore` leaves out.

Beside that `.git` and `.mlmake` at its top are left out, always: they change with every commit and every build.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

_IGNORE = ".dockerignore"
_NEVER = (".git", ".mlmake")


class Sort(Enum):
    """What stands at a path."""

    FILE = "file"
    PROGRAM = "program"
    FOLDER = "folder"
    LINK = "link"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One thing in a context, its path relative to the context."""

    path: str
    sort: Sort

    @property
    def is_file(self) -> bool:
        """It has a content."""
        return self.sort in (Sort.FILE, Sort.PROGRAM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """All that a build may read, in the order of the paths.

    Attributes:
        folder: absolute path of the Dockerfile's folder.
        dockerfile: its name in there.
    """

    folder: str
    dockerfile: str
    entries: tuple[Entry, ...]

    @classmethod
    def look(cls, dockerfile: str) -> Context:
        """The context of the Dockerfile at an absolute path. Raises OSError."""
        folder, name = os.path.split(dockerfile)
        os.stat(dockerfile)
        ignored = _ignored(folder, name)
        entries = sorted(_walk(folder, "", ignored), key=lambda entry: entry.path)
        return cls(folder=folder, dockerfile=name, entries=tuple(entries))

    def digest(self, hash_file: Callable[[str], str]) -> str:
        """One digest of all names, contents, links and executable bits; `hash_file` gives that of a file's content."""
        whole = sha256()
        for part in (self.dockerfile, *(part for entry in self.entries for part in self._parts(entry, hash_file))):
            whole.update(os.fsencode(part) + b"\0")
        return whole.hexdigest()

    def _parts(self, entry: Entry, hash_file: Callable[[str], str]) -> tuple[str, str, str]:
        path = os.path.join(self.folder, entry.path)
        match entry.sort:
            case Sort.FOLDER:
                content = ""
            case Sort.LINK:
                content = os.readlink(path)
            case _:
                content = hash_file(path)
        return entry.sort.value, entry.path, content


def _walk(folder: str, below: str, ignored: Ignored) -> Iterator[Entry]:
    """What lies in a folder of a context that is not ignored, and in the folders in there."""
    with os.scandir(os.path.join(folder, below)) as found:
        for each in found:
            path = posixpath.join(below, each.name)
            sort = _sort(each)
            if sort is None or path in _NEVER:
                continue
            is_ignored = ignored(path)
            if not is_ignored:
                yield Entry(path, sort)
            if sort is Sort.FOLDER and (not is_ignored or ignored.has_exceptions):
                yield from _walk(folder, path, ignored)


def _sort(entry: os.DirEntry[str]) -> Sort | None:
    """None for a socket or device: no build can read it."""
    if entry.is_symlink():
        return Sort.LINK
    if entry.is_dir():
        return Sort.FOLDER
    mode = entry.stat().st_mode
    if not stat.S_ISREG(mode):
        return None
    return Sort.PROGRAM if mode & 0o100 else Sort.FILE


def _ignored(folder: str, dockerfile: str) -> Ignored:
    """By the file beside the Dockerfile that is its own, else by the one for all. Both and the Dockerfile stay."""
    for name in (f"{dockerfile}{_IGNORE}", _IGNORE):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
                return Ignored(file.read(), frozenset((dockerfile, name)))
    return Ignored("", frozenset())


class Ignored:
    """Tells of a path whether it is left out, by Docker's rules: the last pattern that fits it or a parent decides."""

    def __init__(self, text: str, kept: frozenset[str] = frozenset()) -> None:
        lines = [line.strip() for line in text.splitlines() if not line.startswith("#")]
        self._patterns = [_pattern(line) for line in lines if line]
        self._kept = kept
        self.has_exceptions = any(is_exception for is_exception, _ in self._patterns)

    def __call__(self, path: str) -> bool:
        if path in self._kept:
            return False
        parts = path.split("/")
        paths = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        is_ignored = False
        for is_exception, pattern in self._patterns:
            if is_exception == is_ignored and any(pattern.fullmatch(each) for each in paths):
                is_ignored = not is_exception
        return is_ignored


def _pattern(line: str) -> tuple[bool, re.Pattern[str]]:
    """Whether a line brings something back, and what it fits."""
    is_exception = line.startswith("!")
    path = posixpath.normpath(line.removeprefix("!").strip()).lstrip("/")
    try:
        return is_exception, re.compile("".join(_translated(path)), re.DOTALL)
    except re.error:  # a range that runs backwards; Docker will refuse it in its own words
        return is_exception, re.compile(re.escape(path))


_PIECE = re.compile(
    r"(?P<deep>\*\*/?)|(?P<wild>\*)|(?P<one>\?)|\[(?P<not>\^?)(?P<set>(?:\\.|[^]\\])+)\]|\\(?P<quoted>.)|(?P<char>.)",
    re.DOTALL,
)


def _translated(pattern: str) -> Iterator[str]:
    """A pattern of Go's `filepath.Match`, and `**` for any number of folders, as a regular expression."""
    for piece in _PIECE.finditer(pattern):
        match piece.lastgroup:
            case "deep":
                yield ".*" if piece.end() == len(pattern) else "(?:.*/)?"
            case "wild":
                yield "[^/]*"
            case "one":
                yield "[^/]"
            case "set":
                yield f"[{piece['not']}{_members(piece['set'])}]"
            case _:
                yield re.escape(piece["quoted"] or piece["char"])


def _members(text: str) -> str:
    """What stands between brackets, where less has a meaning than in Python."""
    return re.sub(r"\\(.)|([\[&~|^])", lambda found: re.escape(found[1] or found[2]), text)
