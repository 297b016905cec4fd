"""Starts runners: a fork of a process that waits for that, which takes far less time than another Python."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import traceback

from . import runner

_STARTING = 20.0
"""Seconds that a runner may take to get hold of its lock."""
_LOOK = 0.002
_LENGTH = struct.Struct(">I")


class Starter:
    """The process; it has one thread, so that it can be forked at any time, and ends with the one that made it."""

    def __init__(self) -> None:
        """To be called before there is any other thread."""
        reader, self._writer = os.pipe()
        if os.fork() == 0:
            os.close(self._writer)
            _null(0, 1)
            _serve(reader)
            os._exit(0)
        os.close(reader)

    def start(self, folder: str, secrets: dict[str, str]) -> None:
        """Start a job's runner, in a session of its own so that it outlives us; a second one ends by itself.

        Secrets go from memory to memory: no file holds them. Raises OSError.
        """
        told = json.dumps([folder, secrets]).encode()
        with os.fdopen(os.dup(self._writer), "wb") as pipe:
            pipe.write(_LENGTH.pack(len(told)) + told)
        until = time.monotonic() + _STARTING
        while time.monotonic() < until:
            if any(os.path.exists(os.path.join(folder, name)) for name in ("pid.json", "exit.json")):
                return
            time.sleep(_LOOK)
        with open(os.path.join(folder, "runner.log"), errors="replace") as said:
            raise OSError(0, f"the job's runner does not start: {said.read()[-500:].strip()}")


def _serve(reader: int) -> None:
    """Fork a runner for each folder that is told, until nobody is there to tell any."""
    with os.fdopen(reader, "rb") as pipe:
        while True:
            length = pipe.read(_LENGTH.size)
            if len(length) < _LENGTH.size:
                return
            folder, secrets = json.loads(pipe.read(_LENGTH.unpack(length)[0]).decode())
            child = os.fork()
            if child == 0:
                os.close(reader)
                _run(folder, secrets)
            os.waitpid(child, 0)


def _run(folder: str, secrets: dict[str, str]) -> None:
    """Become the runner of a job; never returns."""
    os.setsid()
    if os.fork():
        os._exit(0)  # so that the runner is nobody's child, and nobody need wait for it
    try:
        with contextlib.suppress(OSError):
            _null(0)
            log = os.open(os.path.join(folder, "runner.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
        os.chdir("/")
        os.environ.update(secrets)
        runner.main(folder)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _null(*handles: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for handle in handles:
        os.dup2(null, handle)
    os.close(null)
