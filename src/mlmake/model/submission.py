"""Submissions: a pipeline that was handed over to a build which goes on by itself, and how far that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mlmake.model.data import Value

SUBMITTED = "MLMAKE_SUBMITTED"
"""The variable that names, to steps of a submission, the file that it goes by instead of pipelines.toml."""

HERE = "here"
"""The kind of a run that nothing is built for: it goes on in the process that started it."""


class Status(Enum):
    """How a submission, or a step of one, stands."""

    NOT_STARTED = "NotStarted"
    QUEUED = "Queued"
    RUNNING = "Running"
    CANCELLING = "CancelRequested"
    FINISHED = "Finished"
    FAILED = "Failed"
    CANCELED = "Canceled"

    @property
    def is_over(self) -> bool:
        return self in (Status.FINISHED, Status.FAILED, Status.CANCELED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What was submitted, and how it is to be built.

    Attributes:
        kind: `pipeline`; `script` for a script by itself; `HERE`.
        pipeline: its name in the file that was submitted.
        keep_going: after a failure go on with what does not depend on it.
        force: run every step even if it is fresh.
        params: the values that were asked for.
        names: step id -> its name for people.
        outputs: their names in the whole pipeline -> step id and output.
        registers: datasets to be registered: `step`, `path`, `name`, `description`, `tags`.
        properties: words that never change.
    """

    kind: str = "pipeline"
    pipeline: str = ""
    description: str = ""
    keep_going: bool = False
    force: bool = False
    params: Mapping[str, Value] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    registers: Sequence[Mapping[str, Value]] = ()
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One submission.

    Attributes:
        number: it counts those of a project.
        run: the number of the build; None where none was needed, or before it begins.
        created: seconds since the epoch, as `started` and `ended`.
        message: why it failed, where no step says so.
    """

    id: str
    experiment: str
    asked: Asked
    number: int = 0
    status: Status = Status.NOT_STARTED
    run: int | None = None
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    message: str = ""
    tags: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmittedStep:
    """One step of a submission.

    Attributes:
        run: the build whose results stand for it; one before this where it `is_reused`.
        log: relative to the project's root.
    """

    step: str
    status: Status = Status.NOT_STARTED
    run: int | None = None
    is_reused: bool = False
    started: float | None = None
    ended: float | None = None
    message: str = ""
    log: str = ""
