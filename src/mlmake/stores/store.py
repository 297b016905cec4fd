"""A store made of a drive: retries, whole files, large files, many files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from mlmake.errors import StoreChanged, StoreError, StoreMissing, StoreUnavailable
from mlmake.stores.base import Entry, Fetch, Outcome, Progress, Send, unseen
from mlmake.stores.drive import Drive, Pair, spread
from mlmake.stores.parts import SUFFIX, Short, begun, collect, unfinished
from mlmake.stores.patience import Patience
from mlmake.stores.version import digest_of, md5_of

PART = 8 << 20
_REPLACEMENTS = 5
_WIDTH = 16
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Coming:
    """A small file on its way to `target`, by way of `path`."""

    fetch: Fetch
    path: str


@dataclass(frozen=True, slots=True)
class _Going:
    """A file on its way to `key`, under the name `new` first."""

    source: str
    key: str
    new: str


class DriveStore:
    """See `base.Store`. Files larger than `part` come in ranges of that size."""

    def __init__(self, drive: Drive, *, patience: Patience | None = None, part: int = PART) -> None:
        self._drive = drive
        self._patience = patience or (Patience(tries=2) if drive.traits.patient else Patience())
        self._part = part
        self.name = drive.voice.name
        self.url = drive.voice.url
        self.traits = drive.traits

    def address(self, key: str) -> str:
        return self._drive.address(self._checked(key))

    def stat(self, key: str) -> Entry | None:
        self._checked(key)
        return self._patience.call(lambda: self._drive.stat(key))

    def list(self, folder: str = "") -> list[Entry]:
        clean = folder.rstrip("/")
        if clean:
            self._checked(clean)
        found = self._patience.call(lambda: self._drive.list(clean))
        return [entry for entry in found if not entry.key.endswith(SUFFIX)]

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        self._checked(key)
        return self._patience.call(lambda: self._drive.read(key, start, end))

    def copy(self, key: str, to: str) -> None:
        for each in (key, to):
            self._checked(each)
        if not self.traits.server_copy:
            self._copy_through_here(key, to)
        elif self.traits.atomic:
            self._patience.call(lambda: self._drive.copy(key, to))
        else:
            self._patience.call(lambda: self._copy_by_rename(key, to))

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._checked(key)
        self._patience.call(lambda: self._drive.remove(keys))

    def close(self) -> None:
        self._drive.close()

    # Out of the store.

    def get(self, key: str, target: str, *, entry: Entry | None = None, progress: Progress = unseen) -> Entry:
        self._checked(key)
        _make_folder(target)
        for _ in range(_REPLACEMENTS):
            wanted = entry or self._present(key)
            if self._bring(wanted, target, progress):
                return wanted
            if entry is not None:
                raise self._changed(key)
        hint = "let its writer finish, then run the same command again"
        raise self._drive.voice.error(StoreUnavailable, key, "is replaced again and again while it is read", hint)

    def get_many(self, files: Sequence[Fetch], progress: Progress = unseen) -> Sequence[Outcome]:
        outcomes: list[Outcome] = [None] * len(files)
        small = [index for index, file in enumerate(files) if file.entry is None or file.entry.size <= self._part]
        for index, outcome in zip(small, self._bring_small([files[i] for i in small], progress), strict=True):
            outcomes[index] = outcome
        for index in sorted(set(range(len(files))) - set(small)):
            outcomes[index] = self._tried(files[index], progress)
        return outcomes

    def _tried(self, file: Fetch, progress: Progress) -> Outcome:
        try:
            self.get(file.key, file.target, entry=file.entry, progress=progress)
        except (StoreError, OSError) as error:
            return error
        return None

    def _present(self, key: str) -> Entry:
        entry = self.stat(key)
        if entry is None:
            raise self._drive.voice.error(StoreMissing, key, "is not there")
        return entry

    def _changed(self, key: str) -> StoreChanged:
        hint = "run the same command again to take the new version"
        return self._drive.voice.error(StoreChanged, key, "was replaced by another version", hint)

    def _bring(self, entry: Entry, target: str, progress: Progress) -> bool:
        """Bring one version; false if it is no longer there."""
        if entry.size > self._part:
            return self._bring_large(entry, target, progress)
        outcome = self._bring_small([Fetch(key=entry.key, target=target, entry=entry)], progress)[0]
        if isinstance(outcome, StoreChanged):
            return False
        if outcome is not None:
            raise outcome
        return True

    def _bring_large(self, entry: Entry, target: str, progress: Progress) -> bool:
        with begun(target, entry) as path:
            try:
                collect(path, entry.size, self._part, lambda start, end: self.read(entry.key, start, end), progress)
                outcome = self._checked_content(entry, path)
            except Short:
                outcome = self._changed(entry.key)
            except StoreUnavailable:
                raise
            except StoreError as error:  # such as a range that a shorter file does not have
                outcome = error if self.stat(entry.key) == entry else self._changed(entry.key)
            if outcome is None:
                os.replace(path, target)
                return True
            progress(-os.path.getsize(path))
            os.unlink(path)
            if isinstance(outcome, StoreChanged):
                return False
            raise outcome

    def _checked_content(self, entry: Entry, path: str) -> StoreError | None:
        """None if the file here is that version: by its checksum, else because that version still stands there."""
        if _is_proven(entry, path):
            return None
        found = self.stat(entry.key)
        if found != entry or os.path.getsize(path) != entry.size:
            return self._changed(entry.key)
        if not entry.version.startswith("md5 "):  # an etag may look like an md5 and be none
            return None
        what, hint = "arrived with other bytes than its checksum", self._drive.voice.unavailable_hint()
        return self._drive.voice.error(StoreUnavailable, entry.key, what, hint)

    def _bring_small(self, files: Sequence[Fetch], progress: Progress) -> Sequence[Outcome]:
        return self._in_rounds([_coming(self._checked_fetch(file)) for file in files], partial(self._fetch, progress))

    def _fetch(self, progress: Progress, coming: Sequence[_Coming]) -> Sequence[Outcome]:
        outcomes = list(self._drive.fetch([(each.fetch.key, each.path) for each in coming], progress))
        doubtful = [
            index
            for index, each in enumerate(coming)
            if outcomes[index] is None and each.fetch.entry and not _is_proven(each.fetch.entry, each.path)
        ]
        for index, outcome in zip(doubtful, spread(self._check, [coming[i] for i in doubtful], _WIDTH), strict=True):
            outcomes[index] = outcome
            if outcome is not None:
                progress(-os.path.getsize(coming[index].path))
        return [_landed(each, outcome) for each, outcome in zip(coming, outcomes, strict=True)]

    def _check(self, coming: _Coming) -> None:
        if coming.fetch.entry and (error := self._checked_content(coming.fetch.entry, coming.path)):
            raise error

    # Into the store.

    def put(self, source: str, key: str, progress: Progress = unseen) -> Entry:
        outcome = self.put_many([Send(source=source, key=key)], progress)[0]
        if outcome is not None:
            raise outcome
        return self._present(key)

    def put_many(self, files: Sequence[Send], progress: Progress = unseen) -> Sequence[Outcome]:
        pairs = [(file.source, self._checked(file.key)) for file in files]
        return self._in_rounds(pairs, lambda some: self._send(some, progress))

    def _send(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        if self.traits.atomic:
            return list(self._drive.send(pairs, progress))
        sent = [_Going(source, key, _beside(key)) for source, key in pairs]
        outcomes = list(self._drive.send([(each.source, each.new) for each in sent], progress))
        whole = [index for index, outcome in enumerate(outcomes) if outcome is None]
        for index, outcome in zip(whole, spread(self._settle, [sent[i] for i in whole], _WIDTH), strict=True):
            outcomes[index] = outcome
        self._forget([each.new for each, outcome in zip(sent, outcomes, strict=True) if outcome is not None])
        return outcomes

    def _settle(self, going: _Going) -> None:
        self._drive.rename(going.new, going.key)

    def _forget(self, keys: Sequence[str]) -> None:
        """Take away what failed. Where that fails too, its name says that it is nothing."""
        with suppress(StoreError, OSError):
            self._drive.remove(keys)

    def _copy_by_rename(self, key: str, to: str) -> None:
        new = _beside(to)
        try:
            self._drive.copy(key, new)
            self._drive.rename(new, to)
        except BaseException:
            self._forget([new])
            raise

    def _copy_through_here(self, key: str, to: str) -> None:
        with tempfile.TemporaryDirectory(prefix="mlmake-") as folder:
            path = os.path.join(folder, "file")
            self.get(key, path)
            self.put(path, to)

    # Both ways.

    def _in_rounds(self, items: Sequence[T], work: Callable[[Sequence[T]], Iterable[Outcome]]) -> Sequence[Outcome]:
        """Do `work` for all items, then again for those that were unavailable; for each None or its last error."""
        outcomes: list[Outcome] = [None] * len(items)
        waiting = list(range(len(items)))
        for _ in self._patience.rounds() if items else ():
            for index, outcome in zip(waiting, work([items[index] for index in waiting]), strict=True):
                outcomes[index] = outcome
            waiting = [index for index in waiting if isinstance(outcomes[index], StoreUnavailable)]
            if not waiting:
                break
        return outcomes

    def _checked(self, key: str) -> str:
        if not key or {"", ".", ".."} & set(key.split("/")) or "\0" in key:
            raise self._drive.voice.error(StoreError, key, "is no key: a/b.csv, without an empty part, '.' or '..'")
        return key

    def _checked_fetch(self, file: Fetch) -> Fetch:
        self._checked(file.key)
        return file


def _coming(file: Fetch) -> _Coming:
    _make_folder(file.target)
    return _Coming(file, os.path.join(os.path.dirname(file.target), unfinished()))


def _is_proven(entry: Entry, path: str) -> bool:
    digest = digest_of(entry.version)
    return bool(digest) and os.path.getsize(path) == entry.size and md5_of(path) == digest


def _landed(coming: _Coming, outcome: Outcome) -> Outcome:
    """Put what was fetched into its place, or away."""
    try:
        if outcome is None:
            os.replace(coming.path, coming.fetch.target)
            return None
    except OSError as error:
        outcome = error
    with suppress(FileNotFoundError):
        os.unlink(coming.path)
    return outcome


def _make_folder(target: str) -> None:
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)


def _beside(key: str) -> str:
    """A name for an unfinished file in the same folder of the store."""
    folder, slash, _ = key.rpartition("/")
    return f"{folder}{slash}{unfinished()}"
