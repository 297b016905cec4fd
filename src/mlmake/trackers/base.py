"""What a tracking server is to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from mlmake.model.run import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """A run that begins. `started` is seconds since the epoch, `parent` the id of the run that it is a part of."""

    name: str
    started: float
    tags: Mapping[str, str]
    parent: str = ""


class Point(NamedTuple):
    """One value of a metric. `time` is seconds since the epoch."""

    name: str
    value: float
    step: int
    time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What there is to say of a run: `files` by the names that they have there, with their paths here."""

    params: Mapping[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class Tracker(Protocol):
    """A server that is told of runs.

    1. Nothing is asked of the server before the first call, and `load`, which is work of this machine, asks nothing.
    2. Every call may come from any thread, and gives up on a server that does not answer within a minute.
    3. A call raises ConnectionError where the server cannot be reached and may be later, and whatever error its client
       raises where it does not take what it is told.
    4. `log` may be called again for the same run, also by others: what is said of it already stays.
    """

    def load(self) -> None:
        """Load what asks the server, which may take seconds."""

    def begin(self, opening: Opening) -> str:
        """Make a run; its id."""

    def variables(self, run: str) -> Mapping[str, str]:
        """What the environment of a process must say, so that what it tells by itself lands in a run."""

    def log(self, run: str, content: Content) -> None:
        """Say something of a run."""

    def end(self, run: str, outcome: Outcome, ended: float) -> None:
        """Say how a run ended, and when."""

    def left(self, tag: str, value: str) -> Mapping[str, Mapping[str, str]]:
        """Runs with this tag that were never ended: id -> tags."""

    def move(self, run: str, parent: str) -> None:
        """Make a run a part of another."""
