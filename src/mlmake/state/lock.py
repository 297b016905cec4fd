"""One build writes at a time: a lock that the kernel lets go of when its holder dies, so no human ever removes one."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlmake.home import Home

_MOMENT, _MOMENTS = 0.02, 10


@contextmanager
def held(home: Home, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the project's lock; while another holds it, wait and tell `on_wait` once who that is."""
    home.ensure()
    handle = os.open(home.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _take_soon(handle):
            on_wait(holder(home))
            _take(handle, wait=True)
        _sign(handle)
        yield
    finally:
        os.close(handle)


@contextmanager
def held_at_once(home: Home) -> Iterator[bool]:
    """Hold the lock for a moment if it is free and there is state to write to; never waits."""
    try:
        handle = os.open(home.lock, os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        yield _take(handle, wait=False)
    finally:
        os.close(handle)


@contextmanager
def locked(path: str, go_on: Callable[[], object]) -> Iterator[None]:
    """Hold the lock of a file, which is made; what `go_on` raises while another holds it ends the waiting."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while not _take(handle, wait=False):
            go_on()
            time.sleep(_MOMENT)
        yield
    finally:
        os.close(handle)


def _take_soon(handle: int) -> bool:
    """Take the lock, with a little patience: `status` may hold it for a moment."""
    for _ in range(_MOMENTS):
        if _take(handle, wait=False):
            return True
        time.sleep(_MOMENT)
    return _take(handle, wait=False)


def holder(home: Home) -> str:
    """Who holds the lock: `pid 123 on host, since 12:30:05`."""
    try:
        with open(home.lock, encoding="utf-8") as file:
            who = json.load(file)
        since = time.strftime("%H:%M:%S", time.localtime(who["since"]))
        return f"pid {who['pid']} on {who['host']}, since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another build that has just started"


def _take(handle: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _sign(handle: int) -> None:
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(who).encode(), 0)
