"""Files behind the paths of datasets, datastores and outputs, for those who want them here by hand."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from mlmake.config.places import locate, store_folder
from mlmake.config.problems import Wrong
from mlmake.errors import WrongValue
from mlmake.model.data import Datastore as Declared
from mlmake.model.data import Location
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.state.database import empty
from mlmake.state.remotes import Remotes
from mlmake.stores.base import Entry, Fetch, Send, Store, raise_first
from mlmake.stores.opening import open_store


@dataclass(frozen=True, slots=True)
class File:
    """One file: what tells it from others (`lake/2020/x.csv`), and its entry in a store, or its path here."""

    name: str
    path: str = ""
    store: Store | None = None
    entry: Entry | None = None


class Files:
    """The files of some paths, as they are now; `versions` tell what stands at each path in a datastore."""

    def __init__(self, found: Sequence[File], versions: Sequence[str]) -> None:
        self._found = found
        self.versions = versions
        every = [os.path.dirname(each.name) for each in found]
        self._top = os.path.commonpath(every) if every else ""

    @property
    def names(self) -> list[str]:
        """Their paths below the last folder that all of them are in."""
        return [os.path.relpath(each.name, self._top or ".") for each in self._found]

    @property
    def full_names(self) -> list[str]:
        """Their paths with the datastore before them."""
        return [each.name for each in self._found]

    @property
    def paths(self) -> list[str] | None:
        """Where they are on this machine; None where one is not."""
        return None if any(each.store for each in self._found) else [each.path for each in self._found]

    def bring(self, target: str, *, overwrite: bool) -> list[str]:
        """Copy them into a folder; their places there. Raises StoreError, OSError."""
        places = [os.path.join(target, name) for name in self.names]
        pairs = [pair for pair in zip(self._found, places, strict=True) if overwrite or not os.path.exists(pair[1])]
        for store in {id(each.store): each.store for each, _ in pairs if each.store}.values():
            coming = [
                Fetch(key=each.entry.key, target=place, entry=each.entry)
                for each, place in pairs
                if each.store is store and each.entry
            ]
            raise_first(store.get_many(coming))
        for each, place in pairs:
            if each.store is None:
                copied(each.path, place)
        return places


@contextmanager
def opened(texts: Iterable[str], workspace: WorkspaceFolder | None) -> Iterator[Files]:
    """What stands at paths of a workspace or, without one, of the current folder. Raises WrongValue, StoreError."""
    root = workspace.root if workspace else os.getcwd()
    tables = workspace.store_tables() if workspace else {}
    stores = {name: declared(name, table) for name, table in tables.items()}
    with closing(empty()) as connection, closing(Remotes(stores, connection)) as remotes:
        try:
            places = [locate(text, root, stores, globs=True) for text in texts]
        except Wrong as wrong:
            raise WrongValue(wrong.what) from None
        found = [file for place in places for file in (_there if place.is_remote else _here)(place, remotes)]
        versions = [version for place in places if place.is_remote and (version := remotes.version(place))]
        yield Files(found, [version.digest for version in versions])


@contextmanager
def store_of(workspace: WorkspaceFolder, store: Declared) -> Iterator[Store]:
    """A datastore, a folder of this machine too, to put files into and bring them back. Raises StoreError."""
    url = store.url if store.is_remote else store_folder(store, workspace.root)
    with closing(open_store(store.name, url, store.options, os.environ)) as found:
        yield found


def sent(store: Store, files: Iterable[tuple[str, str]], *, overwrite: bool) -> None:
    """Put files, each with its key, into a store. Raises StoreError, OSError."""
    there = set() if overwrite else {entry.key for entry in store.list()}
    raise_first(store.put_many([Send(source=source, key=key) for source, key in files if key not in there]))


def brought(store: Store, prefix: str, target: str, *, overwrite: bool) -> int:
    """Copy a file, or all below a folder, out of a store; their number. Raises StoreError, OSError."""
    alone = store.stat(prefix) if prefix else None
    entries = [alone] if alone else store.list(prefix)
    coming = [Fetch(key=entry.key, target=os.path.join(target, entry.key), entry=entry) for entry in entries]
    raise_first(store.get_many([each for each in coming if overwrite or not os.path.exists(each.target)]))
    return len(coming)


def declared(name: str, table: object) -> Declared:
    """A datastore from its table in a pipelines.toml."""
    options = dict(table) if isinstance(table, dict) else {"url": table}
    return Declared(name, str(options.pop("url", "")), options)


def copied(source: str, target: str) -> str:
    """Copy a file or folder over what stands there; where it is now."""
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    removed(target)
    if os.path.isdir(source):
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
    return target


def removed(path: str) -> None:
    """Take a file or folder away, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _there(place: Location, remotes: Remotes) -> Iterator[File]:
    store = remotes.place(place).store
    for file in remotes.files(place):
        yield File(file.text.replace("://", "/"), store=store, entry=file.entry)


def _here(place: Location, _: Remotes) -> Iterator[File]:
    start = place.text.removesuffix("/").removesuffix(place.pattern).replace("://", "/")
    found = sorted(glob.glob(place.pattern, root_dir=place.path, recursive=True)) if place.pattern else [""]
    for match in found:
        path = os.path.join(place.path, match).rstrip("/")
        inside = [os.path.relpath(file, path) for file in _walked(path)] if os.path.isdir(path) else [""]
        for below in inside if os.path.exists(path) else ():
            name = os.path.join(start, match, below).rstrip("/")
            yield File(name, os.path.join(path, below) if below else path)


def _walked(folder: str) -> list[str]:
    return sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
