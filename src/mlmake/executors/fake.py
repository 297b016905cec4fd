"""An executor without processes, for tests of what stands above it: jobs are functions that you hand in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mlmake.executors.base import Bring, Setting, Traits
from mlmake.model.job import Entry, Finished, Job
from mlmake.model.project import Compute


class FakeExecutor:
    """Runs `play(job)` when a job is submitted; the exit code it gives is told by the next `wait`.

    A `play` that returns None is a job that runs until it is cancelled.
    """

    traits = Traits(shared_disk=True)

    @classmethod
    def of(cls, compute: Compute, setting: Setting) -> FakeExecutor:
        raise NotImplementedError("tests make it, with what jobs are to do")

    def __init__(self, play: Callable[[Job], int | None]) -> None:
        self._play = play
        self._changed = threading.Condition()
        self._codes: dict[str, int | None] = {}
        self._logs: dict[str, str] = {}
        self._woken = False
        self.jobs: list[Job] = []

    def connect(self) -> Mapping[str, Any]:
        return {}

    def submit(self, job: Job) -> str:
        with self._changed:
            self.jobs.append(job)
            handle = str(len(self.jobs))
            self._logs[handle] = job.log
            self._codes[handle] = self._play(job)
            self._changed.notify_all()
        return handle

    def wait(self, handles: Collection[str], timeout: float | None) -> list[Finished]:
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not (done := [h for h in handles if self._codes.get(h) is not None]) and not self._woken:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            self._woken = False
            return [Finished(handle, self._codes.pop(handle) or 0) for handle in done]

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def cancel(self, handle: str, grace: float) -> None:
        with self._changed:
            if handle in self._codes and self._codes[handle] is None:
                self._codes[handle] = -15 if grace > 0 else -9
                self._changed.notify_all()

    def read_log(self, handle: str, offset: int) -> bytes:
        """What `play` wrote to the job's log, if it did."""
        with suppress(FileNotFoundError), open(self._logs[handle], "rb") as file:
            file.seek(offset)
            return file.read()
        return b""

    def collect(self, handle: str, places: Mapping[str, str], bring: Bring) -> None:
        """Nothing to bring: `play` wrote to this machine's disk."""

    def keep(self, handle: str, paths: Sequence[str]) -> Mapping[str, tuple[Entry, ...]]:
        """Nothing stays: `play` wrote to this machine's disk."""
        return {}

    def take(self, wanted: Sequence[tuple[Entry, str]], bring: Bring) -> None:
        """Nothing to bring, as nothing stayed."""

    def forget(self, handle: str) -> None:
        self._logs.pop(handle, None)

    def close(self) -> None:
        self._codes.clear()
