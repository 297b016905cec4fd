"""Contents to a host and back over one conversation: only what the other side lacks, large files from where they broke
off, everything checked where it arrives."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from typing import Any, Literal

import xxhash

from mlmake.errors import HostUnavailable, LostContent
from mlmake.executors.base import Bring
from mlmake.model.job import Cargo, Entry
from mlmake.transports.agent.wire import Head
from mlmake.transports.link import Link

_LARGE = 4 << 20
"""Bytes of a block; smaller files travel together in one."""
_MOST_FILES = 2_000
_AT_ONCE = 32
"""Large files that are asked for with one question."""


def send(link: Link, files: Iterable[Cargo], lacking: Collection[str]) -> int:
    """Send what the host lacks, by digest. Gives the bytes of content sent.

    Raises OSError (a file is gone or has changed, the host's disk is full), LostContent, HostError, HostUnavailable.
    """
    wanted = list({cargo.digest: cargo for cargo in files if cargo.digest in lacking}.values())
    lost = tuple(cargo.digest for cargo in wanted if not cargo.source)
    if lost:
        raise LostContent(lost)
    large = [cargo for cargo in wanted if cargo.size > _LARGE]
    sent = 0
    for pack in _packs(cargo for cargo in wanted if cargo.size <= _LARGE):
        sent += _send_pack(link, pack)
    for start in range(0, len(large), _AT_ONCE):
        some = large[start : start + _AT_ONCE]
        told, _ = link.ask("want", json.dumps([(cargo.digest, cargo.size) for cargo in some]).encode())
        for cargo in some:
            if cargo.digest in told["begun"]:
                sent += _send_large(link, cargo, told["begun"][cargo.digest])
    link.ask("sent")
    return sent


@dataclass(slots=True)
class Fetch:
    """What a job wrote, on its way here: path in its folder -> absolute path here. A break loses nothing that has come.

    What the job did not write is not there after.
    """

    job: str
    places: Mapping[str, str]
    bring: Bring
    _coming: dict[str, _Coming] = field(default_factory=dict)

    def go(self, link: Link) -> None:
        """Raises OSError, HostError, HostUnavailable."""
        _, body = link.ask("outputs", json.dumps(list(self.places)).encode(), job=self.job)
        for path, told in json.loads(body).items():
            self._make_ready(path, [Entry(*each) for each in told])
        waiting = [each for each in self._coming.values() if not each.is_whole]
        if waiting:
            asked = json.dumps([(each.entry.path, each.size) for each in waiting]).encode()
            link.tell("get", asked, job=self.job)
            _receive(link, waiting)
        unknown = [(each.entry.path, each.hash.hexdigest()) for each in waiting if not each.entry.digest]
        if unknown:
            link.ask("adopt", json.dumps(unknown).encode(), job=self.job)

    def _make_ready(self, path: str, entries: Sequence[Entry]) -> None:
        place = self.places[path]
        if os.path.isdir(place) and not (entries and entries[0].path.endswith("/")):
            shutil.rmtree(place)  # it was made for a folder that the job has removed, or put a file in place of
        for entry in entries:
            target = place + entry.path[len(path.rstrip("/")) :]
            if entry.path.endswith("/"):
                os.makedirs(target, exist_ok=True)
            elif entry.path not in self._coming:
                coming = self._coming[entry.path] = _Coming(entry, target)
                coming.is_whole = bool(entry.digest) and self.bring(entry.digest, target, entry.is_executable)


def keep(link: Link, job: str, paths: Sequence[str]) -> dict[str, tuple[Entry, ...]]:
    """Let outputs of a job stay on the host; what it keeps now, without what it cannot. Raises OSError, HostError."""
    _, body = link.ask("keep", json.dumps(list(paths)).encode(), job=job)
    return {path: tuple(Entry(*each) for each in told) for path, told in json.loads(body).items()}


@dataclass(slots=True)
class Take:
    """What stayed on the host, on its way here: files, and absolute paths here. A break loses nothing that has come."""

    wanted: Sequence[tuple[Entry, str]]
    bring: Bring
    _coming: list[_Coming] = field(default_factory=list)

    def go(self, link: Link) -> None:
        """Raises OSError, LostContent, HostError, HostUnavailable."""
        for entry, target in self.wanted[len(self._coming) :]:
            coming = _Coming(entry, target)
            coming.is_whole = self.bring(entry.digest, target, entry.is_executable)
            self._coming.append(coming)
        waiting = [each for each in self._coming if not each.is_whole]
        asked = [(each.entry.digest, each.entry.size, each.size) for each in waiting]
        link.tell("take", json.dumps(asked).encode())
        missing = _receive(link, waiting).get("missing")
        if missing:
            raise LostContent(tuple(missing))


def _receive(link: Link, waiting: Sequence[_Coming]) -> Head:
    """Take in files in blocks of parts; what is said after them."""
    while True:
        head, block = link.answer()
        if "parts" not in head:
            return head
        start = 0
        for number, size, is_last in head["parts"]:
            waiting[number].add(memoryview(block)[start : start + size], is_last=is_last)
            start += size
        _go_on(link)


@dataclass(slots=True)
class _Coming:
    """One file on its way here."""

    entry: Entry
    target: str
    size: int = 0
    hash: Any = field(default_factory=xxhash.xxh3_128)
    is_whole: bool = False

    def add(self, block: memoryview, *, is_last: bool) -> None:
        """Raises OSError."""
        with self._opened() as file:
            while block:
                written = file.write(block)
                self.hash.update(block[:written])
                self.size += written
                block = block[written:]
        if is_last:
            self._check()

    def _opened(self) -> FileIO:
        mode: Literal["ab", "wb"] = "ab" if self.size else "wb"
        try:
            return open(self.target, mode, buffering=0)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.target), exist_ok=True)
            return open(self.target, mode, buffering=0)

    def _check(self) -> None:
        if self.entry.digest and self.hash.hexdigest() != self.entry.digest:
            raise OSError(errno.EIO, "it arrived damaged", self.target)
        if self.entry.is_executable:
            os.chmod(self.target, os.stat(self.target).st_mode | 0o111)
        self.is_whole = True


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
    _go_on(link)
    contents = []
    for cargo in pack:
        with open(cargo.source, "rb", buffering=0) as file:
            content = file.read(cargo.size + 1)
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
            _go_on(link)
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


def _go_on(link: Link) -> None:
    if link.is_stopping():
        raise HostUnavailable("the build was stopped")


def _changed(cargo: Cargo) -> OSError:
    return OSError(errno.EIO, "it changed while it was sent", cargo.source)
