"""What differs from place to place: the few calls that a store is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias, TypeVar

from mlmake.errors import StoreError
from mlmake.stores.base import Entry, Outcome, Progress, Traits
from mlmake.stores.voice import Voice

Pair: TypeAlias = tuple[str, str]
T = TypeVar("T")


class Drive(Protocol):
    """One kind of place: a folder, an object store, a host. `stores.store.DriveStore` makes a `Store` of it.

    1. A call is tried once; a file is brought or sent as it comes. Retries, temporary names, large files and checks are
       the store's business.
    2. `stat`, `list` and `read` do as the store's, except that a listing shows names of the store's own too.
    3. `fetch` brings whole files, each (key, path) to a path whose folder is there; `send` puts each (path, key).
       Both do many at once, with about one request a file, and give for each None or its error.
       A failed one may leave a part at the path or, unless `traits.atomic`, under the key.
    4. `rename` is needed unless `traits.atomic`: it takes the place of what stands under the new key in one step where
       the place can. `copy` is needed where `traits.server_copy`. `remove` passes over what is not there.
    5. An error is one of StoreError, told with `voice`; of this machine's own files it is OSError.
    6. Every method may be called from any thread.
    """

    traits: Traits
    voice: Voice

    def address(self, key: str) -> str: ...

    def stat(self, key: str) -> Entry | None: ...

    def list(self, folder: str) -> list[Entry]: ...

    def read(self, key: str, start: int, end: int | None) -> bytes: ...

    def fetch(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]: ...

    def send(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]: ...

    def rename(self, key: str, to: str) -> None: ...

    def copy(self, key: str, to: str) -> None: ...

    def remove(self, keys: Sequence[str]) -> None: ...

    def close(self) -> None: ...


def spread(work: Callable[[T], object], items: Sequence[T], width: int) -> list[Outcome]:
    """Do `work` for every item in up to `width` threads; for each None or its error."""

    def one(item: T) -> Outcome:
        try:
            work(item)
        except (StoreError, OSError) as error:
            return error
        return None

    if len(items) < 2 or width < 2:
        return [one(item) for item in items]
    with ThreadPoolExecutor(min(width, len(items)), thread_name_prefix="mlmake-store") as pool:
        return list(pool.map(one, items))


def stamped(key: str, size: int, mtime: str) -> Entry:
    """The entry of a file whose place knows size and time, and nothing better."""
    return Entry(key=key, size=size, version=f"size {size} mtime {mtime}", is_exact=False)
