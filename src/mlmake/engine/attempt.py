"""One attempt of a step on its way: queued, running, looked at, ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mlmake.engine.ledger import Contents, Moment
from mlmake.engine.slots import Lease
from mlmake.engine.staging import Stage
from mlmake.engine.staying import bringing
from mlmake.engine.targets import Target
from mlmake.errors import HostError, StoreError
from mlmake.model.job import Finished
from mlmake.model.reason import Reason
from mlmake.model.run import Outcome, StepRun
from mlmake.model.step import Step
from mlmake.state.cache import Action
from mlmake.state.elsewhere import Away
from mlmake.state.objects import FOLDERS, Objects

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
INLINE = 8 << 20
"""Outputs of fewer bytes are hashed, or brought out of the cache, at once: to hand them to a thread would cost more."""


class Remaining(NamedTuple):
    """The longest path to the end of the build, in seconds: from a step's start, and from its end."""

    path: float
    after: float


@dataclass(order=True, slots=True)
class Queued:
    """A step that may start: the smallest rank first.

    `after` is how long the longest path is that it holds up, `restorable` what the cache has for it.
    """

    rank: tuple[float, int]
    step: Step = field(compare=False)
    reasons: tuple[Reason, ...] = field(compare=False)
    after: float = field(compare=False, default=0.0)
    number: int = field(compare=False, default=1)
    not_before: float = field(compare=False, default=0.0)
    restorable: tuple[Moment, Action] | None = field(compare=False, default=None)


