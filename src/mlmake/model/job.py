"""A job: one attempt of a step as an executor runs it. Built purely, can be printed and compared, then sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mlmake.model.resources import Resources


class Entry(NamedTuple):
    """What stands at a path of a job's folder: a file, or a folder, whose path ends in a slash."""

    path: str
    size: int
    is_executable: bool
    digest: str


@dataclass(frozen=True, slots=True)
class Cargo:
    """One file that goes along with a job.

    Attributes:
        path: where the job finds it, relative to its folder.
        source: absolute path on this machine; "" where only the target has it.
        digest: its content (xxh3_128 in hex).
        size: bytes.
    """

    path: str
    source: str
    digest: str
    size: int
    is_executable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipment:
    """All that a job needs where it does not see the project's own files.

    Attributes:
        name: the same for every job that would do the same, so that one whose mlmake has died is found again.
        files: what goes there.
        folders: folders to be made, relative to the job's folder.
        outputs: what comes back: path relative to the job's folder -> absolute path on this machine.
        search: folders for Python's search path, relative to the job's folder.
        inputs: what the job is not to write to, relative to its folder.
        is_new: a job of that name which has ended is no answer: run it again.
        is_there: a job of that name is there; where it is not, none is started.
    """

    name: str
    files: tuple[Cargo, ...] = ()
    folders: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    search: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    is_new: bool = False
    is_there: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One process to run.

    Attributes:
        name: the step's id and attempt, for people and labels.
        argv: the command line; no shell unless it names one.
        env: the whole environment of the process; with a shipment, what is added to the one that it finds.
        folder: absolute working folder; "" with a shipment.
        log: absolute path of the file that takes stdout and stderr as they come.
        resources: what the target sets aside for it.
        gpus: those that it may use, by index.
        image: id of the image that it runs in, where its target has containers.
        environment: key of the environment that it runs in, where that was made on a host.
        timeout: seconds after which it is ended where it runs, even if nobody watches; 0 for none.
        secrets: variables that no file may hold and nobody may see.
        shipment: what goes along, where the target does not share this machine's disk.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: str
    log: str
    resources: Resources = Resources()
    gpus: tuple[int, ...] = ()
    image: str = ""
    environment: str = ""
    timeout: float = 0.0
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    shipment: Shipment | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """How a job ended: its handle and exit code (negative for a signal), or the reason why it could not start.

    Where it `is_lost` its target is out of reach, and what became of it is not known. `cpu_seconds` and `peak_memory`
    (bytes) are what it and its children used, `gpu_memory` the most that was seen in use on its GPUs (bytes); 0 where
    that is not known.
    """

    handle: str
    exit_code: int
    problem: str = ""
    is_lost: bool = False
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    gpu_memory: int = 0
