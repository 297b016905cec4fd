"""A target on this machine: written into the step's private place, with what is unchanged taken from the old one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby

from mlmake.errors import StoreChanged
from mlmake.model.data import Location
from mlmake.services.transfer.arriving import Arriving
from mlmake.services.transfer.sides import File, Sides
from mlmake.state.digests import Digest
from mlmake.state.objects import link_or_copy, parsed
from mlmake.state.remotes import Place
from mlmake.stores.base import Entry, Outcome, Progress
from mlmake.stores.version import digest_of, md5_of


class LocalTarget:
    """Files go to `private`, a file or folder of the step; the engine puts it into its place."""

    def __init__(self, sides: Sides, location: Location, private: str, arriving: Arriving) -> None:
        self._sides = sides
        self._place = sides.place(location)
        self._before = _entries(self._place, is_folder=location.is_folder)
        self._old = os.path.realpath(location.path)
        self._private = private
        self._arriving = arriving
        self._held = _held(sides, self._old, is_folder=location.is_folder)
        self._kept: dict[str, str] = {}

    def has(self, file: File) -> bool:
        """Whether a file is on this machine already: in the old target, or come before a break."""
        old = os.path.join(self._old, file.name) if file.name else self._old
        if file.name in self._held and _is_alike(file, old) and self._is_held(file, old):
            self._kept[file.name] = old
        return file.name in self._kept or self._arriving.has(file)

    def check(self, files: Sequence[File]) -> None:
        """Nothing stands in the way: the old target gives its place to the new one as a whole."""

    def bring(self, files: Sequence[File], progress: Progress) -> list[Outcome]:
        """Bring files as far as the folder where they arrive."""
        outcomes: list[Outcome] = []
        for _, group in groupby(files, key=lambda file: id(file.store)):
            some = list(group)
            outcomes += self._arriving.fetch(some, progress)
        return outcomes

    def settle(self, files: Sequence[File]) -> None:
        """Put every file into the private place. Raises StoreChanged if the old target is written to meanwhile."""
        _clear(self._private)
        in_order = sorted(
            files, key=lambda file: file.name not in self._kept
        )  # so a change loses nothing that has come
        for file in in_order:
            place = os.path.join(self._private, file.name) if file.name else self._private
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if source := self._kept.get(file.name):
                link_or_copy(os.path.realpath(source), place)
                self._check_untouched(file, source)
                continue
            os.replace(self._arriving.path(file), place)
            if file.path:
                _make_alike(file, place)

    def _check_untouched(self, file: File, old: str) -> None:
        key = file.name or self._place.key
        if self._place.store.stat(key) != self._before.get(key):
            raise StoreChanged(f"{old} was edited while it was compared")

    def _is_held(self, file: File, old: str) -> bool:
        """Whether the old target has a file's content: by what is known of its version, or by its checksum."""
        held, known = self._held[file.name], self._sides.digest(file)
        told = digest_of(file.entry.version) if known is None and held.size == file.entry.size else ""
        if told and told == md5_of(old):
            self._sides.learn(file.url, file.entry, held)
            return True
        return held == known


def _entries(place: Place, *, is_folder: bool) -> dict[str, Entry]:
    """What `stat` says of what stands at a target, before it is looked into."""
    found = place.store.list() if is_folder else [place.store.stat(place.key)]
    return {entry.key: entry for entry in found if entry}


def _clear(place: str) -> None:
    """Take away what an earlier look has put into a place."""
    if os.path.isdir(place):
        shutil.rmtree(place)
    with suppress(FileNotFoundError):
        os.unlink(place)


def _held(sides: Sides, path: str, *, is_folder: bool) -> dict[str, Digest]:
    """What stands at a path now, by its name below it."""
    if not is_folder:
        digest = sides.digests.of(path) if os.path.isfile(path) else None
        return {"": digest} if digest else {}
    if not os.path.isdir(path):
        return {}
    members = [member for member in parsed(sides.digests.listing(path)) if member.digest]
    return {each.path: Digest(each.digest, os.path.getsize(os.path.join(path, each.path))) for each in members}


def _is_executable(path: str) -> bool:
    return bool(os.stat(path).st_mode & 0o100)


def _is_alike(file: File, old: str) -> bool:
    """Whether both can be run or neither; a datastore elsewhere has nothing to say on that."""
    return not file.path or _is_executable(file.path) == _is_executable(old)


def _make_alike(file: File, place: str) -> None:
    if not _is_alike(file, place):
        mode = os.stat(place).st_mode
        os.chmod(place, mode | (mode & 0o444) >> 2 if _is_executable(file.path) else mode & ~0o111)
