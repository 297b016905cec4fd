"""Paths of a dvc.yaml as paths of a project."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mlmake.errors import UsageError
from mlmake.model.data import Value
from mlmake.services.importing.draft import Draft
from mlmake.services.importing.dvc.templates import Context
from mlmake.services.importing.reading import read

_URL = re.compile(r"[A-Za-z][\w+.-]*://")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A path as pipelines.toml says it, and as it is with all values filled in."""

    text: str
    resolved: str

    @property
    def is_url(self) -> bool:
        """Whether it lies in a store of another machine."""
        return _URL.match(self.text) is not None and not self.resolved.startswith("/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """Finds what a dvc.yaml names.

    Attributes:
        root: the folder that the pipelines.toml is for.
        folder: that of the dvc.yaml, absolute.
        folders: paths, as stages say them, that DVC recorded as folders.
    """

    draft: Draft
    root: str
    folder: str
    folders: frozenset[str] = field(default_factory=frozenset)

    def inside(self, wdir: str) -> str:
        """A stage's working folder as seen from the root."""
        return os.path.relpath(os.path.join(self.folder, wdir), self.root)

    def place(self, text: str, wdir: str, context: Context) -> Place:
        """Where a path of a stage lies; a folder outside of the project becomes a datastore."""
        resolved = context.resolved(text)
        if not isinstance(resolved, str):
            raise UsageError(f"{text!r} is no path")
        if _URL.match(resolved):
            return Place(text=context.path(text), resolved=resolved)
        absolute = os.path.normpath(os.path.join(self.folder, wdir, resolved))
        slash = "/" if resolved.endswith("/") or resolved in self.folders or os.path.isdir(absolute) else ""
        inside = os.path.relpath(absolute, self.root)
        if inside == ".." or inside.startswith("../"):
            return Place(text=self._outside(absolute, resolved) + slash, resolved=absolute)
        template = os.path.relpath(os.path.join(self.folder, wdir, context.path(text)), self.root)
        return Place(text=template + slash, resolved=absolute)

    def _outside(self, absolute: str, said: str) -> str:
        above, name = os.path.split(absolute)
        url = above if os.path.isabs(said) else os.path.relpath(above, self.root)
        store = self.draft.datastore(os.path.basename(above) or "root", url)
        return f"{store}://{name}"


def recorded_folders(folder: str) -> frozenset[str]:
    """What the dvc.lock beside a dvc.yaml knows as folders."""
    path = os.path.join(folder, "dvc.lock")
    lock = read(path) if os.path.exists(path) else {}
    stages = lock.get("stages", {}) if isinstance(lock, Mapping) else {}
    return frozenset(
        entry["path"]
        for stage in stages.values()
        for entry in _entries(stage)
        if str(entry.get("md5", "")).endswith(".dir")
    )


def _entries(stage: Mapping[str, Value]) -> Iterator[Mapping[str, Value]]:
    for key in ("deps", "outs"):
        yield from (each for each in stage.get(key) or () if isinstance(each, Mapping) and "path" in each)