@dataclass(slots=True)
class Attempt:
    """One attempt of a step from its start to its end.

    `outputs` are what is to be brought from a target that is elsewhere: path there -> place here; of these, `stays` are
    the paths there of outputs that may stay, by name.
    """

    queued: Queued
    lease: Lease
    stage: Stage
    before: Moment
    step_run: StepRun
    deadline: float | None
    target: Target
    handle: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    stays: Mapping[str, str] = field(default_factory=dict)
    timed_out: bool = False
    is_recalled: bool = False
    restored: Action | None = None

    @property
    def step(self) -> Step:
        return self.queued.step

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all other running ones."""
        return self.target.name, self.handle

    def cancel(self, grace: float) -> None:
        self.target.executor.cancel(self.handle, grace)

    def forget(self) -> None:
        """Let its target let go of it."""
        if self.handle:
            self.target.executor.forget(self.handle)

    def note_inputs(self) -> None:
        """Remember that its target has what it reads."""
        for items in self.before.fingerprint.inputs.values():
            self.target.note(items)

    def note_use(self, finished: Finished) -> None:
        """Remember what its job used."""
        self.step_run = replace(
            self.step_run,
            cpu_seconds=finished.cpu_seconds,
            peak_memory=finished.peak_memory,
            gpu_memory=finished.gpu_memory,
        )

    def lease_back(self) -> None:
        """Free what it had taken."""
        self.target.slots.give(self.lease)


@dataclass(frozen=True, slots=True)
class Result:
    """A step ended for good."""

    step: Step
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Hashed:
    """What an attempt wrote, or why it could not be read; `is_elsewhere` where it waits at its target."""

    attempt: Attempt
    contents: Contents | None
    problem: str = ""
    is_elsewhere: bool = False


def hashed(attempt: Attempt, hash_: Callable[[Stage, Action | None], Contents]) -> Hashed:
    """The contents of what an attempt wrote or, where it was restored, of what was brought."""
    try:
        return Hashed(attempt, hash_(attempt.stage, attempt.restored))
    except StoreError as error:
        return Hashed(attempt, None, error.message)
    except OSError as error:
        what = "bring" if attempt.restored else "read its output"
        return Hashed(attempt, None, f"cannot {what} {error.filename}: {error.strerror}")


def collected(attempt: Attempt, hash_: Callable[[Stage, Action | None], Contents], objects: Objects) -> Hashed:
    """Bring what an attempt wrote elsewhere, but for what may stay there; then hash it."""
    try:
        stayed = _stayed(attempt)
        coming = {there: place for there, place in attempt.outputs.items() if there not in stayed}
        if coming:
            attempt.target.executor.collect(attempt.handle, coming, bringing(objects))
    except HostError as error:
        return Hashed(attempt, None, error.message, is_elsewhere=True)
    except OSError as error:
        return Hashed(attempt, None, f"cannot bring what it wrote: {error.strerror or error} ({error.filename})", True)
    problem = unwritten(attempt)
    return Hashed(attempt, None, problem) if problem else hashed(attempt, hash_)


def _stayed(attempt: Attempt) -> set[str]:
    """Let stay what may; the paths there of what does. Raises OSError, HostError."""
    if not attempt.stays:
        return set()
    kept = attempt.target.executor.keep(attempt.handle, tuple(attempt.stays.values()))
    places = {output.name: output.location.path for output in attempt.step.outputs}
    away = {
        name: Away.of(places[name], attempt.target.name, kept[there])
        for name, there in attempt.stays.items()
        if there in kept
    }
    attempt.stage = replace(attempt.stage, away=away)
    return {attempt.stays[name] for name in away}


def bring_kept(attempt: Attempt) -> None:
    """Bring what the run of a failed attempt keeps beside its outputs, if its target can be reached."""
    outputs = set(attempt.stage.outputs.values())
    kept = {path: place for path, place in attempt.outputs.items() if place not in outputs}
    with suppress(HostError, OSError):
        attempt.target.executor.collect(attempt.handle, kept, lambda *_: False)


def unwritten(attempt: Attempt) -> str:
    """What an attempt that ended well did not write, in words; "" if it wrote everything."""
    missing = attempt.stage.missing()
    if not missing:
        return ""
    names = ", ".join(f"{output.name} ({output.location.text})" for output in missing)
    hint = "" if attempt.step.spec.in_place else "; it must write to the path that it is handed"
    return f"it ended well but did not write its output {names}{hint}"


def is_as_kept(contents: Contents, action: Action) -> bool:
    """Whether what was brought out of the cache is what was put into it."""
    return sorted(item.digest for item in contents.outputs) == sorted(kept.digest for kept in action.outputs)


def discarded(attempt: Attempt, message: str) -> str:
    """Drop what an attempt wrote; `message`, and what went wrong in that."""
    try:
        attempt.stage.discard()
    except OSError as error:
        return f"{message}; what it wrote cannot be cleared away: {error}"
    return message


def deadline(step: Step) -> float | None:
    """When an attempt that starts now is to be ended, by the monotonic clock."""
    return time.monotonic() + step.spec.timeout if step.spec.timeout else None


def pause_after(attempt: int) -> float:
    """Seconds to wait after a failed attempt before the next."""
    return min(_FIRST_PAUSE * 2.0 ** (attempt - 1), _LONGEST_PAUSE)


def note(log: str, message: str) -> None:
    """Write into a log what kept a step from writing it itself."""
    with suppress(OSError):
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"mlmake: {message}\n")


def describe_exit(code: int) -> str:
    """An exit code in words: `exit code 2`, `killed by SIGKILL (out of memory?)`."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def is_small(place: Stage) -> bool:
    """Whether a step's outputs are few bytes; a folder counts as large without being looked through."""
    paths = [place.outputs[output.name] for output in place.step.outputs if not place.delivers(output)]
    sizes = [INLINE + 1 if os.path.isdir(path) else os.path.getsize(path) for path in paths]
    return sum(sizes) <= INLINE


def is_small_in(objects: Objects, action: Action) -> bool:
    """The same for what is to be restored."""
    sizes = [INLINE + 1 if objects.kind_of(each.digest) == FOLDERS else each.size for each in action.outputs]
    return sum(sizes) <= INLINE


def damaged(objects: Objects, action: Action) -> str:
    """Set aside what of an action's contents is not what its name says; in words, "" if nothing is."""
    digests = [kept.digest for kept in action.outputs if kept.is_kept]
    unsound = dict.fromkeys(each for digest in digests for each in objects.unsound(digest))
    for digest, kind in unsound:
        objects.set_aside(digest, kind)
    names = ", ".join(digest for digest, _ in unsound)
    return f"damaged in the cache, and set aside there: {names}" if names else ""
