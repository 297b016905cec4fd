"""Any place that fsspec reaches. Object stores are spoken to asynchronously: many small files in few connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from fsspec.asyn import AsyncFileSystem, get_loop
from fsspec.callbacks import Callback
from fsspec.spec import AbstractFileSystem

from mlmake.errors import StoreError, StoreMissing
from mlmake.stores.base import Entry, Outcome, Progress, Traits
from mlmake.stores.drive import Pair
from mlmake.stores.drivers import PATIENT, WEB, opened
from mlmake.stores.trouble import is_ours, told
from mlmake.stores.version import entry_of
from mlmake.stores.voice import Voice

_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", *WEB}
"""What they take appears whole; elsewhere a file is sent under another name and renamed."""
_WIDTH = 64
T = TypeVar("T")


class RemoteDrive:
    """Files below a URL of fsspec. A file system that is not asynchronous does one call at a time."""

    def __init__(self, url: str, options: Mapping[str, Any], voice: Voice) -> None:
        self.voice = voice
        self._url = url.rstrip("/")
        self._scheme = url.partition("://")[0]
        self._fs, root = opened(url, self._scheme, options, voice)
        self._root = root.rstrip("/")
        self._turn = asyncio.Lock()
        is_whole = self._scheme in _WHOLE
        self.traits = Traits(
            atomic=is_whole,
            server_copy=is_whole and self._scheme not in WEB,
            exact=is_whole,
            patient=self._scheme in PATIENT,
        )

    def address(self, key: str) -> str:
        return f"{self._url}/{key}"

    def stat(self, key: str) -> Entry | None:
        try:
            info = self._wait(key, self._call("info", self._path(key)))
        except StoreMissing:
            return None
        return entry_of(key, info) if info.get("type", "file") == "file" else None

    def list(self, folder: str) -> list[Entry]:
        return sorted(self._wait(folder, self._entries(self._path(folder))), key=lambda entry: entry.key)

    def read(self, key: str, start: int, end: int | None) -> bytes:
        if end is not None and end <= start:
            return b""
        return bytes(self._wait(key, self._call("cat_file", self._path(key), start=start, end=end)))

    def fetch(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        async def one(key: str, path: str) -> None:
            await self._move("get_file", (self._path(key), path), path, progress)

        return self._wait("", self._many((key, path, one(key, path)) for key, path in pairs))

    def send(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        async def one(path: str, key: str) -> None:
            os.stat(path)  # fsspec would tell of a missing file as if it were the store's
            await self._make_folder(key)
            await self._move("put_file", (path, self._path(key)), path, progress)

        return self._wait("", self._many((key, path, one(path, key)) for path, key in pairs))

    def rename(self, key: str, to: str) -> None:
        self._wait(key, self._rename(key, to))

    def copy(self, key: str, to: str) -> None:
        self._wait(key, self._call("cp_file", self._path(key), self._path(to)))

    def remove(self, keys: Sequence[str]) -> None:
        calls = [(key, "", self._call("rm_file", self._path(key))) for key in keys]
        for outcome in self._wait("", self._many(calls)):
            if outcome is not None and not isinstance(outcome, StoreMissing):
                raise outcome

    def close(self) -> None:
        """The driver closes its connections when nothing uses it any more."""

    async def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """One call of the file system by its name."""
        if self._fs.async_impl:
            return await getattr(self._fs, f"_{name}")(*arguments, **options)
        async with self._turn:  # such file systems (ftp, smb …) have one connection and are not made for threads
            return await asyncio.to_thread(getattr(self._fs, name), *arguments, **options)

    def _wait(self, key: str, work: Coroutine[Any, Any, T]) -> T:
        """The result of work that fsspec's loop does. Raises StoreError, without a driver's traceback."""
        future = asyncio.run_coroutine_threadsafe(work, self._fs.loop if self._fs.async_impl else get_loop())
        try:
            return future.result()
        except Exception as error:
            raise told(self.voice, key, error) from None
        finally:
            future.cancel()  # of what an interrupt left behind

    async def _many(self, calls: Iterable[tuple[str, str, Coroutine[Any, Any, None]]]) -> Sequence[Outcome]:
        """Do many calls at once, each for a key and a path of this machine; for each None or its error."""
        gate = asyncio.Semaphore(_WIDTH)

        async def one(key: str, path: str, work: Coroutine[Any, Any, None]) -> Outcome:
            async with gate:
                try:
                    await work
                except Exception as error:
                    if isinstance(error, OSError) and is_ours(error, path):
                        return error
                    return told(self.voice, key, error)
            return None

        return await asyncio.gather(*(one(*call) for call in calls))

    async def _move(self, name: str, arguments: Pair, path: str, progress: Progress) -> None:
        seen = Seen(progress)
        try:
            await self._call(name, *arguments, callback=seen)
        except BaseException:
            seen.reach(0)
            raise
        seen.reach(os.path.getsize(path))

    async def _make_folder(self, key: str) -> None:
        if not self.traits.atomic:
            await self._call("makedirs", self._path(key).rpartition("/")[0], exist_ok=True)

    async def _rename(self, key: str, to: str) -> None:
        await self._make_folder(to)
        if type(self._fs).mv is not AbstractFileSystem.mv:
            await self._call("mv", self._path(key), self._path(to))
            return
        await self._call("cp_file", self._path(key), self._path(to))  # fsspec's own mv would read a `*` in a name
        await self._call("rm_file", self._path(key))

    async def _entries(self, top: str) -> Sequence[Entry]:
        start = len(self._root) + 1
        return [
            entry_of(self._key(info["name"][start:]), info if info.get("size") is not None else await self._look(info))
            for info in await self._infos(top)
            if info["type"] == "file" and info["name"].startswith(f"{top}/") and not info["name"].endswith("/")
        ]

    async def _look(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is known of one file: a listing of a web server has names alone."""
        found: Mapping[str, Any] = await self._call("info", info["name"])
        return found

    async def _infos(self, top: str) -> Iterable[Mapping[str, Any]]:
        """Everything below a folder: in pages where the place can, else folder by folder."""
        own: Callable[..., Any] | None = getattr(type(self._fs), "_find", None)
        if own is not None and own is not AsyncFileSystem._find:
            try:
                return list((await own(self._fs, top, detail=True)).values())
            except FileNotFoundError as error:
                if isinstance(told(self.voice, "", error), StoreMissing):
                    return []
                raise
        return await self._walked(top)

    async def _walked(self, top: str) -> Sequence[Mapping[str, Any]]:
        """As fsspec's `find`, which passes over a folder that it may not read."""
        waiting, files = [top], []
        while waiting:
            folder = waiting.pop()
            try:
                found = await self._call("ls", folder, detail=True)
            except NotADirectoryError:
                continue
            except FileNotFoundError as error:
                if not isinstance(told(self.voice, "", error), StoreMissing):
                    raise
                continue
            for info in found:
                name = info["name"].rstrip("/")
                if info["type"] == "directory" and name.startswith(f"{folder}/"):
                    waiting.append(name)
                else:
                    files.append(info)
        return files

    def _path(self, key: str) -> str:
        if "?versionId=" in key:
            raise self.voice.error(StoreError, key, "'?versionId=' cannot stand in a name", "rename the file")
        name = quote(key) if self._scheme in WEB else key
        return f"{self._root}/{name}" if key else self._root

    def _key(self, name: str) -> str:
        return unquote(name) if self._scheme in WEB else name


class Seen(Callback):  # type: ignore[misc]
    """Tells a progress how many more bytes fsspec has moved."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._told = 0

    def call(self, *_: Any, **__: Any) -> None:
        self.reach(self.value)

    def reach(self, value: int) -> None:
        if value != self._told:
            self._progress(value - self._told)
            self._told = value
