"""Why the steps of a submission ran, or did not."""

from __future__ import annotations

from dataclasses import dataclass

from mlmake.home import Home
from mlmake.model.reason import Reason
from mlmake.model.submission import Status
from mlmake.services.submitted import desk


@dataclass(frozen=True, slots=True)
class Told:
    """Why a step ran: `reasons`; or, where it `is_reused`, the run whose results stand for it."""

    status: Status
    is_reused: bool
    run: int | None
    reasons: tuple[Reason, ...] = ()
    message: str = ""

    def __str__(self) -> str:
        if self.is_reused:
            return f"reused: everything that counts is as in run {self.run}"
        if self.status is Status.NOT_STARTED:
            return f"did not start{f': {self.message}' if self.message else ''}"
        return f"ran: {'; '.join(map(str, self.reasons)) or 'it was to run'}"


def explained(home: Home, id: str) -> dict[str, Told]:
    """By step id."""
    steps = desk.steps(home, id)
    with desk.history(home) as runs:
        numbers = {each.run for each in steps if each.run is not None}
        reasons = {(each.run, each.step): each.reasons for number in numbers for each in runs.steps_of(number)}
    return {
        each.step: Told(
            each.status,
            each.is_reused,
            each.run,
            () if each.is_reused else reasons.get((each.run or 0, each.step), ()),
            each.message,
        )
        for each in steps
    }
