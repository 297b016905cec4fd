"""The mark of an environment: written last into its folder, it says that this is whole, and what is in it.

What stands there without a mark is a leftover. A mark also holds traces of what it says, so that a package which
somebody has put in by hand since does not go unseen; then the environment is asked again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from glob import escape, glob
from typing import Self

import xxhash

from mlmake.environments.base import Recipe, Resolved, Run, Tools
from mlmake.state.snapshot import listing

_FORMAT = 1
_SITES = "lib/py*/site-packages"

DigestOf = Callable[[str], str]
"""The digest of a file's content; "" where there is none."""
NamesIn = Callable[[str], list[str]]
"""The names in a folder, as far as they can decide what an import finds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What a mark says.

    Attributes:
        wish: the facts that decided how it was made.
        resolved: what was installed.
        files: path below the folder -> digest of files that change with what is installed.
        names: folder below it -> digest of the names in it.
    """

    wish: Mapping[str, str]
    resolved: Resolved
    files: Mapping[str, str]
    names: Mapping[str, str]

    @classmethod
    def taken(cls, recipe: Recipe, folder: str, tools: Tools, run: Run, digest_of: DigestOf) -> Self:
        """Ask an environment what is in it. Traces come first, so that what changes meanwhile shows later.

        Raises ValueError with what the environment said instead.
        """
        sites = [os.path.relpath(site, folder) for site in sorted(glob(os.path.join(escape(folder), _SITES)))]
        files = {name: digest_of(os.path.join(folder, name)) for name in recipe.traces}
        names = {site: _digest(listing(os.path.join(folder, site))) for site in sites}
        ran = run(recipe.probe(folder, tools))
        if ran.code != 0:
            raise ValueError(ran.output.strip() or f"exit code {ran.code}")
        return cls(wish=recipe.wish, resolved=Resolved.read(ran.output), files=files, names=names)

    def is_true(self, folder: str, digest_of: DigestOf, names_in: NamesIn = listing) -> bool:
        """Whether the traces are as they were."""
        files = all(digest_of(os.path.join(folder, name)) == digest for name, digest in self.files.items())
        return files and all(_digest(names_in(os.path.join(folder, name))) == was for name, was in self.names.items())


def path_of(folder: str) -> str:
    """The file of the mark of an environment."""
    return os.path.join(folder, ".mlmake.json")


def read(folder: str) -> Mark | None:
    """The mark of an environment; None where there is none that can be read."""
    try:
        with open(path_of(folder), encoding="utf-8") as file:
            told = json.load(file)
        if told["format"] != _FORMAT:
            return None
        packages = tuple((str(name), str(version)) for name, version in told["packages"])
        resolved = Resolved(str(told["interpreter"]), packages)
        return Mark(wish=dict(told["wish"]), resolved=resolved, files=dict(told["files"]), names=dict(told["names"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(folder: str, mark: Mark) -> None:
    """Mark an environment as whole. Raises OSError."""
    told = {
        "format": _FORMAT,
        "wish": dict(mark.wish),
        "interpreter": mark.resolved.interpreter,
        "packages": mark.resolved.packages,
        "files": dict(mark.files),
        "names": dict(mark.names),
    }
    new = f"{path_of(folder)}.{os.getpid()}"
    with open(new, "w", encoding="utf-8") as file:
        json.dump(told, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path_of(folder))


def renewed(recipe: Recipe, folder: str, tools: Tools, run: Run, digest_of: DigestOf) -> Mark | None:
    """The mark of an environment that somebody has changed by hand; None if it cannot be used any more."""
    try:
        mark = Mark.taken(recipe, folder, tools, run, digest_of)
    except (OSError, ValueError):
        return None
    with suppress(OSError):
        write(folder, mark)
    return mark


def remove(folder: str) -> None:
    """Remove an environment: its mark first, so that what is left of it is not believed. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(path_of(folder))
    if os.path.lexists(folder):
        shutil.rmtree(folder)


def _digest(names: list[str]) -> str:
    return xxhash.xxh3_128_hexdigest("\0".join(names).encode("utf-8", "surrogateescape"))
