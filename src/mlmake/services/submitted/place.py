"""The folder of a submission: what is to be built, the log of the build, and a lock that its worker holds.

The lock is the kernel's, and whoever starts a worker hands it over while holding it: so nobody starts a second one, and
a worker that dies lets go of it at once.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass

from mlmake.home import Home
from mlmake.model.project import FILE

_SIGNED = 64
"""Bytes of what is written into a lock."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the submission `id` of a project lies."""

    home: Home
    id: str

    @property
    def folder(self) -> str:
        return os.path.join(self.home.submitted, self.id)

    @property
    def document(self) -> str:
        """What is to be built, as a pipelines.toml."""
        return os.path.join(self.folder, FILE)

    @property
    def log(self) -> str:
        """What the worker says."""
        return os.path.join(self.folder, "log")

    @property
    def kept(self) -> str:
        """What was logged for it from outside of its steps, and uploaded."""
        return os.path.join(self.folder, "kept")

    @property
    def _lock(self) -> str:
        return os.path.join(self.folder, "lock")

    def take(self) -> int | None:
        """The lock, as a file descriptor; None while a worker has it."""
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    def sign(self, handle: int, pid: int, starts: int) -> None:
        """Write into the lock who works, and how many have started since one came to build something.

        It is one write of the same length every time: whoever wants to end the worker must never find it empty.
        """
        os.pwrite(handle, json.dumps({"pid": pid, "starts": starts}).ljust(_SIGNED).encode(), 0)

    def signed(self) -> tuple[int, int]:
        """What `sign` wrote; zeros where nobody has."""
        with suppress(OSError, ValueError, KeyError), open(self._lock, encoding="utf-8") as file:
            told = json.load(file)
            return int(told["pid"]), int(told["starts"])
        return 0, 0

    def read_log(self) -> str:
        """What the worker has said so far."""
        with suppress(OSError), open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()
        return ""
