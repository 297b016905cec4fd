"""A job: one attempt of a step as an executor runs it. Built purely, can be printed and compared, then sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlmake.model.resources import Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One process to run.

    Attributes:
        name: the step's id and attempt, for people and labels.
        argv: the command line; no shell unless it names one.
        env: the whole environment of the process.
        folder: absolute working folder.
        log: absolute path of the file that takes stdout and stderr as they come.
        resources: what the target sets aside for it.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: str
    log: str
    resources: Resources = Resources()


@dataclass(frozen=True, slots=True)
class Finished:
    """How a job ended: its handle and exit code (negative for a signal), or the reason why it could not start."""

    handle: str
    exit_code: int
    problem: str = ""
