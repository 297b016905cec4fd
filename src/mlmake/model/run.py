"""Runs: what a build did, step by step, and the record of each step's last good run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mlmake.errors import Interrupted
from mlmake.model.data import Value
from mlmake.model.reason import Reason

_DIGEST = re.compile(r"[0-9a-f]{17,}")


class Outcome(Enum):
    """How a step of a run, or the run itself, stands."""

    RUNNING = "running"
    DONE = "done"
    RESTORED = "restored"  # its outputs came out of the cache
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"  # mlmake died while it ran

    @property
    def is_good(self) -> bool:
        """The step's outputs stand."""
        return self in (Outcome.DONE, Outcome.RESTORED)


@dataclass(frozen=True, slots=True)
class Item:
    """One file or folder with its content: the location's text, digest (xxh3_128), bytes.

    Of a datastore that is not on this machine, the digest is the version by which the store tells contents apart.
    """

    text: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The last good run of a step.

    Attributes:
        facts: every fact by name (`param seed`) -> its value or digest.
        inputs: input name -> what it held.
        outputs: what the run wrote.
        finished: seconds since the epoch.
        seconds: how long it ran.
        target: where, as its software is that of the facts; "" where that was not remembered.
    """

    step: str
    run: int
    facts: Mapping[str, str]
    inputs: Mapping[str, tuple[Item, ...]]
    outputs: tuple[Item, ...]
    finished: float
    seconds: float
    target: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRun:
    """One step of one run.

    Attributes:
        started: seconds since the epoch, as `ended`.
        log: relative to the root.
        cpu_seconds: what it and its children computed.
        peak_memory: bytes of the largest of its processes; 0 where it is not known.
        gpu_memory: the most bytes that were seen in use on its GPUs; 0 where that is not known.
    """

    run: int
    step: str
    outcome: Outcome
    started: float
    ended: float | None = None
    attempt: int = 1
    exit_code: int | None = None
    message: str = ""
    host: str = ""
    target: str = "local"
    log: str = ""
    reasons: tuple[Reason, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Item, ...]] = field(default_factory=dict)
    outputs: tuple[Item, ...] = ()
    metrics: Mapping[str, Value] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    gpu_memory: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One build in which something could run."""

    number: int
    outcome: Outcome
    command: str
    started: float
    ended: float | None = None
    host: str = ""
    pid: int = 0
    steps: int = 0
    ran: int = 0
    fresh: int = 0
    failed: int = 0
    restored: int = 0


class Ending(Enum):
    """How an output of a past run stands after all."""

    RESTORED = "restored"
    THERE = "there"  # it stands in its place already
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Returned:
    """One output of a past run: its step, how the user wrote its place, how it stands, and why it is missing."""

    step: str
    text: str
    ending: Ending
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a build did, counted: its last line."""

    ran: int = 0
    fresh: int = 0
    restored: int = 0
    failed: int = 0
    blocked: int = 0
    cancelled: int = 0
    seconds: float = 0.0
    run: int | None = None
    edited: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """That of a command which ends with this build."""
        if self.interrupted:
            return Interrupted.exit_code
        if self.failed or self.cancelled:
            return 1
        return 2 if self.blocked else 0

    def __str__(self) -> str:
        parts = [
            f"{self.ran} ran",
            f"{self.fresh} fresh",
            f"{self.restored} restored",
            f"{self.failed} failed",
        ]
        parts += [f"{self.blocked} blocked"] if self.blocked else []
        parts += [f"{self.cancelled} cancelled"] if self.cancelled else []
        return f"{', '.join(parts)} in {seconds_in_words(self.seconds)}"


def seconds_in_words(seconds: float) -> str:
    """A duration for people: `0.4 s`, `12.3 s`, `3 min 07 s`, `2 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def size_in_words(size: int) -> str:
    """Bytes for people: `1.5 MiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def counted(number: int, noun: str) -> str:
    """A number of things for people: `1 file`, `1,200 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def version_in_words(version: str) -> str:
    """A version for people, with the first digits of a digest: `5e011c5cca91`, `etag 9b2c4d5e6f70`."""
    return _DIGEST.sub(lambda match: match[0][:12], version)
