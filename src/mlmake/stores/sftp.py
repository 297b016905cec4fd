"""A folder of a host that has SSH. Unknown host keys are refused.

fsspec has an SFTP file system; it takes every host key that it sees, and its one connection is not made for threads.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import paramiko

from mlmake.errors import StoreError, StoreMissing, StoreUnavailable
from mlmake.stores.base import Entry, Outcome, Progress, Traits
from mlmake.stores.drive import Pair, spread, stamped
from mlmake.stores.lender import Lender
from mlmake.stores.login import Login, connected
from mlmake.stores.trouble import is_ours, told
from mlmake.stores.voice import Voice

_WIDTH = 8
"""Channels of one connection; an sshd allows ten."""
_SILENCE = 60.0
_BLOCK = 1 << 20
_REQUESTS = 64
_ANSWERS = (FileNotFoundError, PermissionError, StoreMissing)
"""Errors that are answers: the channel is as good as before."""


class SftpDrive:
    """Files below a folder of a host; the path of the URL is absolute there."""

    traits = Traits(atomic=False)

    def __init__(self, url: str, options: Mapping[str, Any], voice: Voice) -> None:
        self.voice = voice
        self._url = url.rstrip("/")
        self._login = Login.of(url, options, voice)
        self._root = "/" + url.partition("://")[2].partition("/")[2].strip("/")
        self._client: paramiko.SSHClient | None = None
        self._lock = threading.Lock()
        self._channels: Lender[paramiko.SFTPClient] = Lender(self._channel, _end, _WIDTH, _ANSWERS)

    def address(self, key: str) -> str:
        return f"{self._url}/{key}"

    def stat(self, key: str) -> Entry | None:
        try:
            with self._lent(key) as channel:
                found = channel.stat(self._path(key))
        except StoreMissing:
            return None
        return _entry(key, found) if stat.S_ISREG(found.st_mode or 0) else None

    def list(self, folder: str) -> list[Entry]:
        with self._lent(folder) as channel:
            return sorted(_below(channel, self._path(folder), folder, ()), key=lambda entry: entry.key)

    def read(self, key: str, start: int, end: int | None) -> bytes:
        with self._lent(key) as channel, channel.open(self._path(key), "rb") as file:
            size = self._size(key, file)
            length = (size if end is None else min(end, size)) - start
            return b"".join(file.readv([(start, length)])) if length > 0 else b""

    def fetch(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        def one(pair: Pair) -> None:
            with (
                self._lent(pair[0], pair[1]) as channel,
                channel.open(self._path(pair[0]), "rb") as file,
                open(pair[1], "wb") as target,
            ):
                file.prefetch(self._size(pair[0], file), _REQUESTS)
                while block := file.read(_BLOCK):
                    target.write(block)
                    progress(len(block))

        return spread(one, pairs, _WIDTH)

    def send(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        def one(pair: Pair) -> None:
            with self._lent(pair[1], pair[0]) as channel, open(pair[0], "rb") as source:
                with self._created(channel, self._path(pair[1])) as file:
                    file.set_pipelined(True)
                    while block := source.read(_BLOCK):
                        file.write(block)
                        progress(len(block))
                if channel.stat(self._path(pair[1])).st_size != source.tell():
                    raise self.voice.error(StoreUnavailable, pair[1], "arrived short", self.voice.unavailable_hint())

        return spread(one, pairs, _WIDTH)

    def rename(self, key: str, to: str) -> None:
        with self._lent(key) as channel:
            _make_folders(channel, os.path.dirname(self._path(to)))
            channel.posix_rename(self._path(key), self._path(to))

    def copy(self, key: str, to: str) -> None:
        raise self.voice.error(StoreError, key, "SFTP copies nothing on the server")

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            with suppress(StoreMissing), self._lent(key) as channel:
                channel.remove(self._path(key))

    def close(self) -> None:
        self._channels.close()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}" if key else self._root

    @contextmanager
    def _lent(self, key: str, path: str = "") -> Iterator[paramiko.SFTPClient]:
        """A channel for one call about a key, and a file of this machine. Raises StoreError, and OSError for that."""
        try:
            with self._channels.lend() as channel:
                yield channel
        except Exception as error:
            if self._is_down():
                self._channels.close()  # none of them works any more
            if path and is_ours(error, path):
                raise
            raise told(self.voice, key, error) from None

    def _is_down(self) -> bool:
        transport = self._client.get_transport() if self._client else None
        return transport is None or not transport.is_active()

    def _channel(self) -> paramiko.SFTPClient:
        with self._lock:
            if self._client is None or self._is_down():
                self._client = connected(self._login, self.voice)
            channel = self._client.open_sftp()
        if found := channel.get_channel():
            found.settimeout(_SILENCE)
        return channel

    def _size(self, key: str, file: paramiko.SFTPFile) -> int:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode or 0):
            raise self.voice.error(StoreMissing, key, "is not there")
        return found.st_size or 0

    def _created(self, channel: paramiko.SFTPClient, path: str) -> paramiko.SFTPFile:
        try:
            return channel.open(path, "wb")
        except FileNotFoundError:
            _make_folders(channel, os.path.dirname(path))
            return channel.open(path, "wb")


def _end(channel: paramiko.SFTPClient) -> None:
    with suppress(Exception):  # it may be closed from the other side
        channel.close()


def _make_folders(channel: paramiko.SFTPClient, path: str) -> None:
    """As `mkdir -p`; another may make the same at the same time."""
    try:
        channel.stat(path)
    except FileNotFoundError:
        _make_folders(channel, os.path.dirname(path))
        with suppress(OSError):
            channel.mkdir(path)


def _below(channel: paramiko.SFTPClient, path: str, folder: str, above: tuple[str, ...]) -> Iterator[Entry]:
    """Every file below a folder. Links are followed, but never into a folder that the walk is in."""
    try:
        real = channel.normalize(path)
        items = [] if real in above else channel.listdir_attr(path)
    except FileNotFoundError:
        return
    for item in items:
        key = f"{folder}/{item.filename}" if folder else item.filename
        found = _behind(channel, f"{path.rstrip('/')}/{item.filename}", item)
        if found is not None and stat.S_ISDIR(found.st_mode or 0):
            yield from _below(channel, f"{path.rstrip('/')}/{item.filename}", key, (*above, real))
        elif found is not None and stat.S_ISREG(found.st_mode or 0):
            yield _entry(key, found)


def _behind(channel: paramiko.SFTPClient, path: str, item: paramiko.SFTPAttributes) -> paramiko.SFTPAttributes | None:
    """What a link points to, if anything; what is no link is itself."""
    if not stat.S_ISLNK(item.st_mode or 0):
        return item
    try:
        return channel.stat(path)
    except FileNotFoundError:
        return None


def _entry(key: str, found: paramiko.SFTPAttributes) -> Entry:
    return stamped(key, found.st_size or 0, str(found.st_mtime))
