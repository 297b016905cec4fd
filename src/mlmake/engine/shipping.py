"""What a job takes along to where it does not see the project's own files: what the step declared and imports."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import xxhash

from mlmake.home import FOLDER
from mlmake.model.job import Cargo, Shipment
from mlmake.model.step import Step
from mlmake.state.digests import Digests
from mlmake.state.fingerprint import Fingerprint
from mlmake.state.objects import parsed

SEARCH = ("src", "steps", ".")
"""Folders of a project that its steps import from."""
_OUTSIDE = f"{FOLDER}/outside"
"""Where a job finds what lies outside the project here, such as a datastore's folder."""


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


def shipment(
    name: str, step: Step, seen: Fingerprint, outputs: Mapping[str, str], root: str, digests: Digests
) -> Shipment:
    """The shipment of a step whose facts are `seen`; `outputs` are the places here that it writes to.

    Raises OSError where a file has gone.
    """
    places = Places(root)
    files = {cargo.path: cargo for cargo in _files(step, seen, tuple(outputs.values()), places, digests)}
    folders = [path for path in files if path.endswith("/")]
    declared = {output.name: output.location.is_folder for output in step.outputs}
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
            places.inside(path) for each in step.inputs if not each.is_streamed for path in seen.paths[each.name]
        ),
    )


def _files(
    step: Step, seen: Fingerprint, written: tuple[str, ...], places: Places, digests: Digests
) -> Iterator[Cargo]:
    for path, digest in seen.code.items():
        if not any(path == each or path.startswith(f"{each.rstrip('/')}/") for each in written):  # it is to be made
            yield _cargo(places.inside(path), path, digest)
    for each in step.inputs:
        if each.is_streamed:
            continue
        for path in seen.paths[each.name]:
            yield from _content(places.inside(path), path, digests)


def _content(inside: str, path: str, digests: Digests) -> Iterator[Cargo]:
    """A file, or a folder with all that is in it; a path that ends in a slash is a folder to be made."""
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


def _cargo(inside: str, path: str, digest: str) -> Cargo:
    status = os.stat(path)
    return Cargo(inside, path, digest, status.st_size, bool(status.st_mode & 0o100))
