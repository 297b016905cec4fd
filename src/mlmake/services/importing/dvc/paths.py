"""Paths of a dvc.yaml as paths of a project."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from mlmake.errors import UsageError
from mlmake.services.importing.draft import Draft
from mlmake.services.importing.dvc.templates import Context

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
    """

    draft: Draft
    root: str
    folder: str

    def inside(self, wdir: str) -> str:
        """A stage's working folder as seen from the root."""
        return os.path.relpath(os.path.join(self.folder, wdir), self.root)

    def place(self, text: str, wdir: str, context: Context) -> Place:
        """Where a path of a stage lies; a folder outside of the project becomes a datastore.

        A folder has no slash here, as in DVC: with one, mlmake would make it before the command does.

        Raises UsageError.
        """
        resolved = context.resolved(text)
        if not isinstance(resolved, str):
            raise UsageError(f"{text!r} is no path")
        if _URL.match(resolved):
            return Place(text=context.path(text), resolved=resolved)
        absolute = os.path.normpath(os.path.join(self.folder, wdir, resolved))
        inside = os.path.relpath(absolute, self.root)
        if inside == ".." or inside.startswith("../"):
            return Place(text=self._outside(absolute, resolved), resolved=absolute)
        template = os.path.relpath(os.path.join(self.folder, wdir, context.path(text)), self.root)
        return Place(text=template, resolved=absolute)

    def _outside(self, absolute: str, said: str) -> str:
        above, name = os.path.split(absolute)
        url = above if os.path.isabs(said) else os.path.relpath(above, self.root)
        store = self.draft.datastore(os.path.basename(above) or "root", url)
        return f"{store}://{name}"
