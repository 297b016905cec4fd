"""Environments that nothing needs any more. Whoever removes them holds the project's lock: none is being made then."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress

from mlmake.home import Home
from mlmake.model.project import Project
from mlmake.state import marks
from mlmake.state.digests import Digests
from mlmake.state.records import Records
from mlmake.state.softwares import IMAGE, Softwares

_ABOUT = ("python", "packages", "requirements ", "package ", "conda ")
"""How the facts begin that decide how an environment is made."""
_BESIDE = (".log", ".lock")
"""What stands beside an environment's folder."""


def clear(project: Project, connection: sqlite3.Connection, *, dry_run: bool = False) -> dict[str, int]:
    """Remove what is not needed, or with `dry_run` only tell: folder -> bytes that are freed.

    An environment is needed if pipelines.toml asks for it, or if a step last ran in one like it. One without a mark is
    what a build left that died.
    """
    home = Home(project.root)
    wanted = Softwares(project, Digests(connection, whole=False)).folders()
    used = _used(project, connection)
    gone = {}
    for folder in _folders(home.environments):
        if not ((folder in wanted and _is_whole(folder)) or _is_like(folder, used)):
            gone[folder] = _size(folder)
            if not dry_run:
                _remove(folder)
    return gone


def _is_whole(folder: str) -> bool:
    return marks.read(folder) is not None or os.path.exists(os.path.join(folder, IMAGE))


def _is_like(folder: str, used: set[frozenset[tuple[str, str]]]) -> bool:
    mark = marks.read(folder)
    return mark is not None and any(mark.wish.items() <= facts for facts in used)


def _used(project: Project, connection: sqlite3.Connection) -> set[frozenset[tuple[str, str]]]:
    """The facts of what the steps of a project last ran in, once for all that ran in the same."""
    records = Records(connection)
    found = [record.facts for record in map(records.get, project.steps) if record]
    return {frozenset(item for item in facts.items() if item[0].startswith(_ABOUT)) for facts in found}


def _folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as found:
            return sorted(entry.path for entry in found if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _remove(folder: str) -> None:
    with suppress(OSError):
        marks.remove(folder)
        for suffix in _BESIDE:
            os.unlink(f"{folder}{suffix}")


def _size(folder: str) -> int:
    """Bytes that are nobody else's: an installer may link files from a cache of its own."""
    size = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(above, name))
                size += status.st_size if status.st_nlink == 1 else 0
    return size
