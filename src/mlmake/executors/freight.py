"""Contents to a host and back over one conversation: only what the other side lacks, large files from where they broke
off, everything checked where it arrives."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import xxhash

from mlmake.executors.base import Bring
from mlmake.model.job import Cargo
from mlmake.transports.link import Link

_LARGE = 4 << 20
"""Bytes of a block; smaller files travel together in one."""
_MOST_FILES = 2_000


class Entry(NamedTuple):
    """What stands at a path of a job's folder: a file, or a folder, whose path ends in a slash."""

    path: str
    size: int
    is_executable: bool
    digest: str


def send(link: Link, files: Iterable[Cargo], lacking: Mapping[str, int]) -> int:
    """Send what the host lacks: digest -> how much of it is there already. Gives the bytes of content sent.

    Raises OSError (a file is gone or has changed, the host's disk is full), HostError, HostUnavailable.
    """
    wanted = list({cargo.digest: cargo for cargo in files if cargo.digest in lacking}.values())
    sent = 0
    for pack in _packs(cargo for cargo in wanted if cargo.size <= _LARGE):
        sent += _send_pack(link, pack)
    for cargo in wanted:
        if cargo.size > _LARGE:
            sent += _send_large(link, cargo, lacking[cargo.digest])
    link.ask("sent")
    return sent


def listed(link: Link, job: str, paths: Sequence[str]) -> dict[str, list[Entry]]:
    """What stands at each path of a job's folder. Raises OSError, HostError, HostUnavailable."""
    _, body = link.ask("outputs", job=job, paths=list(paths))
    return {path: [Entry(*each) for each in entries] for path, entries in json.loads(body).items()}


def fetch(link: Link, job: str, places: Mapping[str, str], bring: Bring) -> None:
    """Bring what a job wrote: path in its folder -> absolute path here. What it did not write is not there after.

    Raises OSError, HostError, HostUnavailable.
    """
    found = listed(link, job, list(places))
    wanted: list[tuple[Entry, str]] = []
    for path, entries in found.items():
        for entry in entries:
            below = os.path.relpath(entry.path, path)
            target = places[path] if below == "." else os.path.join(places[path], below)
            if entry.path.endswith("/"):
                os.makedirs(target, exist_ok=True)
            elif not (entry.digest and bring(entry.digest, target, entry.is_executable)):
                wanted.append((entry, target))
    known = _fetch_files(link, job, wanted)
    if known:
        link.ask("adopt", json.dumps(known).encode(), job=job)


def _packs(files: Iterable[Cargo]) -> Iterator[list[Cargo]]:
    pack: list[Cargo] = []
    size = 0
    for cargo in files:
        if pack and (size + cargo.size > _LARGE or len(pack) >= _MOST_FILES):
            yield pack
            pack, size = [], 0
        pack.append(cargo)
        size += cargo.size
    if pack:
        yield pack


def _send_pack(link: Link, pack: Sequence[Cargo]) -> int:
    contents = []
    for cargo in pack:
        with open(cargo.source, "rb", buffering=0) as file:
            content = file.readall()
        if xxhash.xxh3_128_hexdigest(content) != cargo.digest:
            raise _changed(cargo)
        contents.append(content)
    told = [[c.digest, c.size, _check(link, content)] for c, content in zip(pack, contents, strict=True)]
    body = b"".join(contents)
    link.tell("pack", body, files=told, quiet=True)
    return len(body)


def _send_large(link: Link, cargo: Cargo, offset: int) -> int:
    hasher, other = xxhash.xxh3_128(), _other(link)
    sent = 0
    with open(cargo.source, "rb", buffering=0) as file:
        position = 0
        while position < cargo.size:
            limit = offset - position if position < offset else _LARGE
            block = _read(file, min(limit, _LARGE))
            if not block:
                raise _changed(cargo)
            hasher.update(block)
            other.update(block)
            position += len(block)
            if position > offset:
                if position >= cargo.size and hasher.hexdigest() != cargo.digest:
                    raise _changed(cargo)
                place = {"digest": cargo.digest, "size": cargo.size, "offset": position - len(block)}
                check = other.hexdigest() if position >= cargo.size else ""
                link.tell("part", block, is_flushed=False, check=check, quiet=True, **place)
                sent += len(block)
    return sent


def _read(file: Any, size: int) -> bytes:
    """So many bytes, or less at the file's end."""
    block: bytes = file.read(size)
    while block and len(block) < size and (more := file.read(size - len(block))):
        block += more
    return block


class _NoHash:
    """In place of a second hash, where the host computes ours."""

    def update(self, block: bytes) -> None:
        """Nothing to do."""

    def hexdigest(self) -> str:
        return ""


def _other(link: Link) -> Any:
    """The hash by which a host checks what arrives, if it cannot compute ours."""
    return _NoHash() if link.hello["digest"] else hashlib.blake2b(digest_size=16)


def _check(link: Link, content: bytes) -> str:
    hasher = _other(link)
    hasher.update(content)
    return str(hasher.hexdigest())


def _fetch_files(link: Link, job: str, wanted: Sequence[tuple[Entry, str]]) -> list[tuple[str, str]]:
    """Fetch files; those whose digest only we can tell, with it."""
    if not wanted:
        return []
    link.tell("get", json.dumps([entry.path for entry, _ in wanted]).encode(), job=job)
    known = []
    for entry, target in wanted:
        digest = _receive(link, target)
        if entry.digest and digest != entry.digest:
            raise OSError(errno.EIO, "it arrived damaged", target)
        if entry.is_executable:
            os.chmod(target, os.stat(target).st_mode | 0o111)
        if not entry.digest:
            known.append((entry.path, digest))
    link.answer()
    return known


def _receive(link: Link, target: str) -> str:
    hasher = xxhash.xxh3_128()
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        while True:
            head, block = link.answer()
            file.write(block)
            hasher.update(block)
            if head["last"]:
                return hasher.hexdigest()


def _changed(cargo: Cargo) -> OSError:
    return OSError(errno.EIO, "it changed while it was sent", cargo.source)
