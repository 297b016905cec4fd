"""The two sides of a transfer: what is at the source, and what is known of the contents of either side."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from mlmake.errors import StoreError
from mlmake.model.data import Location
from mlmake.model.project import Project
from mlmake.state.database import transaction
from mlmake.state.digests import Digest, Digests
from mlmake.state.remotes import Place, Remotes, label_of, url_of
from mlmake.state.snapshot import matches
from mlmake.stores.base import Entry, Store
from mlmake.stores.opening import open_store


@dataclass(frozen=True, slots=True)
class File:
    """One file of a source: its name below the target ("" where the target is a file), and where it is."""

    name: str
    store: Store
    entry: Entry

    @property
    def url(self) -> str:
        return url_of(Place(self.store, self.entry.key), self.entry.key)

    @property
    def path(self) -> str:
        """Where it is on this machine; "" for a file of a datastore elsewhere."""
        return self.store.address(self.entry.key) if self.store.traits.local else ""

    @property
    def label(self) -> str:
        """A name for this version of this file, such as a file of ours can have."""
        return label_of(self.url, self.entry.version)


class Sides:
    """Opens stores, lists sources, and remembers contents by version in the project's state.

    All methods are for one thread and raise StoreError.
    """

    def __init__(self, project: Project, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._remotes = Remotes(project.datastores, connection)
        self._stores: dict[str, Store] = {}
        self.digests = Digests(connection, whole=False)

    def place(self, location: Location) -> Place:
        """The store of a location and its key there; a folder of this machine is a store too."""
        if location.is_remote:
            return self._remotes.place(location)
        is_file = not location.is_folder and not location.pattern
        folder, key = os.path.split(location.path) if is_file else (location.path, "")
        if folder not in self._stores:
            self._stores[folder] = open_store("local", folder, {}, {})
        return Place(self._stores[folder], key)

    def files(self, sources: list[Location], *, into_folder: bool) -> list[File]:
        """Every file of the sources by its name at the target. Raises StoreError where a source has none."""
        self._remotes.look_again()
        found: dict[str, File] = {}
        for location in sources:
            files = list(self._files(location, into_folder=into_folder))
            if not files:
                hint = "a transfer never empties its target because its source is empty: clear it yourself"
                raise StoreError(f"{location.text}: no file is there", hint=hint)
            for file in files:
                if file.name in found:
                    raise StoreError(f"both {found[file.name].url} and {file.url} would become {file.name!r}")
                found[file.name] = _named(file)
        return [found[name] for name in sorted(found)]

    def digest(self, file: File) -> Digest | None:
        """What a file of the source holds, if that is known; what is on this machine is read."""
        if file.path:
            return self.digests.of(file.path)
        return self._remotes.content(file.url, file.entry.version)

    def content(self, place: Place, entry: Entry) -> Digest | None:
        """What a version of a file of a datastore holds, if that is known."""
        return self._remotes.content(url_of(place, entry.key), entry.version)

    def learn(self, url: str, entry: Entry, digest: Digest) -> None:
        """Remember what a version of a file holds."""
        self._remotes.learn(url, entry.version, digest)

    def save(self) -> None:
        """Write what was learnt: after a kill the next attempt knows it."""
        with transaction(self._connection):
            self._remotes.save()

    def close(self) -> None:
        self._remotes.close()
        for store in self._stores.values():
            store.close()

    def _files(self, location: Location, *, into_folder: bool) -> Iterator[File]:
        place = self.place(location)
        if not location.is_folder and not location.pattern:
            entry = place.store.stat(place.key)
            name = os.path.basename(location.path) if into_folder else ""
            yield from [File(name, place.store, entry)] if entry else []
        elif location.is_remote:
            for each in self._remotes.files(location):
                yield File(each.inner, place.store, each.entry)
        else:
            for entry in _local(place.store, location):
                yield File(entry.key, place.store, entry)


def _local(store: Store, location: Location) -> Iterator[Entry]:
    """The files below a folder of this machine, or those that a glob finds there and below."""
    if not location.pattern:
        yield from store.list()
        return
    for name in matches(location.path, location.pattern):
        if os.path.isdir(os.path.join(location.path, name)):
            yield from store.list(name)
        elif entry := store.stat(name):
            yield entry


def _named(file: File) -> File:
    """The file, if its name is text. Raises StoreError."""
    try:
        file.name.encode()
    except UnicodeEncodeError:
        raise StoreError(f"{os.fsencode(file.name)!r} is no Unicode, which stores need: rename it") from None
    return file
