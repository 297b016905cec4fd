"""The files of the project that an environment is made from: lists of requirements, and packages that lie here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import xxhash

from mlmake.environments.context import Context
from mlmake.environments.requirements import Named, named_by, named_in
from mlmake.model.project import Environment
from mlmake.model.reason import Cause, Reason
from mlmake.state.digests import Digests
from mlmake.state.snapshot import matches

_ABOUT = ("pyproject.toml", "setup.py", "setup.cfg")
"""Files of a package that say how it is installed, and what it needs."""
_CODE = "**/*.py"
_EVERYTHING = "**"
_BUILT = ("build", "dist")


@dataclass(slots=True)
class Found:
    """What an environment is made from, as it is now.

    Attributes:
        contents: name of a fact (`requirements ml.txt`, `package libs/x.whl`) -> digest.
        sources: absolute path -> digest of the same files.
        shown: those of them that hold no password.
        missing: files that pipelines.toml names and that are not there.
        files: absolute paths of all that decided, also of those that would if they were there.
        globs: (folder, pattern) -> what it matched.
        folders: absolute paths of packages that are folders.
        links: absolute paths of folders that hold packages to choose from.
        editable: paths of packages that run from where they stand, relative to the project.
    """

    contents: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    missing: list[Reason] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    globs: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    editable: list[str] = field(default_factory=list)


class Ingredients:
    """Looks at the files that environments are made from; one instance lives for one command."""

    def __init__(self, root: str, digests: Digests) -> None:
        self._root = root
        self._digests = digests
        self._named: dict[str, tuple[str, Named]] = {}

    def of(self, environment: Environment) -> Found:
        """Every file behind an environment."""
        found = Found()
        for kind in ("requirements", "conda", "dockerfile"):
            if path := getattr(environment, kind):
                self._add_list(kind, os.path.normpath(path), found)
        self._add_packages(named_by(environment.packages), found)
        return found

    def _add_list(self, kind: str, path: str, found: Found) -> None:
        """A list and, unless it is a Dockerfile, what it names; one that names itself is read once."""
        digest = self._add(f"{kind} {path}", path, found)
        if digest is None:
            found.missing.append(Reason(cause=Cause.SOURCE_MISSING, subject=f"{kind} {path}"))
            return
        if kind == "dockerfile":
            self._add_context(os.path.join(self._root, path), found)
        waiting = [path] if kind != "dockerfile" else []
        while waiting:
            above = waiting.pop()
            named = self._names_in(above)
            if named.is_secret:
                found.shown.pop(os.path.join(self._root, above), None)
            self._add_packages(named, found, os.path.dirname(above))
            for name in named.lists:
                inner = os.path.normpath(os.path.join(os.path.dirname(above), name))
                is_new = os.path.join(self._root, inner) not in found.files
                if "://" not in name and is_new and self._add(f"requirements {inner}", inner, found):
                    waiting.append(inner)

    def _add_context(self, dockerfile: str, found: Found) -> None:
        """All that building an image may read, as one content."""
        context = Context.look(dockerfile)
        below = os.path.relpath(context.folder, self._root)
        found.contents[f"context {below}"] = context.digest(self._digest_of)
        found.files += [os.path.join(context.folder, entry.path) for entry in context.entries if entry.is_file]
        found.globs[context.folder, _EVERYTHING] = matches(context.folder, _EVERYTHING)

    def _digest_of(self, path: str) -> str:
        digest = self._digests.of(path)
        return digest.digest if digest else ""

    def _add_packages(self, named: Named, found: Found, above: str = "") -> None:
        """Files count by their content. Of folders their Python files do; of editable ones only how they are installed,
        as their code runs where it stands. `above` is the folder of the list that names them."""
        for path in map(os.path.normpath, named.packages + named.editable):
            if os.path.isdir(os.path.join(self._root, path)):
                for name in _ABOUT:
                    self._add(f"package {os.path.join(path, name)}", os.path.join(path, name), found)
            else:
                self._add(f"package {path}", path, found)
        for folder in map(os.path.normpath, named.packages):
            for path in self._code_in(folder, found):
                self._add(f"package {path}", path, found)
        found.folders += self._folders(named.packages)
        found.links += self._folders([*named.links, *(os.path.join(above, path) for path in named.links)])
        found.editable += named.editable

    def _folders(self, paths: Iterable[str]) -> Iterator[str]:
        return filter(os.path.isdir, (os.path.join(self._root, os.path.normpath(path)) for path in paths))

    def _code_in(self, folder: str, found: Found) -> Iterator[str]:
        base = os.path.join(self._root, folder)
        if not os.path.isdir(base):
            return
        found.globs[base, _CODE] = names = matches(base, _CODE)
        for name in names:
            # What installing a package writes beside its code would change it by being made.
            if not any(part in _BUILT or part.endswith(".egg-info") for part in name.split("/")[:-1]):
                yield os.path.normpath(os.path.join(folder, name))

    def _add(self, fact: str, path: str, found: Found) -> str | None:
        """Take in one file; its digest, None where there is none."""
        place = os.path.join(self._root, path)
        found.files.append(place)
        digest = self._digests.of(place) if os.path.isfile(place) else None
        if digest is None:
            return None
        found.contents[fact] = found.sources[place] = found.shown[place] = digest.digest
        return digest.digest

    def _names_in(self, path: str) -> Named:
        place = os.path.join(self._root, path)
        digest = self._digests.of(place)
        known = self._named.get(place)
        if known is not None and digest is not None and known[0] == digest.digest:
            return known[1]
        try:
            with open(place, "rb") as file:
                text = file.read()
        except OSError:
            return Named()
        named = named_in(text.decode("utf-8", "replace"))
        self._named[place] = xxhash.xxh3_128_hexdigest(text), named
        return named
