"""The shared cache: actions and contents in a store that several projects and people use.

`actions/KEY` is a record (JSON), `files/…` and `folders/…` are contents by xxh3_128, as they are kept locally. A record
is written after all contents that it names, so who sees it can have them. It names a SHA-256 beside each digest: an
xxh3 can be forged, so a content counts only if both fit.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import xxhash

from mlmake.errors import StoreError, StoreMissing
from mlmake.state.cache import Action, Kept
from mlmake.state.objects import FILES, FOLDERS, Objects
from mlmake.stores.base import Fetch, Progress, Send, Store, unseen

_FORMAT = 1
_ACTIONS = "actions"
_BLOCK = 1 << 20
_FEW = 100
"""Contents up to which it is quicker to ask for each than to list what there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """One content that a record names: a file, or the listing of a folder."""

    digest: str
    kind: str
    size: int
    sha256: str
    executable: bool = False

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.digest[:2]}/{self.digest[2:]}"


@dataclass(frozen=True, slots=True)
class Record:
    """An action with all contents that bringing it back takes."""

    action: Action
    contents: tuple[Content, ...]


class Shared:
    """One store as a cache. Every method may be called from any thread; all raise StoreError, and OSError."""

    def __init__(self, store: Store, objects: Objects) -> None:
        self.store = store
        self._objects = objects

    # In.

    def find(self, key: str) -> Record | None:
        """The record of a key; None where there is none that can be read."""
        try:
            text = self.store.read(_action_key(key))
        except StoreMissing:
            return None
        return _decoded(text, key)

    def find_many(self, keys: Sequence[str], progress: Progress = unseen) -> list[Record]:
        """The records of those keys that have one."""
        folder = self._incoming()
        try:
            files = [Fetch(key=_action_key(key), target=os.path.join(folder, key)) for key in keys]
            failures = self.store.get_many(files, progress)
            _raise_first(each for each in failures if not isinstance(each, StoreMissing))
            found = (
                _decoded(_read(file.target), key)
                for file, key, failure in zip(files, keys, failures, strict=True)
                if failure is None
            )
            return [record for record in found if record]
        finally:
            _drop(folder)

    def keys(self) -> list[str]:
        """Every key that has a record."""
        return [each.key.removeprefix(f"{_ACTIONS}/").replace("/", "") for each in self.store.list(_ACTIONS)]

    def lacking(self, records: Iterable[Record]) -> list[Content]:
        """What of some records is not here."""
        named = {content.key: content for record in records for content in record.contents}
        return [each for each in named.values() if not os.path.exists(self._objects.path(each.digest, each.kind))]

    def pull(self, contents: Sequence[Content], progress: Progress = unseen) -> list[Content]:
        """Bring contents here and check them; those that are not there, or not what they are called."""
        folder = self._incoming()
        try:
            files = [Fetch(key=each.key, target=os.path.join(folder, each.key.replace("/", ""))) for each in contents]
            failures = self.store.get_many(files, progress)
            _raise_first(each for each in failures if not isinstance(each, StoreMissing))
            return [
                content
                for content, file, failure in zip(contents, files, failures, strict=True)
                if failure is not None or not self._take(content, file.target)
            ]
        finally:
            _drop(folder)

    def _take(self, content: Content, path: str) -> bool:
        """Take a file that came into the cache, if it is what it should be."""
        digest, sha256, size = _both(path)
        if (digest, sha256, size) != (content.digest, content.sha256, content.size):
            return False
        self._objects.adopt(path, content.digest, content.kind, content.executable)
        return True

    # Out.

    def push(self, actions: Sequence[Action], progress: Progress = unseen, known: set[str] | None = None) -> list[str]:
        """Send actions: first what they name, then their records. Gives the keys of those that are there now.

        `known` holds keys of contents that the store is known to have, and is added to.
        """
        known = set() if known is None else known
        records = [record for action in actions if (record := self._record(action))]
        wanted = {each.key: each for record in records for each in record.contents if each.key not in known}
        there = self._there(list(wanted))
        places = {key: self._objects.path(each.digest, each.kind) for key, each in wanted.items() if key not in there}
        _raise_first(self.store.put_many([Send(source=path, key=key) for key, path in places.items()], progress))
        known.update(wanted)
        folder = self._incoming()
        try:
            files = [Send(source=_write(folder, record), key=_action_key(record.action.key)) for record in records]
            _raise_first(self.store.put_many(files, progress))
        finally:
            _drop(folder)
        return [record.action.key for record in records]

    def _there(self, keys: Sequence[str]) -> set[str]:
        if len(keys) <= _FEW:
            return {key for key in keys if self.store.stat(key)}
        return {each.key for kind in (FILES, FOLDERS) for each in self.store.list(kind)}

    def _record(self, action: Action) -> Record | None:
        """An action with the digests of its contents; None if one of these is gone or damaged here."""
        contents = [content for kept in action.outputs if kept.is_kept for content in self._contents(kept.digest)]
        return Record(action, tuple(each for each in contents if each)) if all(contents) else None

    def _contents(self, digest: str) -> Iterator[Content | None]:
        kind = self._objects.kind_of(digest) or FILES
        yield self._content(digest, kind)
        if kind == FOLDERS:
            inside = self._objects.members(digest)
            files = dict.fromkeys(each.digest for each in inside or [] if each.digest)
            yield from (self._content(each, FILES) for each in files)
            if inside is None:
                yield None

    def _content(self, digest: str, kind: str) -> Content | None:
        path = self._objects.path(digest, kind)
        try:
            found, sha256, size = _both(path)
            executable = bool(os.stat(path).st_mode & 0o111)
        except OSError:
            return None
        if found != digest:
            return None
        return Content(digest=digest, kind=kind, size=size, sha256=sha256, executable=executable)

    def _incoming(self) -> str:
        folder = os.path.join(self._objects.folder, "incoming", uuid.uuid4().hex)
        os.makedirs(folder)
        return folder


