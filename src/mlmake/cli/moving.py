"""A bar of bytes and objects while results move; nothing where there is no terminal."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any


class Moving:
    """Watches a push or a pull (`engine.bulk.Watcher`). Use it as a context."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what = what
        self._is_shown = sys.stdout.isatty() and not quiet and os.environ.get("TERM") != "dumb"
        self._bar: Any = None
        self._task: Any = None
        self._size = 0
        self._objects = 0
        self._arrived = 0

    def __enter__(self) -> Moving:
        if self._is_shown:
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            counts = TextColumn("{task.fields[counts]}")
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), counts, TransferSpeedColumn())
            self._bar = Progress(*columns, transient=True)
            self._task = self._bar.add_task(self._what, total=None, counts="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def expect(self, objects: int, size: int) -> None:
        self._objects += objects
        self._size += size
        self._show()

    def moved(self, size: int) -> None:
        if self._bar:
            self._bar.advance(self._task, size)

    def arrived(self, objects: int) -> None:
        self._arrived += objects
        self._show()

    def _show(self) -> None:
        if self._bar:
            counts = f"{self._arrived:,} of {self._objects:,} objects"
            self._bar.update(self._task, total=self._size, counts=counts)
