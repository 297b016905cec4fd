"""What a build tells while it goes on; sinks (console, runs, web) take these and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from mlmake.model.reason import Reason, Verdict
from mlmake.model.run import Outcome, Summary


@dataclass(frozen=True, slots=True)
class LockWaiting:
    """Another build writes: who (pid, host, since when)."""

    holder: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What the build is about to do: a verdict per selected step, in order, and the seconds past runs took.

    `expected` holds seconds for steps that may run and have run before; `others` is how many more steps are selected
    and known to be fresh without a verdict.
    """

    verdicts: dict[str, Verdict]
    expected: dict[str, float]
    dry_run: bool
    others: int = 0


@dataclass(frozen=True, slots=True)
class Connecting:
    """A compute target is being connected to; a program may ask on the terminal, as `ssh` does for a passphrase."""

    target: str


@dataclass(frozen=True, slots=True)
class Connected:
    """That is over, well or not; a `Noticed` says why not."""

    target: str


@dataclass(frozen=True, slots=True)
class EnvironmentBuilding:
    """An environment that steps wait for is being built on a target. `log` is relative to the project's root."""

    name: str
    log: str
    target: str = "local"

    @property
    def shown(self) -> str:
        return _shown(self.name, self.target)


@dataclass(frozen=True, slots=True)
class EnvironmentBuilt:
    """It stands now; or not, and `problem` says why."""

    name: str
    seconds: float
    problem: str = ""
    target: str = "local"

    @property
    def shown(self) -> str:
        return _shown(self.name, self.target)


def _shown(environment: str, target: str) -> str:
    return f"environment {environment}" + ("" if target == "local" else f" on {target}")


@dataclass(frozen=True, slots=True)
class StepFetching:
    """What a step reads is on its way from a datastore: bytes that have come, of all. Told again and again."""

    step: str
    moved: int
    total: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    """An attempt of a step runs: where, why, with which command line. `log` is relative to the project's root."""

    step: str
    target: str
    attempt: int
    log: str
    reasons: tuple[Reason, ...]
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended for good: done, failed or cancelled. `log` is relative to the project's root."""

    step: str
    outcome: Outcome
    seconds: float
    attempt: int = 1
    message: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class StepRetried:
    """An attempt failed and another follows after `delay` seconds."""

    step: str
    attempt: int
    message: str
    delay: float


@dataclass(frozen=True, slots=True)
class StepSpared:
    """A step that was maybe turned out fresh: what it reads came out with the same bytes."""

    step: str


@dataclass(frozen=True, slots=True)
class StepBlocked:
    """A step cannot run in this build."""

    step: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something a user should know that is no failure."""

    text: str


@dataclass(frozen=True, slots=True)
class Pushing:
    """All steps have ended; so many results are still on their way into the shared cache. Told again and again."""

    left: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """A signal asked to stop; running steps are being ended, or left to themselves where none was started."""

    signal: str
    running: int
    is_left: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The build is over."""

    summary: Summary


Event: TypeAlias = (
    LockWaiting
    | Planned
    | Connecting
    | Connected
    | EnvironmentBuilding
    | EnvironmentBuilt
    | StepFetching
    | StepStarted
    | StepFinished
    | StepRetried
    | StepSpared
    | StepBlocked
    | Noticed
    | Pushing
    | Stopping
    | Ended
)
Sink: TypeAlias = Callable[[Event], None]
