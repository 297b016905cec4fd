"""What a job takes along to where it does not see the project's own files: what the step declared and imports."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from mlmake.engine.handing import handed, members
from mlmake.engine.staging import Stage
from mlmake.home import FOLDER
from mlmake.model.data import Input, InputMode
from mlmake.model.job import Cargo, Shipment
from mlmake.model.step import Step
from mlmake.state.digests import Digests
from mlmake.state.elsewhere import Away
from mlmake.state.fingerprint import Fingerprint
from mlmake.state.hashing import hash_file
from mlmake.state.objects import parsed

SEARCH = ("src", "steps", ".")
"""Folders of a project that its steps import from."""
_OUTSIDE = f"{FOLDER}/outside"
"""Where a job finds what lies outside the project here, such as a datastore's folder."""
_LEFT_OUT = {FOLDER, ".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "node_modules"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where a job finds what has an absolute path here: at the same place below the project's root, if it is there."""

    root: str

    def inside(self, path: str) -> str:
        """A path relative to the job's folder."""
        if path.startswith(f"{self.root}/"):
            return path[len(self.root) + 1 :]
        folder = xxhash.xxh3_64_hexdigest(os.fsencode(os.path.dirname(path)))
        return f"{_OUTSIDE}/{folder}/{os.path.basename(path)}"


def shipment(name: str, step: Step, seen: Fingerprint, stage: Stage, root: str, digests: Digests) -> Shipment:
    """The shipment of a step whose facts are `seen`. Raises OSError where a file has gone."""
    places = Places(root)
    outputs = stage.outputs
    files = {cargo.path: cargo for cargo in _files(step, seen, stage, places, digests)}
    folders = [path for path in files if path.endswith("/")]
    declared = {output.name: output.location.is_folder for output in step.outputs}
    streamed = {each.name for each in step.inputs if each.is_streamed}
    for output, path in outputs.items():
        inside = places.inside(path)
        folders.append(inside if declared[output] else os.path.dirname(inside))
    return Shipment(
        name=name,
        files=tuple(cargo for path, cargo in files.items() if not path.endswith("/")),
        folders=tuple(dict.fromkeys(filter(None, folders))),
        outputs={places.inside(path): path for path in outputs.values()},
        search=SEARCH,
        inputs=tuple(
            places.inside(path)
            for name, paths in handed(step, seen, stage).items()
            if name not in streamed
            for path in paths
        ),
    )


def _files(step: Step, seen: Fingerprint, stage: Stage, places: Places, digests: Digests) -> Iterator[Cargo]:
    written = tuple(stage.outputs.values())
    for path, digest in seen.code.items():
        if not any(path == each or path.startswith(f"{each.rstrip('/')}/") for each in written):  # it is to be made
            yield _cargo(places.inside(path), path, digest)
    for each in step.inputs:
        if each.mode is InputMode.FOLDER:  # also where nothing is in it
            yield Cargo(f"{places.inside(stage.gathered(each.name))}/", "", "", 0)
        for inside, path in _places_of(each, seen, stage, places):
            yield from _content(inside, path, digests)


def _places_of(each: Input, seen: Fingerprint, stage: Stage, places: Places) -> Iterator[tuple[str, str]]:
    """Where a job finds what an input names, and where it is here."""
    if each.mode is InputMode.FETCH:
        yield from ((places.inside(path), path) for path in seen.paths[each.name])
    elif each.mode is InputMode.FOLDER:
        folder = places.inside(stage.gathered(each.name))
        yield from ((os.path.normpath(f"{folder}/{below}"), path) for below, path in members(each, seen))


def _content(inside: str, path: str, digests: Digests) -> Iterator[Cargo]:
    """A file, or a folder with all that is in it; a path that ends in a slash is a folder to be made."""
    away = digests.away(path)
    if away and not os.path.lexists(path):
        yield from _left(inside, away)
        return
    if not os.path.isdir(path):
        digest = digests.of(path)
        if digest is None:
            raise FileNotFoundError(2, "it is no readable file or folder", path)
        yield _cargo(inside, path, digest.digest)
        return
    yield Cargo(f"{inside}/", path, "", 0)
    for member in parsed(digests.listing(path)):
        below = f"{inside}/{member.path}"
        if member.digest:
            source = os.path.join(path, member.path)
            yield Cargo(below, source, member.digest, os.path.getsize(source), member.executable)
        else:
            yield Cargo(below, path, "", 0)


def _left(inside: str, away: Away) -> Iterator[Cargo]:
    """What is on the job's target already, and nowhere else."""
    if away.is_folder:
        yield Cargo(f"{inside}/", "", "", 0)
    for entry in away.entries:
        below = f"{inside}/{entry.path}" if entry.path else inside
        yield Cargo(below, "", entry.digest, entry.size, entry.is_executable)


def _cargo(inside: str, path: str, digest: str) -> Cargo:
    status = os.stat(path)
    return Cargo(inside, path, digest, status.st_size, bool(status.st_mode & 0o100))


def project_files(root: str, below: str = ".") -> list[str]:
    """The files of a project, or of a folder in it, relative to its root: in git, those that git does not ignore."""
    try:
        asked = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", below],
            cwd=root,
            check=True,
            capture_output=True,
        )
        names = [os.fsdecode(name) for name in asked.stdout.split(b"\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = list(_walked(root, below))
    return sorted(name for name in dict.fromkeys(names) if os.path.isfile(os.path.join(root, name)))


def cargo_of(root: str, name: str) -> Cargo:
    """A file of a project, as it is now. Raises OSError."""
    path = os.path.join(root, name)
    digest, size = hash_file(path)
    return Cargo(name, path, digest, size, os.access(path, os.X_OK))


def _walked(root: str, below: str) -> Iterator[str]:
    for folder, inside, names in os.walk(os.path.join(root, below)):
        inside[:] = [name for name in inside if name not in _LEFT_OUT]
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in names)