def _action_key(key: str) -> str:
    return f"{_ACTIONS}/{key[:2]}/{key[2:]}"


def _both(path: str) -> tuple[str, str, int]:
    """xxh3_128, SHA-256 and bytes of a file, read once."""
    fast, strong, size = xxhash.xxh3_128(), hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            fast.update(block)
            strong.update(block)
            size += len(block)
    return fast.hexdigest(), strong.hexdigest(), size


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(folder: str, record: Record) -> str:
    action = record.action
    told = {
        "format": _FORMAT,
        "key": action.key,
        "step": action.step,
        "seconds": action.seconds,
        "outputs": [[each.name, each.digest, each.size, each.is_kept] for each in action.outputs],
        "contents": [[each.digest, each.kind, each.size, each.sha256, each.executable] for each in record.contents],
    }
    path = os.path.join(folder, action.key)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(told, file)
    return path


def _decoded(text: bytes, key: str) -> Record | None:
    """A record as it was sent; None if it is of another format, cut short, or of another key."""
    try:
        told = json.loads(text)
        if told["format"] != _FORMAT or told["key"] != key:
            return None
        contents = tuple(
            Content(digest=str(digest), kind=str(kind), size=int(size), sha256=str(sha256), executable=bool(executable))
            for digest, kind, size, sha256, executable in told["contents"]
        )
        outputs = tuple(
            Kept(str(name), str(digest), int(size), bool(kept)) for name, digest, size, kept in told["outputs"]
        )
        action = Action(key=key, step=str(told["step"]), outputs=outputs, seconds=float(told["seconds"]))
    except (ValueError, TypeError, KeyError):
        return None
    named = {content.digest for content in contents}
    is_whole = all(_is_content(each) for each in contents) and all(
        each.digest in named for each in outputs if each.is_kept
    )
    return Record(action, contents) if is_whole else None


def _is_content(content: Content) -> bool:
    """Nothing that would lead out of the cache."""
    is_hex = len(content.digest) == 32 and not content.digest.strip("0123456789abcdef")
    return is_hex and content.kind in (FILES, FOLDERS)


def _raise_first(failures: Iterable[StoreError | OSError | None]) -> None:
    for failure in failures:
        if failure is not None:
            raise failure


def _drop(folder: str) -> None:
    with suppress(OSError):
        for entry in os.scandir(folder):
            os.unlink(entry.path)
        os.rmdir(folder)
