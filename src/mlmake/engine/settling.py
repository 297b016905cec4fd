"""What became of attempts: looked at, made real and remembered, or failed and told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from mlmake.engine.apart import Apart
from mlmake.engine.attempt import (
    Attempt,
    Hashed,
    Queued,
    Result,
    collected,
    damaged,
    discarded,
    hashed,
    is_as_kept,
    pause_after,
)
from mlmake.engine.ledger import Ledger
from mlmake.engine.sharing import Sharing
from mlmake.errors import MlmakeError, StoreError
from mlmake.model.events import Noticed, Sink, StepFinished, StepRetried
from mlmake.model.project import Project
from mlmake.model.run import Outcome, StepRun
from mlmake.model.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlmake.engine.tracking import Tracking


class Settling:
    """The end of attempts.

    `again` takes a step that is to be tried again later, `anew` one that could not be restored and runs after all.

    Attributes:
        results: steps that ended for good since `take` was called.
        edited: facts that were edited while they were read, in words.
        is_cancelling: the build is being ended.
        is_attached: it has started no job, and forgets none that it does not see through.
    """

    def __init__(
        self,
        project: Project,
        ledger: Ledger,
        sharing: Sharing | None,
        tracking: Tracking | None,
        apart: Apart,
        sink: Sink,
        again: Callable[[Queued], None],
        anew: Callable[[Queued], None],
    ) -> None:
        self._project = project
        self._ledger = ledger
        self._sharing = sharing
        self._tracking = tracking
        self._apart = apart
        self._sink = sink
        self._again = again
        self._anew = anew
        self._is_cache_told = False
        self.is_cancelling = False
        self.is_attached = False
        self.results: list[Result] = []
        self.edited: list[str] = []

    def take(self) -> list[Result]:
        """What ended since the last time."""
        results, self.results = self.results, []
        return results

    def look(self, attempt: Attempt, is_small: bool) -> None:
        """Look at what a step wrote, or bring what it would have written, and settle it: at once if it is little."""
        if is_small and not any(output.location.is_remote for output in attempt.step.outputs):
            self.settle(hashed(attempt, self._ledger.hash))
            return
        try:
            going = self._ledger.outgoing(attempt.step)
        except MlmakeError as error:
            self.settle(Hashed(attempt, None, error.message))
            return
        look = partial(self._ledger.hash_apart, going=going, progress=self._apart.go_on)
        if attempt.handle and not attempt.target.is_here:
            work = partial(collected, attempt, look, self._ledger.cache.objects)
        else:
            work = partial(hashed, attempt, look)
        self._apart.do(work, self.settle, is_slow=bool(going) or not attempt.target.is_here)

    def settle(self, hashed: Hashed) -> None:
        """Make what an attempt wrote real, or say what is wrong with it."""
        attempt, contents = hashed.attempt, hashed.contents
        if contents is None and self.is_cancelling:
            self.end(attempt, Outcome.CANCELLED, "cancelled", 0)
            return
        if attempt.restored and (contents is None or not is_as_kept(contents, attempt.restored)):
            self._not_restored(attempt, hashed.problem)
            return
        if contents is None:
            self.failed(attempt, hashed.problem, 0, is_kept=hashed.is_elsewhere)
            return
        try:
            settled = self._ledger.settle(attempt.stage, attempt.before, contents, attempt.step_run, attempt.restored)
        except (OSError, StoreError) as error:
            self.failed(attempt, f"cannot put its output into place: {error}", 0)
            return
        attempt.forget()
        attempt.target.note(contents.outputs)
        for fact in settled.edited:
            self.edited.append(f"{fact} of {self._project.shown(attempt.step.id)}")
        for text in settled.unreadable:
            self._sink(Noticed(f"{self._project.shown(attempt.step.id)}: {text}"))
        if settled.action and self._sharing:
            self._sharing.give(settled.action)
        if contents.problem:
            self._tell_not_kept(attempt.step, contents.problem)
        self._tell_end(settled.done, attempt.step)

    def _tell_not_kept(self, step: Step, problem: str) -> None:
        """The build stands without its cache; that it has a trouble is told once."""
        if not self._is_cache_told:
            self._is_cache_told = True
            self._sink(Noticed(f"what {self._project.shown(step.id)} wrote cannot be kept in the cache: {problem}"))

    def failed(self, attempt: Attempt, message: str, exit_code: int, *, is_kept: bool = False) -> None:
        """End a failed attempt: try again, or not. One that `is_kept` waits at its target to be fetched."""
        queued = attempt.queued
        if not is_kept:
            attempt.forget()
        if queued.number > attempt.step.spec.retries:
            self.end(attempt, Outcome.FAILED, message, exit_code)
            return
        message = discarded(attempt, message)
        delay = pause_after(queued.number)
        if self._tracking:
            ended = replace(attempt.step_run, outcome=Outcome.FAILED, ended=time.time(), message=message)
            self._tracking.end(attempt.step, ended, is_last=False)
        self._sink(StepRetried(attempt.step.id, queued.number, message, delay))
        self._again(replace(queued, number=queued.number + 1, not_before=time.monotonic() + delay))

    def end(self, attempt: Attempt, outcome: Outcome, message: str, exit_code: int) -> None:
        """End an attempt for good, without a result."""
        message = discarded(attempt, message)
        if outcome is Outcome.CANCELLED and not self.is_attached:
            attempt.forget()
        step_run = replace(attempt.step_run, exit_code=exit_code, facts=attempt.before.fingerprint.facts)
        self.end_badly(step_run, attempt.step, outcome, message)

    def end_badly(self, step_run: StepRun, step: Step, outcome: Outcome, message: str) -> None:
        """Remember and tell that a step has no result."""
        ended = replace(step_run, outcome=outcome, ended=time.time(), message=message)
        self._ledger.failed(ended)
        self._tell_end(ended, step)

    def _tell_end(self, ended: StepRun, step: Step) -> None:
        seconds = time.time() - ended.started
        self._sink(StepFinished(step.id, ended.outcome, seconds, ended.attempt, ended.message, ended.log))
        if self._tracking:
            self._tracking.end(step, ended)
        self.results.append(Result(step, ended.outcome))

    def _not_restored(self, attempt: Attempt, problem: str) -> None:
        """Say what was wrong with the cache, take what is damaged out of it, and run the step."""
        if attempt.restored:
            problem = damaged(self._ledger.cache.objects, attempt.restored) or problem or "other bytes came"
        self._sink(Noticed(f"{self._project.shown(attempt.step.id)} cannot be restored and runs: {problem}"))
        discarded(attempt, "")
        self._anew(replace(attempt.queued, restorable=None))
