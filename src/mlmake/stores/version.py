"""What fsspec's drivers know of a file -> its entry, with the best version that there is."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import md5
from typing import Any

from mlmake.stores.base import Entry
from mlmake.stores.drive import stamped

_MD5 = re.compile(r"(?:md5|etag) (?P<digest>[0-9a-f]{32})")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "Last-Modified", "created")


def entry_of(key: str, info: Mapping[str, Any]) -> Entry:
    """The entry of a file that fsspec tells of: its checksum, else its version, else size and time."""
    size = int(info.get("size") or 0)
    version = next(_versions(info), "")
    if version:
        return Entry(key=key, size=size, version=version, is_exact=not version.startswith("etag W/"))
    return stamped(key, size, next((_time(info[name]) for name in _TIMES if info.get(name) is not None), "unknown"))


def digest_of(version: str) -> str:
    """The md5 that a version surely is, or "". An etag of an md5's form may be one."""
    match = _MD5.fullmatch(version)
    return match["digest"] if match else ""


def md5_of(path: str) -> str:
    """The md5 of a file of this machine."""
    digest = md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _versions(info: Mapping[str, Any]) -> Iterator[str]:
    """Best first. An equal checksum means equal content; a generation grows with every write."""
    if info.get("md5Hash"):
        yield f"md5 {b64decode(info['md5Hash']).hex()}"
    if info.get("generation"):
        yield f"generation {info['generation']}"
    for name in ("ETag", "etag"):
        if info.get(name):
            yield "etag " + str(info[name]).strip('"')


def _time(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
