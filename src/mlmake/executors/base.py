"""What an executor is to the engine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from mlmake.model.job import Finished, Job


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What an executor can do, as data.

    Attributes:
        shared_disk: jobs see the project's own files; nothing has to be shipped.
        containers: jobs run in images.
        reattach: a handle is good in a later process.
    """

    shared_disk: bool
    containers: bool = False
    reattach: bool = False


class Executor(Protocol):
    """Runs jobs on one target.

    1. `submit` starts a job at once and gives its handle, a text that no other job of this executor ever gets.
       It raises OSError if the job cannot start.
    2. `wait` returns when at least one of `handles` has finished, after `timeout` seconds (None: never), or early,
       perhaps with nothing, after `wake`. A finished job is told once; nothing of its process tree runs on.
    3. `cancel` asks a job's whole process tree to end (SIGTERM) and ends it after `grace` seconds (SIGKILL);
       it returns at once and `wait` tells the end. Cancelling again can only shorten the grace; cancelling what has
       finished does nothing.
    4. `read_log` gives what the job has written from `offset` on, while it runs and after it has ended.
    5. `close` ends whatever still runs. Every method may be called from any thread.
    """

    traits: Traits

    def submit(self, job: Job) -> str: ...

    def wait(self, handles: Collection[str], timeout: float | None) -> list[Finished]: ...

    def wake(self) -> None: ...

    def cancel(self, handle: str, grace: float) -> None: ...

    def read_log(self, handle: str, offset: int) -> bytes: ...

    def close(self) -> None: ...
