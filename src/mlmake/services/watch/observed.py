"""Ears of systems that have no inotify, such as macOS: watchdog's own choice of an observer."""

from __future__ import annotations

import os
from collections.abc import Mapping

from watchdog.events import DirMovedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

from mlmake.services.watch.ears import Lost, Tell
from mlmake.services.watch.interest import Heard

_NAMED = ("created", "deleted", "moved")
_OF_INTEREST = (*_NAMED, "modified", "closed")


class Observed(FileSystemEventHandler):
    """`Ears` by watchdog's observers, a thread for each folder."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._observer = Observer()
        self._observer.start()
        self._watches: dict[str, ObservedWatch] = {}

    def listen(self, folders: Mapping[str, bool]) -> tuple[set[str], set[str]]:
        for folder in [each for each in self._watches if each not in folders or not os.path.isdir(each)]:
            self._observer.unschedule(self._watches.pop(folder))
        fresh, deaf = set[str](), set[str]()
        for folder in folders.keys() - self._watches.keys():
            try:
                self._watches[folder] = self._observer.schedule(self, folder)
                fresh.add(folder)
            except OSError:
                deaf.add(folder)
        return fresh, deaf

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()

    def dispatch(self, event: FileSystemEvent) -> None:
        """Called by watchdog, from threads of its own."""
        if event.event_type not in _OF_INTEREST:
            return
        is_gone = event.event_type in ("deleted", "moved")
        path = os.fsdecode(event.src_path)
        if is_gone and path in self._watches:
            self._tell(Lost(path))
        self._tell(Heard(*os.path.split(path), event.event_type in _NAMED, is_gone))
        if isinstance(event, DirMovedEvent | FileMovedEvent):
            self._tell(Heard(*os.path.split(os.fsdecode(event.dest_path)), is_named=True))
