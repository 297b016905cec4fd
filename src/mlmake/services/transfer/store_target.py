"""A target in a datastore: files go to their own places there one by one, each of them whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from mlmake.errors import StoreChanged, StoreError
from mlmake.services.transfer.arriving import Arriving
from mlmake.services.transfer.checks import check_copied, check_sent, is_one_content
from mlmake.services.transfer.sides import File, Sides
from mlmake.state.digests import Digest
from mlmake.state.remotes import Place, url_of
from mlmake.stores.base import Entry, Outcome, Progress, Send, unseen
from mlmake.stores.drive import spread
from mlmake.stores.version import digest_of, md5_of

_WIDTH = 16


class StoreTarget:
    """A file or folder of a datastore."""

    def __init__(self, sides: Sides, place: Place, arriving: Arriving, *, is_folder: bool) -> None:
        self._sides = sides
        self._place = place
        self._store = place.store
        self._arriving = arriving
        self._stem = f"{place.key}/" if place.key else ""
        found = self._store.list(place.key) if is_folder else [self._store.stat(place.key)]
        self._there = {entry.key: entry for entry in found if entry}

    def has(self, file: File) -> bool:
        """Whether what stands there is a file's content: by the checksums of both stores, or by what is known."""
        entry = self._there.get(self._key(file))
        if entry is None or entry.size != file.entry.size:
            return False
        if is_one_content(file.entry, entry):
            self._learn_same(file, entry)
            return True
        digest, known = self._sides.digest(file), self._sides.content(self._place, entry)
        if known is None and digest and file.path and digest_of(entry.version) == md5_of(file.path):
            self._learn_same(file, entry)
            return True
        return digest is not None and digest == known

    def check(self, files: Sequence[File]) -> None:
        """Nothing has to go that no transfer put there. Raises StoreError."""
        strange = [key for key in self._gone(files) if self._sides.content(self._place, self._there[key]) is None]
        if strange:
            more = f", and so are {len(strange) - 1} more" if len(strange) > 1 else ""
            where = f"datastore {self._store.name}: {url_of(self._place, strange[0])}"
            raise StoreError(
                f"{where} is not of the source, and no transfer put it there{more}",
                hint="a transfer makes its target what the source is: give it a folder of its own, or clear this one",
            )

    def bring(self, files: Sequence[File], progress: Progress) -> list[Outcome]:
        """Copy files inside the store, send those of this machine, fetch and send all others."""
        outcomes: dict[str, Outcome] = {}
        ways = {self._copy: list[File](), self._send: list[File](), self._fetch_and_send: list[File]()}
        for file in files:
            is_inside = file.store is self._store and self._store.traits.server_copy
            ways[self._copy if is_inside else self._send if file.path else self._fetch_and_send].append(file)
        for way, some in ways.items():
            for file, outcome in zip(some, way(some, progress) if some else [], strict=True):
                outcomes[file.name] = outcome
        return [outcomes[file.name] for file in files]

    def settle(self, files: Sequence[File]) -> None:
        """Remove what is no more at the source."""
        if gone := self._gone(files):
            self._store.remove(gone)
            print(f"removed {len(gone)} files that the source has no more", flush=True)

    def _key(self, file: File) -> str:
        return f"{self._stem}{file.name}" if file.name else self._place.key

    def _gone(self, files: Sequence[File]) -> list[str]:
        keys = {self._key(file) for file in files}
        return [key for key in self._there if key not in keys]

    # The three ways.

    def _copy(self, files: Sequence[File], progress: Progress) -> list[Outcome]:
        arrived: dict[str, Entry] = {}

        def one(file: File) -> None:
            key = self._key(file)
            self._store.copy(file.entry.key, key)
            entry = self._store.stat(key)
            check_copied(file, entry)
            if entry:
                arrived[file.name] = entry
            progress(file.entry.size)

        outcomes = spread(one, files, _WIDTH)
        for file in files:
            if file.name in arrived:
                self._learn_same(file, arrived[file.name])
        return outcomes

    def _send(self, files: Sequence[File], progress: Progress) -> list[Outcome]:
        before = [self._sides.digest(file) for file in files]
        return self._sent(files, [file.path for file in files], before, progress)

    def _fetch_and_send(self, files: Sequence[File], progress: Progress) -> list[Outcome]:
        outcomes: dict[str, Outcome] = {}
        for store in {id(file.store): file.store for file in files}.values():
            some = [file for file in files if file.store is store and not self._arriving.has(file)]
            came = self._arriving.fetch(some, progress) if some else []
            outcomes.update(zip((file.name for file in some), came, strict=True))
        whole = [file for file in files if outcomes.get(file.name) is None]
        paths = [self._arriving.path(file) for file in whole]
        sent = self._sent(whole, paths, [self._sides.digest(file) for file in whole], unseen)
        outcomes.update(zip((file.name for file in whole), sent, strict=True))
        for path, outcome in zip(paths, sent, strict=True):
            if outcome is None:
                with suppress(FileNotFoundError):
                    os.unlink(path)
        return [outcomes[file.name] for file in files]

    def _sent(
        self, files: Sequence[File], paths: Sequence[str], held: Sequence[Digest | None], progress: Progress
    ) -> list[Outcome]:
        """Send files from these paths, and check what stands there then; `held` is what they held before."""
        keys = [self._key(file) for file in files]
        sends = [Send(source=path, key=key) for path, key in zip(paths, keys, strict=True)]
        outcomes = list(self._store.put_many(sends, progress)) if sends else []
        arrived: dict[str, Entry] = {}

        def one(send: Send) -> None:
            entry = self._store.stat(send.key)
            if entry is None:
                raise StoreChanged(f"{self._store.name}: {send.key} is gone again")
            check_sent(self._store, entry, send.source)
            arrived[send.key] = entry

        whole = [index for index, outcome in enumerate(outcomes) if outcome is None]
        for index, outcome in zip(whole, spread(one, [sends[i] for i in whole], _WIDTH), strict=True):
            outcomes[index] = outcome or self._remembered(files[index], held[index], arrived[keys[index]])
        return outcomes

    # What is known then.

    def _remembered(self, file: File, before: Digest | None, entry: Entry) -> Outcome:
        """Note what was sent; an error if the file was another by the end."""
        if before is None or self._sides.digest(file) != before:
            return StoreChanged(f"{file.url} was replaced while it was sent")
        self._sides.learn(url_of(self._place, entry.key), entry, before)
        return None

    def _learn_same(self, file: File, entry: Entry) -> None:
        """Two versions hold the same. Where nobody knows what, as no byte came by here, a mark stands for it."""
        known = self._sides.digest(file)
        if known is None:
            known = Digest(f"copy {file.label}", file.entry.size)
            self._sides.learn(file.url, file.entry, known)
        self._sides.learn(url_of(self._place, entry.key), entry, known)
