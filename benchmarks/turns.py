"""Two programs in turn: A B A B, so that what else the machine does falls on both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.timing import Broken, Overdue, Sample

Run = Callable[[], Sample]


@dataclass(slots=True)
class Turns:
    """The runs of both; `note` says why there are fewer than asked for."""

    ours: list[Sample] = field(default_factory=list)
    theirs: list[Sample] = field(default_factory=list)
    note: str = ""


def in_turn(ours: Run, theirs: Run, repeat: int, seconds: float) -> Turns:
    """Up to `repeat` pairs, and no new pair after `seconds`."""
    turns = Turns()
    end = time.monotonic() + seconds
    try:
        while len(turns.theirs) < repeat and (not turns.theirs or time.monotonic() < end):
            mine = ours()
            turns.theirs.append(theirs())
            turns.ours.append(mine)
    except (Overdue, Broken) as problem:
        turns.note = str(problem)
    return turns


def alone(ours: Run, repeat: int, seconds: float) -> Turns:
    """The same for a program with nothing beside it."""
    turns = Turns()
    end = time.monotonic() + seconds
    try:
        while len(turns.ours) < repeat and (not turns.ours or time.monotonic() < end):
            turns.ours.append(ours())
    except (Overdue, Broken) as problem:
        turns.note = str(problem)
    return turns
