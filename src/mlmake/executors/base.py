"""What an executor is to the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlmake.model.job import Entry, Finished, Job
from mlmake.model.project import Compute

Bring = Callable[[str, str, bool], bool]
"""Puts a content (digest) that this machine has at a path, executable or not; False if it does not have it."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What surrounds an executor.

    Attributes:
        token: marks every process of this build.
        root: the project's folder, which paths in a table are relative to.
        run: number of the run that the build is, for people; "" for none.
        computes: every compute target by name, for one that works through another.
        on: the target of every step, whatever its table says.
        attached: step -> the target on which its job is; such jobs are taken up, none is started and none ended.
        notice: takes words for the user, from any thread.
        told: variables by which every step is told of the build around it.
        is_stopping: whether the build is being ended, and a target out of reach is not to be waited for.
    """

    token: str
    root: str = ""
    run: str = ""
    computes: Mapping[str, Compute] = field(default_factory=dict)
    on: str = ""
    attached: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    notice: Callable[[str], None] = lambda _: None
    is_stopping: Callable[[], bool] = lambda: False


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
    5. `close` ends whatever still runs, but not what runs on a host (`reattach`). Every method may be called from any
       thread.
    6. `connect` makes ready and tells of the target: `python`, its interpreter, and `cpus`. It raises HostError.
    7. Without a shared disk, a job has a shipment. `submit` takes it there, and finds a job of the same name that
       runs or has ended instead of starting another; of one that `is_there` it starts none, and raises OSError where
       it is not. `collect` brings what the job wrote to its places, as far as it wrote it. `forget` lets go of a job
       that has ended. `submit` and `collect` may take long, and raise HostError.
    8. `keep` lets what a job wrote stay for later jobs, and tells what it is; what it cannot keep it leaves out.
       `take` brings files that stayed to absolute paths here, and raises LostContent where they are there no more.
    """

    traits: Traits

    @classmethod
    def of(cls, compute: Compute, setting: Setting) -> Executor: ...

    def connect(self) -> Mapping[str, Any]: ...

    def submit(self, job: Job) -> str: ...

    def wait(self, handles: Collection[str], timeout: float | None) -> list[Finished]: ...

    def wake(self) -> None: ...

    def cancel(self, handle: str, grace: float) -> None: ...

    def read_log(self, handle: str, offset: int) -> bytes: ...

    def collect(self, handle: str, places: Mapping[str, str], bring: Bring) -> None: ...

    def keep(self, handle: str, paths: Sequence[str]) -> Mapping[str, tuple[Entry, ...]]: ...

    def take(self, wanted: Sequence[tuple[Entry, str]], bring: Bring) -> None: ...

    def forget(self, handle: str) -> None: ...

    def close(self) -> None: ...
