"""Small works timed inside a process; runs with mlmake's interpreter: `python probes.py WORK PATH` prints seconds."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing

_BLOCK = 1 << 18
Timed = Callable[[str], float]


def read(path: str) -> float:
    """Read a file from its start to its end into one buffer."""
    buffer = bytearray(_BLOCK)
    began = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - began


def copy(path: str) -> float:
    """Copy a file within its file system, as `shutil.copyfile` does: in the kernel where that is possible."""
    began = time.perf_counter()
    shutil.copyfile(path, "copy.bin")
    return time.perf_counter() - began


def read_all(folder: str) -> float:
    """Read every file below a folder."""
    began = time.perf_counter()
    _each(folder, _read_one)
    return time.perf_counter() - began


def look(folder: str) -> float:
    """`stat` every file below a folder."""
    began = time.perf_counter()
    _each(folder, lambda entry: entry.stat())
    return time.perf_counter() - began


def digest(path: str) -> float:
    """mlmake's digest of a file or folder that it has never seen."""
    return _digest(path, runs=1)


def digest_known(path: str) -> float:
    """mlmake's digest of one that it has seen, in a new process's place: what it remembers is read anew."""
    return _digest(path, runs=2)


def _digest(path: str, runs: int) -> float:
    from mlmake.home import Home
    from mlmake.state.database import connect, transaction
    from mlmake.state.digests import Digests

    seconds = 0.0
    for _ in range(runs):
        with closing(connect(Home(os.getcwd()), create=True)) as connection:
            began = time.perf_counter()
            digests = Digests(connection)
            found = digests.of(path)
            seconds = time.perf_counter() - began
            if found is None:
                sys.exit(f"no digest of {path}")
            with transaction(connection):
                digests.save()
        time.sleep(0.1)
    return seconds


def _each(folder: str, work: Callable[[os.DirEntry[str]], object]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                _each(entry.path, work)
            else:
                work(entry)


def _read_one(entry: os.DirEntry[str]) -> None:
    handle = os.open(entry.path, os.O_RDONLY)
    try:
        while os.read(handle, _BLOCK):
            pass
    finally:
        os.close(handle)


WORKS: Mapping[str, Timed] = {
    "read": read,
    "copy": copy,
    "read-all": read_all,
    "look": look,
    "digest": digest,
    "digest-known": digest_known,
}

if __name__ == "__main__":
    print(WORKS[sys.argv[1]](sys.argv[2]))
