"""Why the steps of a submission ran, or did not."""

from __future__ import annotations

from dataclasses import dataclass

from mlmake.home import Home
from mlmake.model.reason import Reason
from mlmake.model.submission import Status, SubmittedStep
from mlmake.services.submitted import desk


@dataclass(frozen=True, slots=True)
class Told:
    """Why a step ran: `reasons`; or, where it `is_reused`, the run whose results stand for it.

    Where that is this very run (`is_restored`), they came out of the cache.
    """

    status: Status
    is_reused: bool
    run: int | None
    reasons: tuple[Reason, ...] = ()
    message: str = ""
    is_restored: bool = False

    def __str__(self) -> str:
        if self.is_restored:
            return f"restored: what it would write is in the cache ({'; '.join(map(str, self.reasons))})"
        if self.is_reused:
            return f"reused: everything that counts is as in run {self.run}"
        if self.status is Status.NOT_STARTED:
            return f"did not start{f': {self.message}' if self.message else ''}"
        return f"ran: {'; '.join(map(str, self.reasons)) or 'it was to run'}"


def explained(home: Home, id: str) -> dict[str, Told]:
    """By step id."""
    found, steps = desk.look(home, id), desk.steps(home, id)
    with desk.history(home) as runs:
        numbers = {each.run for each in steps if each.run is not None}
        reasons = {(each.run, each.step): each.reasons for number in numbers for each in runs.steps_of(number)}
    return {each.step: _told(each, reasons.get((each.run or 0, each.step), ()), found.run) for each in steps}


def _told(step: SubmittedStep, reasons: tuple[Reason, ...], run: int | None) -> Told:
    is_restored = step.is_reused and step.run is not None and step.run == run
    return Told(
        status=step.status,
        is_reused=step.is_reused,
        run=step.run,
        reasons=reasons if is_restored or not step.is_reused else (),
        message=step.message,
        is_restored=is_restored,
    )
