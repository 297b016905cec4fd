"""Is what stands at the target what was at the source?"""

from __future__ import annotations

import os

import xxhash

from mlmake.errors import StoreChanged, StoreError, StoreMissing
from mlmake.services.transfer.sides import File
from mlmake.state.digests import Digest
from mlmake.state.hashing import hash_file
from mlmake.stores.base import Entry, Store
from mlmake.stores.version import digest_of, md5_of

_BLOCK = 8 << 20
_SUMS = ("etag ", "md5 ")


def is_one_content(source: Entry, target: Entry) -> bool:
    """Whether two stores give two files the same checksum."""
    same = source.size == target.size and source.version == target.version
    return same and source.is_exact and target.is_exact and source.version.startswith(_SUMS)


def check_sent(store: Store, entry: Entry, path: str) -> None:
    """A file that was sent from `path` holds the same bytes: by its checksum, else it is read back.

    Raises StoreError.
    """
    size = os.path.getsize(path)
    if entry.size != size:
        raise StoreError(f"{store.name}: {entry.key} arrived with {entry.size} bytes instead of {size}")
    known = digest_of(entry.version)
    if known and known == md5_of(path):
        return
    if entry.version.startswith("md5 ") or _read_back(store, entry) != hash_file(path)[0]:
        raise StoreError(f"{store.name}: {entry.key} arrived with other bytes than were sent")


def check_copied(file: File, target: Entry | None) -> None:
    """A copy that a store made by itself is of the version that was meant, as far as the store tells.

    Raises StoreError.
    """
    if file.store.stat(file.entry.key) != file.entry:
        raise StoreChanged(f"{file.url} was replaced while it was copied")
    if target is None:
        raise StoreMissing(f"the copy of {file.url} is not there")
    told = [entry.version for entry in (file.entry, target) if entry.version.startswith("md5 ")]
    if target.size != file.entry.size or len(set(told)) > 1:
        raise StoreError(f"the copy of {file.url} is another content: {target.version} instead of {file.entry.version}")


def check_read(file: File, known: Digest | None, path: str) -> Digest:
    """What arrived at `path`. Raises StoreChanged if it is not what the file is known to hold."""
    found = Digest(*hash_file(path))
    if known is not None and found != known:
        raise StoreChanged(f"{file.url} arrived with other bytes than it held before")
    return found


def _read_back(store: Store, entry: Entry) -> str:
    total = xxhash.xxh3_128()
    for start in range(0, entry.size, _BLOCK):
        total.update(store.read(entry.key, start, min(start + _BLOCK, entry.size)))
    return total.hexdigest()
