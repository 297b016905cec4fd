"""What a store is to everything above it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mlmake.errors import StoreError

Progress: TypeAlias = Callable[[int], object]
"""Told how many bytes have moved since it was last told; less than 0 where bytes that came in vain are thrown away.
It may be called from any thread."""


Outcome: TypeAlias = StoreError | OSError | None
"""How one of many files went: None is well."""


def unseen(moved: int) -> None:
    """The progress that nobody watches."""


def raise_first(outcomes: Iterable[Outcome], but: type[Exception] | tuple[type[Exception], ...] = ()) -> None:
    """Raise the first error among what `get_many` or `put_many` gave, passing over some kinds."""
    for outcome in outcomes:
        if outcome is not None and not isinstance(outcome, but):
            raise outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of a store, as it stood when it was looked at.

    Attributes:
        key: `a/b.csv`, below the store's url.
        size: in bytes.
        version: what tells this content from another: `etag 9b2c…`, `md5 …`, `generation 17`, or
            `size 12 mtime 1712345678.25` where the store has nothing better. Equal texts, equal content.
        is_exact: the version comes from a checksum or a version of the store, not from size and time.
    """

    key: str
    size: int
    version: str
    is_exact: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What a store can do, as data.

    Attributes:
        atomic: what is sent under a key appears whole or not at all; elsewhere `put` renames.
        server_copy: a copy inside the store moves no bytes through this machine.
        exact: its entries have exact versions.
        patient: its driver tries again by itself, so that one more try is enough.
        local: its files are files of this machine, and `address` is their path.
    """

    atomic: bool
    server_copy: bool = False
    exact: bool = False
    patient: bool = False
    local: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetch:
    """One file to bring here.

    Attributes:
        key: what.
        target: the path on this machine; the folders above it are made.
        entry: the version that is wanted, as `list` or `stat` told it. None takes what stands there, and spares
            looking it up: for a caller who knows the content by its digest.
    """

    key: str
    target: str
    entry: Entry | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """One file of this machine, `source`, to put under `key`."""

    source: str
    key: str


class Store(Protocol):
    """The files below one url, each under a key: `a/b.csv`, without a leading `/`, `.` or `..`.

    1. A key is taken as it is: spaces, `#`, `%`, `*` and the like have no meaning. There are no folders, only
       files; an empty folder is not there. Names that end in `.mlmake-part` are the store's own, and nobody sees them.
    2. `stat` gives a file's entry, or None. `list` gives the entries of all files below a folder ("" is the top), by
       key, in one sweep instead of a call for each file, and an empty list where nothing is. Both tell one version.
    3. `read` gives the bytes from `start` up to `end` (None: to the last), fewer where the file ends before.
    4. `get` brings one file to `target`: whole or not at all, and all of one version. Large files come in ranges
       and in parallel; after a break the next `get` of the same version goes on where this one ended. Where `entry`
       is given, that version comes or StoreChanged is raised; else the present one comes, however often it is
       replaced meanwhile (within limits). It gives the entry of what came.
    5. `put` sends one file: readers see it whole or not at all, at every moment, also if this process is killed. What
       stood under the key before stands there until then.
    6. `get_many` and `put_many` do as 4 and 5 for many files, in parallel and with as few requests as can be. One
       failure stops no other: they give for each file, in the order asked, None or the error that `get` or `put` would
       have raised. (The versions of what was put are one `list` away.)
    7. `copy` makes `to` the same content as `key`, on the server where `traits.server_copy`. `remove` takes files away;
       what is not there is no error.
    8. Errors: StoreMissing where a file to read is not there; StoreUnavailable after every retry failed; any other
       StoreError is wrong for ever. A message names store and key, and no secret. Errors of this machine's own
       files are OSError.
    9. Every method may be called from any thread. `close` ends connections; a store that is used again opens them anew.
    """

    name: str
    """Of the datastore, for messages."""
    url: str
    """Without secrets."""
    traits: Traits

    def address(self, key: str) -> str:
        """The full url of a key, for a step that reads or writes it itself; a path where `traits.local`."""
        ...

    def stat(self, key: str) -> Entry | None: ...

    def list(self, folder: str = "") -> list[Entry]: ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes: ...

    def get(self, key: str, target: str, *, entry: Entry | None = None, progress: Progress = unseen) -> Entry: ...

    def put(self, source: str, key: str, progress: Progress = unseen) -> Entry: ...

    def get_many(self, files: Sequence[Fetch], progress: Progress = unseen) -> Sequence[Outcome]: ...

    def put_many(self, files: Sequence[Send], progress: Progress = unseen) -> Sequence[Outcome]: ...

    def copy(self, key: str, to: str) -> None: ...

    def remove(self, keys: Sequence[str]) -> None: ...

    def close(self) -> None: ...
