"""What the kernel tells of folders: watchdog's reader of inotify, one thread and one descriptor for all of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import NamedTuple

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from mlmake.errors import UsageError
from mlmake.services.watch.ears import Lost, Tell
from mlmake.services.watch.interest import Heard

_NAMED = (
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
)
_GONE = InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM
_SELF = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_ONLYDIR
_NAMES = _NAMED | _SELF
_CONTENTS = _NAMES | InotifyConstants.IN_MODIFY | InotifyConstants.IN_ATTRIB | InotifyConstants.IN_CLOSE_WRITE
_OWN = CallbackId(1)
_LIMITS = {
    errno.ENOSPC: ("folders that this user may watch", "fs.inotify.max_user_watches=1048576"),
    errno.EMFILE: ("watchers that this user may have", "fs.inotify.max_user_instances=1024"),
}


class _Ear(NamedTuple):
    """What listens to a folder; `identity` tells it from another one that comes in its place."""

    wd: WatchDescriptor
    is_full: bool
    identity: tuple[int, int]


class Inotify:
    """`Ears` of Linux."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._ears: dict[str, _Ear] = {}
        self._folders: dict[WatchDescriptor, str] = {}
        try:
            self._fd = InotifyFD()
        except OSError as error:
            raise _limit(error) from None
        self._fd.start()

    def listen(self, folders: Mapping[str, bool]) -> tuple[set[str], set[str]]:
        for folder, ear in list(self._ears.items()):
            if folders.get(folder) is not ear.is_full or not self._hears(folder, ear):
                self._drop(folder)
        fresh, deaf = set[str](), set[str]()
        for folder, is_full in folders.items():
            if folder not in self._ears:
                (fresh if self._add(folder, is_full) else deaf).add(folder)
        return fresh, deaf

    def close(self) -> None:
        self._fd.stop()
        self._fd.join()

    def _hears(self, folder: str, ear: _Ear) -> bool:
        """Whether it listens to what is there now: the kernel goes with a folder that is moved, or has lost it."""
        return ear.wd in self._folders and ear.identity == _identity(folder)

    def _add(self, folder: str, is_full: bool) -> bool:
        identity = _identity(folder)
        try:
            wd = self._fd.add_callback(os.fsencode(folder), Mask(_CONTENTS if is_full else _NAMES), self, _OWN)
        except OSError as error:
            if error.errno in _LIMITS:
                raise _limit(error) from None
            return False
        if wd == -1:  # no right to read it
            return False
        self._folders[wd] = folder
        self._ears[folder] = _Ear(wd, is_full, identity)
        return True

    def _drop(self, folder: str) -> None:
        wd = self._ears.pop(folder).wd
        if self._folders.pop(wd, None) is not None:
            self._fd.remove_callbacks([(wd, _OWN)])

    # What the thread of watchdog calls.

    def on_event(self, event: InotifyEvent) -> None:
        folder = self._folders.get(event.wd)
        if folder is None:
            return
        if event.is_delete_self or event.is_move_self:
            self._tell(Lost(folder))
        elif event.name:
            self._tell(Heard(folder, os.fsdecode(event.name), bool(event.mask & _NAMED), bool(event.mask & _GONE)))

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        folder = self._folders.pop(wd, None)
        if folder is not None:
            self._tell(Lost(folder))

    def on_queue_overflow(self) -> None:
        self._tell(Lost())


def _identity(folder: str) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def _limit(error: OSError) -> UsageError:
    what, setting = _LIMITS.get(error.errno or 0, ("watchers", "fs.inotify.max_user_instances=1024"))
    return UsageError(
        f"the kernel's limit is reached: {what} are all in use",
        hint=f"raise it with `sudo sysctl {setting}`, or look at the files every 2 s with `--poll 2s`",
    )
