"""To whom a watch tells what it does, and how it keeps that short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mlmake.errors import MlmakeError
from mlmake.model.events import Ended, Event, Planned, Sink, StepBlocked
from mlmake.model.project import Project
from mlmake.model.reason import Cause, Reason, State
from mlmake.model.run import Summary


class Face(Protocol):
    """Shows a watch to people; called from one thread."""

    def watching(self, steps: int, files: int, folders: int) -> None:
        """It waits now for changes of so many files."""

    def woken(self, why: Sequence[str]) -> None:
        """Something is built, for these reasons."""

    def building(self, project: Project) -> AbstractContextManager[Sink]:
        """To whom a build tells its events."""

    def built(self, summary: Summary, stale: Sequence[str]) -> None:
        """How a build ended in which there was something to do, and which steps are not fresh after it."""

    def waiting(self, is_paused: bool) -> None:
        """It waits, or goes on waiting."""

    def problem(self, error: MlmakeError) -> None:
        """What keeps it from building."""

    def notice(self, text: str) -> None:
        """What a person should know; called from any thread."""


class Brief:
    """A sink that passes on what is new: nothing of a build with nothing to do, of a blocked step only the first."""

    def __init__(self) -> None:
        self._blocked: dict[str, tuple[Reason, ...]] = {}

    def filtered(self, sink: Sink, begins: Callable[[], None], *, tells_all: bool) -> Sink:
        """What stands between a build and `sink`; `begins` is called when there is something to tell."""
        is_told = tells_all

        def tell(event: Event) -> None:
            nonlocal is_told
            if isinstance(event, Planned):
                self._forget_unblocked(event)
                is_new = any(verdict.state.may_run for verdict in event.verdicts.values())
            elif isinstance(event, StepBlocked):
                is_new = self._is_new(event) or tells_all
                if not is_new:
                    return
            else:
                is_new = not isinstance(event, Ended)
            if is_new and not is_told:
                is_told = True
                begins()
            if is_told:
                sink(event)

        return tell

    def _forget_unblocked(self, event: Planned) -> None:
        for step, verdict in event.verdicts.items():
            if verdict.state is not State.BLOCKED:
                self._blocked.pop(step, None)

    def _is_new(self, event: StepBlocked) -> bool:
        is_known = self._blocked.get(event.step) == event.reasons
        self._blocked[event.step] = event.reasons
        return not is_known and all(reason.cause is not Cause.HELD for reason in event.reasons)
