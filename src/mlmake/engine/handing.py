"""What a step is handed for its inputs: their paths or, for `mode = "folder"`, one folder with just these files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

from mlmake.engine.staging import Stage
from mlmake.model.data import Input, InputMode, plain
from mlmake.model.step import Step
from mlmake.state.fingerprint import Fingerprint
from mlmake.state.stamps import TOP, entries


def handed(step: Step, seen: Fingerprint, stage: Stage) -> dict[str, tuple[str, ...]]:
    """Input name -> absolute paths, as a step on this machine is handed them."""
    gathered = {each.name: (stage.gathered(each.name),) for each in step.inputs if each.mode is InputMode.FOLDER}
    return {**seen.paths, **gathered}


def members(each: Input, seen: Fingerprint) -> Iterator[tuple[str, str]]:
    """What is in the folder of an input: paths there, from the last folder that all of it is in, and paths here.

    Raises FileExistsError where two files would have one name.
    """
    found: dict[str, str] = {}
    for item, path in zip(seen.inputs[each.name], seen.paths[each.name], strict=True):
        below = os.path.relpath(plain(item.text), each.top)
        if found.setdefault(below, path) != path:
            raise FileExistsError(errno.EEXIST, f"two files of input {each.name} would have this name", below)
        yield below, path


def link(step: Step, seen: Fingerprint, stage: Stage) -> None:
    """Fill the folders of a step on this machine with links. Raises OSError."""
    for each in step.inputs:
        if each.mode is InputMode.FOLDER:
            _link(stage.gathered(each.name), dict(members(each, seen)))


def _link(folder: str, found: Mapping[str, str]) -> None:
    """Folders are made anew and only files are links, as few programs follow a link to a folder when they walk."""
    os.makedirs(folder)
    for below, path in found.items():
        target = os.path.normpath(os.path.join(folder, below))
        os.makedirs(target if os.path.isdir(path) else os.path.dirname(target), exist_ok=True)
        if os.path.isdir(path):
            _link_inside(target, path)
        else:
            _link_file(target, path)


def _link_inside(target: str, path: str) -> None:
    """What counts as the content of a folder: links to other folders are followed, as they are for its digest."""
    waiting = [TOP]
    while waiting:
        place = waiting.pop()
        for name, _, inner in entries(path, place, in_order=False):
            below = f"{place[0]}{name}"
            if inner:
                os.makedirs(os.path.join(target, below), exist_ok=True)
                waiting.append(inner)
            else:
                _link_file(os.path.join(target, below), os.path.join(path, below))


def _link_file(target: str, path: str) -> None:
    """One that was named twice, as by a glob and by the folder around it, is there already."""
    with suppress(FileExistsError):
        os.symlink(path, target)
