"""What a build tells, noted down for those who look at its submission, and said in lines for its log."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from mlmake.home import Home
from mlmake.model.events import (
    Event,
    LockWaiting,
    Noticed,
    Planned,
    StepBlocked,
    StepFinished,
    StepRetried,
    StepSpared,
    StepStarted,
)
from mlmake.model.project import Project
from mlmake.model.reason import State
from mlmake.model.run import Outcome
from mlmake.model.submission import Status, SubmittedStep
from mlmake.state.database import opened
from mlmake.state.runs import Runs
from mlmake.state.submissions import Submissions

_ENDED = {
    Outcome.DONE: Status.FINISHED,
    Outcome.RESTORED: Status.FINISHED,
    Outcome.FAILED: Status.FAILED,
    Outcome.CANCELLED: Status.CANCELED,
}


class Notes:
    """A sink. `problems` are words about steps that failed; `on_plan` is called when the build is about to begin."""

    def __init__(
        self,
        home: Home,
        id: str,
        submissions: Submissions,
        project: Project,
        on_plan: Callable[[], object],
    ) -> None:
        self._home = home
        self._id = id
        self._submissions = submissions
        self._project = project
        self._on_plan = on_plan
        self._run: int | None = None
        self._started: dict[str, float] = {}
        self.problems: list[str] = []

    def __call__(self, event: Event) -> None:
        match event:
            case LockWaiting(holder):
                self._say(f"waits for another build: {holder}")
            case Planned():
                self._plan(event)
            case StepStarted():
                self._start(event)
            case StepFinished():
                self._finish(event)
            case StepSpared(step):
                self._reuse([step])
            case StepBlocked():
                message = "; ".join(map(str, event.reasons))
                self._put(SubmittedStep(step=event.step, message=message))
                self._say(f"{event.step} cannot run: {message}")
            case StepRetried():
                self._say(f"{event.step} is tried again: {event.message}")
            case Noticed(text):
                self._say(text)

    def _plan(self, event: Planned) -> None:
        self._on_plan()
        self._submissions.begin(self._id)
        self._reuse(step for step, verdict in event.verdicts.items() if verdict.state is State.FRESH)

    def _start(self, event: StepStarted) -> None:
        self._note_run()
        self._started[event.step] = time.time()
        self._put(self._at(event.step, Status.RUNNING, event.log))
        self._say(f"{event.step} started: {'; '.join(map(str, event.reasons))}")

    def _finish(self, event: StepFinished) -> None:
        if event.outcome is Outcome.FAILED:
            self.problems.append(f"{self._project.shown(event.step)}: {event.message}")
        self._note_run()
        step = self._at(event.step, _ENDED[event.outcome], event.log)
        is_reused = event.outcome is Outcome.RESTORED
        self._put(replace(step, is_reused=is_reused, ended=time.time(), message=event.message))
        self._say(f"{event.step} {event.outcome.value} {event.message}".rstrip())

    def _at(self, step: str, status: Status, log: str) -> SubmittedStep:
        return SubmittedStep(step=step, status=status, run=self._run, started=self._started.get(step), log=log)

    def _reuse(self, steps: Iterable[str]) -> None:
        """Note steps whose last good results stand for this run too; if it was an earlier worker that had them made,
        they are this run's own."""
        known = {each.step: each for each in self._submissions.steps(self._id)}
        with opened(self._home, create=False) as connection:
            found = [_standing(connection, known.get(step, SubmittedStep(step=step))) for step in steps]
        self._submissions.put_steps(self._id, found)

    def _note_run(self) -> None:
        """Note the number of this build's run, the newest one: nobody else can have begun another."""
        if self._run is None:
            with opened(self._home, create=False) as connection:
                self._run = Runs(connection).last(1)[0].number
            self._submissions.note_run(self._id, self._run)

    def _put(self, step: SubmittedStep) -> None:
        self._submissions.put_steps(self._id, [step])

    def _say(self, text: str) -> None:
        print(time.strftime("%H:%M:%S"), text, flush=True)


def _standing(connection: sqlite3.Connection, known: SubmittedStep) -> SubmittedStep:
    """A step that is fresh, by what was noted of it before; who noted that may have died ahead of its end."""
    row = connection.execute("SELECT run, finished FROM records WHERE step = ?", (known.step,)).fetchone()
    run = int(row[0]) if row else None
    asked = "SELECT log, outcome FROM step_runs WHERE step = ? AND run = ?"
    log, outcome = connection.execute(asked, (known.step, run)).fetchone() or ("", "")
    if row is None or run != known.run or known.status not in (Status.RUNNING, Status.FINISHED):
        return SubmittedStep(step=known.step, status=Status.FINISHED, run=run, is_reused=True, log=log)
    if known.status is Status.FINISHED:
        return known
    is_reused = outcome == Outcome.RESTORED.value
    return replace(known, status=Status.FINISHED, is_reused=is_reused, ended=row[1], log=log)
