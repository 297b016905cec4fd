"""The shared cache: actions and contents in a store that several projects and people use.

`actions/KEY` is a record (JSON), `files/…` and `folders/…` are contents by xxh3_128, as they are kept locally. A record
is written after all contents that it names, so who sees it can have them. It names a SHA-256 beside each digest: an
xxh3 can be forged, so a content counts only if both fit.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import xxhash

from mlmake.errors import StoreChanged, StoreError, StoreMissing, StoreUnavailable
from mlmake.state.cache import Action
from mlmake.state.manifests import ACTIONS, Content, Record, action_key, content_key, decoded, encoded
from mlmake.state.objects import FILES, FOLDERS, Objects
from mlmake.stores.base import Entry, Fetch, Outcome, Progress, Send, Store, raise_first, unseen

Piece: TypeAlias = tuple[str, str]
"""A content here: its digest and its kind."""
T = TypeVar("T")
R = TypeVar("R")

_INCOMING = "incoming"
_BLOCK = 1 << 20
_LARGE = 8 << 20
"""Bytes from which on a content is looked up first: its size is compared, and it comes in ranges."""
_WIDTH = 32
"""Questions that are asked at once."""
_PAGE = 1000
"""Entries that object stores list in one answer."""
_PARTS = 256
"""Folders over which contents and records are spread evenly."""
_HASHERS = 4


@dataclass(frozen=True, slots=True)
class Refused:
    """A content that could not be had from the store, and why."""

    content: Content
    why: str

    def __str__(self) -> str:
        return f"{self.content.key} {self.why}"


@dataclass(frozen=True, slots=True)
class Load:
    """What the store lacks of some actions: those that lack something, and the contents, by key with their bytes."""

    actions: tuple[Action, ...]
    contents: Mapping[str, int]

    @property
    def size(self) -> int:
        return sum(self.contents.values())


@dataclass(frozen=True, slots=True)
class Pushed:
    """How a push went: keys of actions that are in the store now, and actions whose contents are not whole here."""

    keys: tuple[str, ...]
    unsound: tuple[Action, ...]
    objects: int
    size: int


def _ignored(_: str) -> None:
    """Nobody listens."""


class Shared:
    """One store as a cache. Every method may be called from any thread; all raise StoreError, and OSError.

    `notice` is told of records that are there and cannot be read.
    """

    def __init__(self, store: Store, objects: Objects, notice: Callable[[str], object] = _ignored) -> None:
        self.store = store
        self._objects = objects
        self._notice = notice
        self._measured: dict[Piece, Content] = {}
        self._there: set[str] = set()
        self._spoilt: set[str] = set()  # what stands there is not what it should be, so it is sent again

    # In.

    def find(self, key: str) -> Record | None:
        """The record of a key; None where there is none that can be read."""
        try:
            text = self.store.read(action_key(key))
        except StoreMissing:
            return None
        return self._decoded(text, key)

    def find_many(self, keys: Sequence[str], progress: Progress = unseen) -> list[Record]:
        """The records of those keys that have one."""
        with self._incoming() as folder:
            files = [Fetch(key=action_key(key), target=os.path.join(folder, key)) for key in keys]
            failures = self.store.get_many(files, progress)
            raise_first(failures, but=StoreMissing)
            found = (
                self._decoded(_read(file.target), key)
                for file, key, failure in zip(files, keys, failures, strict=True)
                if failure is None
            )
            return [record for record in found if record]

    def lacking(self, records: Iterable[Record]) -> list[Content]:
        """What of some records is not here."""
        named = {content.key: content for record in records for content in record.contents}
        return [each for each in named.values() if not os.path.exists(self._objects.path(each.digest, each.kind))]

    def pull(self, contents: Sequence[Content], progress: Progress = unseen) -> list[Refused]:
        """Bring contents here, and take those that are what they are called; gives the others."""
        entries = self._entries([each for each in contents if each.size >= _LARGE])
        refused = [why for each in contents if each.key in entries and (why := _judged(each, entries[each.key]))]
        out = {each.content.key for each in refused}
        wanted = [each for each in contents if each.key not in out]
        with self._incoming() as folder:
            files = [
                Fetch(key=each.key, target=os.path.join(folder, each.key.replace("/", "")), entry=entries.get(each.key))
                for each in wanted
            ]
            outcomes = self.store.get_many(files, progress)
            raise_first(outcomes, but=(StoreMissing, StoreChanged))
            came = list(zip(wanted, (file.target for file in files), outcomes, strict=True))
            refused += [why for why in _at_once(self._took, came, _HASHERS) if why]
        spoilt = {each.content.key for each in refused}
        self._spoilt |= spoilt
        self._there -= spoilt
        return refused

    def _entries(self, contents: Sequence[Content]) -> dict[str, Entry | None]:
        keys = [each.key for each in contents]
        return dict(zip(keys, _at_once(self.store.stat, keys, _WIDTH), strict=True))

    def _took(self, came: tuple[Content, str, Outcome]) -> Refused | None:
        """Take a file that came into the cache, if it is what it should be."""
        content, path, outcome = came
        if outcome is not None:
            return Refused(content, "is gone" if isinstance(outcome, StoreMissing) else "was replaced meanwhile")
        digest, sha256, size = _both(path)
        if (digest, sha256, size) != (content.digest, content.sha256, content.size):
            return Refused(content, "holds other bytes than its record names")
        self._objects.adopt(path, content.digest, content.kind, content.executable)
        return None

    def _decoded(self, text: bytes, key: str) -> Record | None:
        record = decoded(text, key)
        if record is None:
            self._notice(f"{action_key(key)} cannot be read: it is cut short, or of another version of mlmake")
        return record

    # Out.

    def load(self, actions: Sequence[Action]) -> Load:
        """What the store lacks of actions. Nothing is read here but the listings of folders."""
        named = [(action, self._pieces(action)) for action in actions]
        keys = {content_key(*piece): piece for _, pieces in named for piece in pieces or ()}
        there = self._known([*keys, *(action_key(action.key) for action in actions)])
        lacking = {key: self._size(piece) for key, piece in keys.items() if key not in there}
        incomplete = [
            action
            for action, pieces in named
            if action_key(action.key) not in there
            or pieces is None
            or any(content_key(*piece) in lacking for piece in pieces)
        ]
        return Load(tuple(incomplete), lacking)

    def push(
        self, actions: Sequence[Action], progress: Progress = unseen, lacking: Collection[str] | None = None
    ) -> Pushed:
        """Send actions: first what they name, then their records. `lacking` is what `load` said, if it was asked."""
        records = self._records(actions)
        wanted = {each.key: each for record in records for each in record.contents}
        if lacking is None:
            there = self._known(list(wanted))
            lacking = wanted.keys() - there
        sent = [each for key, each in wanted.items() if key in lacking and key not in self._there]
        gone = self._sent(sent, progress)
        whole = [record for record in records if not gone & {each.key for each in record.contents}]
        self._write(whole)
        keys = tuple(record.action.key for record in whole)
        return Pushed(
            keys,
            tuple(action for action in actions if action.key not in {*keys}),
            len(sent) - len(gone),
            sum(each.size for each in sent if each.key not in gone),
        )

    def _sent(self, contents: Sequence[Content], progress: Progress) -> set[str]:
        """Send contents; the keys of those whose files here are gone."""
        sources = [self._objects.path(each.digest, each.kind) for each in contents]
        files = [Send(source=path, key=each.key) for path, each in zip(sources, contents, strict=True)]
        outcomes = self.store.put_many(files, progress)
        done = {file.key for file, outcome in zip(files, outcomes, strict=True) if outcome is None}
        self._there |= done
        self._spoilt -= done
        gone = {file.key for file in files if file.key not in done and not os.path.exists(file.source)}
        raise_first(outcome for file, outcome in zip(files, outcomes, strict=True) if file.key not in gone)
        return gone

    def _write(self, records: Sequence[Record]) -> None:
        with self._incoming() as folder:
            files = []
            for record in records:
                path = os.path.join(folder, record.action.key)
                with open(path, "wb") as file:
                    file.write(encoded(record))
                files.append(Send(source=path, key=action_key(record.action.key)))
            raise_first(self.store.put_many(files))

    def _known(self, keys: Sequence[str]) -> set[str]:
        """Those keys that the store has. Where it may be written and not read, none that it has not from us."""
        asked = [key for key in keys if key not in self._there and key not in self._spoilt]
        try:
            found = self._listed(asked) if self._is_listing_quicker(len(asked)) else self._stated(asked)
        except StoreUnavailable:
            raise
        except StoreError:
            found = set()
        self._there |= found
        return {key for key in keys if key in self._there}

    def _is_listing_quicker(self, asked: int) -> bool:
        """Whether it takes fewer answers to list all than to ask for each; one folder tells how much there is."""
        if asked <= 2 * _WIDTH:
            return False
        return len(self.store.list(f"{FILES}/00")) * _PARTS / _PAGE < asked / _WIDTH

    def _listed(self, keys: Sequence[str]) -> set[str]:
        kinds = {key.partition("/")[0] for key in keys} & {FILES, FOLDERS, ACTIONS}
        found = {each.key for kind in kinds for each in self.store.list(kind)}
        return {key for key in keys if key in found}

    def _stated(self, keys: Sequence[str]) -> set[str]:
        return {key for key, entry in zip(keys, _at_once(self.store.stat, keys, _WIDTH), strict=True) if entry}

    # What is here.

    def _pieces(self, action: Action) -> list[Piece] | None:
        """The contents of an action; None if one of its folders cannot be read."""
        pieces: dict[Piece, None] = {}
        for digest in (kept.digest for kept in action.outputs if kept.is_kept):
            kind = self._objects.kind_of(digest) or FILES
            pieces[digest, kind] = None
            if kind == FOLDERS:
                inside = self._objects.members(digest)
                if inside is None:
                    return None
                pieces.update(((each.digest, FILES), None) for each in inside if each.digest)
        return list(pieces)

    def _records(self, actions: Sequence[Action]) -> list[Record]:
        """Actions with the digests of their contents, but those of which something is gone or damaged here."""
        named = [(action, self._pieces(action)) for action in actions]
        new = {piece: None for _, pieces in named for piece in pieces or () if piece not in self._measured}
        found = zip(new, _at_once(self._content, list(new), _HASHERS), strict=True)
        self._measured.update((piece, content) for piece, content in found if content)
        return [
            Record(action, tuple(self._measured[piece] for piece in pieces))
            for action, pieces in named
            if pieces is not None and all(piece in self._measured for piece in pieces)
        ]

    def _content(self, piece: Piece) -> Content | None:
        path = self._objects.path(*piece)
        try:
            digest, sha256, size = _both(path)
            executable = bool(os.stat(path).st_mode & 0o111)
        except OSError:
            return None
        if digest != piece[0]:
            return None
        return Content(digest=digest, kind=piece[1], size=size, sha256=sha256, executable=executable)

    def _size(self, piece: Piece) -> int:
        try:
            return os.path.getsize(self._objects.path(*piece))
        except OSError:
            return 0

    @contextmanager
    def _incoming(self) -> Iterator[str]:
        """A folder for what is on its way, on the disk of the cache."""
        folder = os.path.join(self._objects.folder, _INCOMING, uuid.uuid4().hex)
        os.makedirs(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(objects: Objects) -> None:
    """Remove what others who died left on its way. The project's lock is held: nobody is at it."""
    shutil.rmtree(os.path.join(objects.folder, _INCOMING), ignore_errors=True)


def _judged(content: Content, entry: Entry | None) -> Refused | None:
    """What can be said of a content without bringing it."""
    if entry is None:
        return Refused(content, "is gone")
    if entry.size != content.size:
        return Refused(content, f"has {entry.size} bytes, and its record names {content.size}")
    return None


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


def _at_once(work: Callable[[T], R], items: Sequence[T], width: int) -> list[R]:
    """`work` for every item, in up to `width` threads. Raises what the first that fails raises."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(width, len(items)), thread_name_prefix="mlmake-shared") as pool:
        return list(pool.map(work, items))
