"""Files of datastores as a project sees them: which are there, in which version, and what these versions hold."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import xxhash

from mlmake.errors import UsageError
from mlmake.model.data import Datastore, Location
from mlmake.model.globs import matches
from mlmake.state.digests import Digest
from mlmake.stores.base import Entry, Store

_FEW = 2
"""Files of one folder that are asked for one by one; from then on the folder is listed once."""


@dataclass(frozen=True, slots=True)
class Place:
    """A location in its store."""

    store: Store
    key: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a location: as it is written for people, relative to the location, and in its store."""

    text: str
    inner: str
    entry: Entry


class Remotes:
    """The datastores of a project that are not on this machine. What it saw counts until `look_again`.

    All methods raise StoreError. One thread may use it, but its stores may be used by any.
    """

    def __init__(self, datastores: Mapping[str, Datastore], connection: sqlite3.Connection) -> None:
        self._datastores = datastores
        self._connection = connection
        self._stores: dict[str, Store] = {}
        self._asked: Counter[tuple[str, str]] = Counter()
        self._folders: dict[tuple[str, str], dict[str, Entry]] = {}
        self._files: dict[tuple[str, str], Entry | None] = {}
        self._new: dict[tuple[str, str], Digest] = {}

    def look_again(self) -> None:
        """Forget what was there."""
        self._asked.clear()
        self._folders.clear()
        self._files.clear()

    def place(self, location: Location) -> Place:
        """The store of a location, and its key there. Raises UsageError where a URL names no file of a store."""
        scheme = location.text.partition("://")[0]
        declared = self._datastores.get(scheme)
        if declared is None:
            declared = Datastore(scheme, _root(location.path), {})
        name = f"{declared.name} {declared.url}"
        if name not in self._stores:
            from mlmake.stores.opening import open_store

            self._stores[name] = open_store(declared.name, declared.url, declared.options, os.environ)
        key = location.path[len(declared.url.rstrip("/")) :].strip("/")
        return Place(self._stores[name], key)

    def files(self, location: Location) -> list[RemoteFile]:
        """The files of a location in the order of their keys; none if nothing is there."""
        place = self.place(location)
        if not location.pattern and not location.is_folder:
            entry = self._entry(place)
            return [RemoteFile(location.text, "", entry)] if entry else []
        stem = f"{place.key}/" if place.key else ""
        start = location.text.removesuffix("/").removesuffix(location.pattern) if location.pattern else location.text
        inner = [(entry.key.removeprefix(stem), entry) for entry in self._listed(place).values()]
        return [
            RemoteFile(f"{start}{name}", name, entry)
            for name, entry in inner
            if not location.pattern or matches(name, location.pattern)
        ]

    def version(self, location: Location) -> Digest | None:
        """What tells what stands at a location from anything else: the version of a file, or of all in a folder."""
        files = self.files(location)
        if not files:
            return None
        if not location.is_folder and not location.pattern:
            return Digest(files[0].entry.version, files[0].entry.size)
        return version_of((each.inner, each.entry) for each in files)

    def content(self, url: str, version: str) -> Digest | None:
        """What a version of a file holds, if it ever was here."""
        known = self._new.get((url, version))
        if known is None:
            row = self._connection.execute(
                "SELECT digest, size FROM contents WHERE url = ? AND version = ?", (url, version)
            ).fetchone()
            known = Digest(str(row[0]), int(row[1])) if row else None
        return known

    def contents_below(self, url: str) -> dict[tuple[str, str], Digest]:
        """What is known of a file, or of all files in a folder: (url, version) -> content."""
        rows = self._connection.execute(
            "SELECT url, version, digest, size FROM contents WHERE url = ? OR (url >= ? AND url < ?)",
            (url, f"{url}/", f"{url}0"),
        )
        return {(str(own), str(version)): Digest(str(digest), int(size)) for own, version, digest, size in rows}

    def learn(self, url: str, version: str, content: Digest) -> None:
        """Remember what a version holds."""
        self._new[url, version] = content

    def save(self) -> None:
        """Write what was learnt into the state; call it inside a transaction."""
        rows = ((url, version, content.digest, content.size) for (url, version), content in self._new.items())
        self._connection.executemany("INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?)", rows)
        self._new.clear()

    def close(self) -> None:
        for store in self._stores.values():
            store.close()

    def _entry(self, place: Place) -> Entry | None:
        folder = place.key.rpartition("/")[0]
        at = (place.store.url, folder)
        if at in self._folders:
            return self._folders[at].get(place.key)
        own = (place.store.url, place.key)
        if own not in self._files:
            self._asked[at] += 1
            if self._asked[at] > _FEW:
                return self._listed(Place(place.store, folder)).get(place.key)
            self._files[own] = place.store.stat(place.key)
        return self._files[own]

    def _listed(self, place: Place) -> dict[str, Entry]:
        at = (place.store.url, place.key)
        if at not in self._folders:
            self._folders[at] = {entry.key: entry for entry in place.store.list(place.key)}
        return self._folders[at]


def newest_contents(connection: sqlite3.Connection) -> set[str]:
    """The digests of what was last fetched from datastores or sent there, of each file the newest version."""
    return {str(row[0]) for row in connection.execute("SELECT digest, max(rowid) FROM contents GROUP BY url")}


def version_of(files: Iterable[tuple[str, Entry]]) -> Digest:
    """The version of a folder, from its files by their names in it, in the order of these."""
    named = list(files)
    lines = "".join(f"{name}\0{entry.version}\0" for name, entry in named)
    digest = xxhash.xxh3_128_hexdigest(lines.encode("utf-8", "surrogateescape"))
    return Digest(digest, sum(entry.size for _, entry in named))


def url_of(place: Place, key: str) -> str:
    """What a file of a store is remembered by: its address, without secrets."""
    return f"{place.store.url.rstrip('/')}/{key}"


def label_of(url: str, version: str) -> str:
    """A name for one version of a file or folder, such as a file of ours can have."""
    return xxhash.xxh3_128_hexdigest(f"{url}\0{version}".encode("utf-8", "surrogateescape"))


def _root(url: str) -> str:
    """The part of a URL that is a store: `s3://bucket`, `https://host`."""
    scheme, _, rest = url.partition("://")
    host, slash, key = rest.partition("/")
    if "::" in scheme or not slash or not key:
        raise UsageError(f"{url!r} names no file of a store", hint="declare its folder under [datastores]")
    return f"{scheme}://{host}"
