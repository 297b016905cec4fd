"""Steps on their way through a target: queued until there is room, started, retried, timed out, cancelled."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Collection
from dataclasses import replace
from functools import partial

from mlmake.engine.apart import Apart
from mlmake.engine.attempt import (
    Attempt,
    Hashed,
    Queued,
    Remaining,
    Result,
    bring_kept,
    deadline,
    describe_exit,
    discarded,
    is_small,
    is_small_in,
    note,
    unwritten,
)
from mlmake.engine.equipping import Equipping
from mlmake.engine.inside import gather
from mlmake.engine.installing import Made
from mlmake.engine.ledger import Ledger
from mlmake.engine.nearness import Nearness
from mlmake.engine.preparing import Preparing
from mlmake.engine.settling import Settling
from mlmake.engine.sharing import Sharing
from mlmake.engine.slots import Lease, Slots
from mlmake.engine.starting import Starter, Submitted, refusal, submitted
from mlmake.engine.staying import Gathering
from mlmake.engine.targets import Target, Targets, Watchers
from mlmake.errors import StoreError
from mlmake.executors.base import Setting
from mlmake.home import Home
from mlmake.model.events import Noticed, Sink, StepStarted
from mlmake.model.job import Finished, Job
from mlmake.model.project import Project
from mlmake.model.reason import Reason
from mlmake.model.run import Outcome
from mlmake.model.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlmake.engine.tracking import Tracking

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_POLL = 0.5


class Jobs:
    """The steps that are ready to run or running, on one target."""

    def __init__(
        self,
        project: Project,
        run: int,
        ledger: Ledger,
        setting: Setting,
        slots: Slots,
        sink: Sink,
        sharing: Sharing | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self._sharing = sharing
        self._tracking = tracking
        self._project = project
        self._home = Home(project.root)
        self._ledger = ledger
        self._told = setting.told
        self._starter = Starter(project, run, ledger, setting)
        self.is_attached = bool(setting.attached)
        self._sink = sink
        self._queue: list[Queued] = []
        self._resting: list[Queued] = []
        self._running: dict[tuple[str, str], Attempt] = {}
        self._started: list[StepStarted] = []
        self._apart = Apart()
        told = replace(setting, is_stopping=lambda: self._cancelling)
        self._targets = Targets(project, told, slots, self._apart, sink, ledger.softwares.note_host)
        here = self._targets.here
        self._nearness = Nearness(ledger, self._targets)
        self._equipping = Equipping(project, ledger, told, here, self._apart, sink, self._fail_unstarted)
        to = self._make_ready, self._fail_unstarted
        gathering = Gathering(ledger, self._targets, self._home, self._apart)
        self._preparing = Preparing(ledger, sharing, self._equipping, gathering, self._apart, sink, *to)
        self._settling = Settling(
            project, ledger, sharing, tracking, self._apart, sink, self._resting.append, self._preparing.fetch
        )
        self._settling.is_attached = self.is_attached
        self._watchers = Watchers(self._handles, self._ended, self._apart.fail)
        self._cancelling = False

    @property
    def busy(self) -> int:
        """Steps that are queued, running or being settled."""
        waiting = len(self._queue) + len(self._resting) + len(self._preparing.restorable)
        return waiting + len(self._running) + self._apart.waiting + len(self._settling.results)

    @property
    def edited(self) -> list[str]:
        """Facts that were edited while they were read, in words."""
        return self._settling.edited

    @property
    def running(self) -> int:
        return len(self._running)

    def put(self, step: Step, reasons: tuple[Reason, ...], remaining: Remaining, order: int) -> None:
        """Queue a step that may start now; of several that may, the one with the longest path remaining goes first."""
        self._preparing.put(Queued((-remaining.path, order), step, reasons, remaining.after))

    def wait(self) -> list[Result]:
        """Start what fits, then wait until something happens; the steps that ended for good, often none."""
        self._start_ready()
        self._tell_started()
        if self._preparing.restorable:
            self._restore(self._preparing.restorable.popleft())
        is_idle = not self._settling.results and not self._preparing.restorable
        is_patient = is_idle and bool(self._running or self._apart.waiting or self._resting or self._waits_for_others)
        if is_patient:
            self._ledger.save()
        self._apart.take(is_patient=is_patient, seconds=self._patience())
        self._end_overdue()
        if self._sharing:
            self._sharing.tell(self._sink)
        if self._tracking:
            self._tracking.tell(self._sink)
        return self._settling.take()

    def drop_queued(self) -> None:
        """Start nothing more; what runs goes on. A step between two attempts is cancelled."""
        self._preparing.drop()
        self._targets.let_go()
        self._queue.clear()
        while self._resting:
            queued = self._resting.pop()
            tried = replace(queued, number=queued.number - 1)
            self._settling.end_badly(self._starter.step_run(tried), queued.step, Outcome.CANCELLED, "not tried again")

    def cancel(self, grace: float) -> None:
        """End everything; what was taken up only is left as it was found."""
        self._cancelling = self._settling.is_cancelling = True
        self._apart.stop()
        self.drop_queued()
        for attempt in list(self._running.values()):
            if self.is_attached:
                self._leave(attempt)
            else:
                attempt.cancel(grace)

    def recall(self, steps: Collection[str], grace: float) -> None:
        """End those of these steps that run: what they read has changed."""
        for attempt in self._running.values():
            if attempt.step.id in steps and not attempt.is_recalled:
                attempt.is_recalled = True
                attempt.cancel(grace)

    def nudge(self) -> None:
        """Make `wait` return soon; may be called from a signal handler."""
        self._apart.nudge()

    def close(self) -> None:
        """End the threads, and processes if any are left."""
        self._targets.hang_up()
        self._watchers.close()
        self._apart.close()
        self._targets.close()
        self._starter.spares.close()

    # Starting.

    def _make_ready(self, queued: Queued) -> None:
        first = self._nearness.left_on(queued.step, self._targets.wanted(queued.step))
        self._targets.reach(queued.step, partial(self._enqueue, queued), first)

    def _enqueue(self, queued: Queued) -> None:
        targets = self._targets.of(queued.step)
        if any(not target.slots.lacks(queued.step.spec.resources) for target in targets):
            heapq.heappush(self._queue, queued)
        elif targets:
            self._fail_unstarted(queued, "no target offers what it asks for")
        else:
            self._fail_unstarted(queued, self._targets.problem(queued.step))

    def _start_ready(self) -> None:
        now = time.monotonic()
        for rested in [each for each in self._resting if each.not_before <= now]:
            self._resting.remove(rested)
            heapq.heappush(self._queue, rested)
        waiting = []
        while self._queue:
            queued = heapq.heappop(self._queue)
            if not self._start_somewhere(queued):
                waiting.append(queued)
                if self._targets.are_full:
                    break
        for queued in waiting:
            heapq.heappush(self._queue, queued)

    def _start_somewhere(self, queued: Queued) -> bool:
        """Start a step on one of its targets that has room."""
        asked = queued.step.spec.resources
        candidates = self._nearness.candidates(queued.step, self._targets.of(queued.step))
        with_room = [target for target in candidates if target.slots.has_room(asked)]
        for target in self._nearness.ordered(queued.step, with_room):
            lease = target.slots.take(asked)
            if lease is not None:
                self._start(queued, target, lease)
                return True
        return False

    def _start(self, queued: Queued, target: Target, lease: Lease) -> None:
        step = queued.step
        if not self._equipping.is_equipped(step, target):
            self._equipping.equip_at(step, target, partial(self._equipped, queued, target, lease))
            return
        try:
            before = self._ledger.look(step, target.name)
            lacking = before.fingerprint.unbuilt or self._ledger.needs(step) or self._ledger.strays(step, target.name)
        except StoreError as error:
            target.slots.give(lease)
            self._fail_unstarted(queued, error.message)
            return
        if before.fingerprint.missing or lacking:
            target.slots.give(lease)
            if before.fingerprint.missing:
                self._fail_unstarted(queued, "; ".join(map(str, before.fingerprint.missing)))
            else:
                self._preparing.fetch(queued)  # there is another version by now
            return
        attempt = self._starter.attempt(queued, target, lease, before)
        job = self._starter.job(attempt, target)
        try:
            job = self._starter.prepare(attempt, job, target)
        except OSError as error:
            self._submitted(attempt, job, Submitted("", refusal(job, error)))
            return
        submit = partial(submitted, target, job)
        if self._tracking:
            submit = partial(submit, joined=partial(self._tracking.joined, step, attempt.step_run))
        if target.is_here and not self._tracking:
            self._submitted(attempt, job, submit())
        else:
            self._apart.do(submit, partial(self._submitted, attempt, job), is_slow=True)

    def _equipped(self, queued: Queued, target: Target, lease: Lease, made: Made) -> None:
        """Go on with a step when its software is there; what that is, is one of its facts."""
        if not made.problem and not self._cancelling:
            self._start(queued, target, lease)
            return
        target.slots.give(lease)
        if self._cancelling:
            self._fail_unstarted(queued, made.problem or "cancelled", Outcome.CANCELLED)
        elif not (made.is_lost and self._moved(queued, target, made.problem)):
            self._fail_unstarted(queued, f"{made.problem}\n{made.words}".rstrip())

    def _submitted(self, attempt: Attempt, job: Job, told: Submitted) -> None:
        if told.problem:
            discarded(attempt, "")
            attempt.lease_back()
            if told.is_gone:
                self._ledger.lose(attempt.step)
            if self._cancelling:
                self._settling.end_badly(attempt.step_run, attempt.step, Outcome.CANCELLED, told.problem)
            elif not (told.is_lost and self._moved(attempt.queued, attempt.target, told.problem)):
                self._fail_unstarted(attempt.queued, told.problem)
            return
        attempt.handle, attempt.deadline = told.handle, deadline(attempt.step)
        attempt.note_inputs()
        self._follow(attempt)
        self._ledger.started(attempt.step_run)
        ran, queued = attempt.step_run, attempt.queued
        self._started.append(StepStarted(ran.step, ran.target, queued.number, ran.log, queued.reasons, job.argv))
        if self._cancelling and self.is_attached:
            self._leave(attempt)
        elif self._cancelling:
            attempt.cancel(0)

    def _leave(self, attempt: Attempt) -> None:
        """Watch a job no longer."""
        del self._running[attempt.key]
        attempt.lease_back()
        self._settling.end(attempt, Outcome.CANCELLED, f"left on {attempt.target.name}", 0)

    def _moved(self, queued: Queued, target: Target, problem: str) -> bool:
        """Start a step again on another member of its pool; False if there is none."""
        self._targets.drop(target, problem)
        if not self._targets.of(queued.step) or self._cancelling:
            return False
        self._sink(Noticed(f"{self._project.shown(queued.step.id)} starts again elsewhere: {problem}"))
        self._enqueue(queued)
        return True

    def _follow(self, attempt: Attempt) -> None:
        self._running[attempt.key] = attempt
        self._watchers.watch(attempt.target)

    def _handles(self, target: Target) -> list[str]:
        return [handle for name, handle in tuple(self._running) if name == target.name]

    def _ended(self, target: Target, finished: Finished) -> None:
        self._apart.post(partial(self._finished, (target.name, finished.handle), finished))

    def _fail_unstarted(self, queued: Queued, message: str, outcome: Outcome = Outcome.FAILED) -> None:
        step_run = replace(self._starter.step_run(queued), facts=self._ledger.facts(queued.step))
        note(os.path.join(self._project.root, step_run.log), message)
        self._settling.end_badly(step_run, queued.step, outcome, message.partition("\n")[0])

    # Restoring.

    def _restore(self, queued: Queued) -> None:
        """Bring a step's outputs out of the cache; if they cannot be had after all, it runs."""
        assert queued.restorable, "only what was found in the cache is put here"
        before, action = queued.restorable
        attempt = self._starter.attempt(queued, self._targets.here, Lease({}), before)
        attempt.restored, attempt.step_run = action, replace(attempt.step_run, log=action.log)
        try:
            attempt.stage.prepare()
        except OSError as error:
            self._settling.settle(Hashed(attempt, None, str(error)))
            return
        self._settling.look(attempt, is_small_in(self._ledger.cache.objects, action))

    # Waiting.

    def _patience(self) -> float | None:
        due = [attempt.deadline for attempt in self._running.values() if attempt.deadline and not attempt.timed_out]
        due += [queued.not_before for queued in self._resting]
        if self._waits_for_others:
            due.append(time.monotonic() + _POLL)
        return max(0.0, min(due) - time.monotonic()) if due else None

    @property
    def _waits_for_others(self) -> bool:
        """Another mlmake may give a GPU back that a step here waits for."""
        return bool(self._queue) and self._targets.here.slots.is_shared

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for attempt in self._running.values():
            if attempt.deadline and attempt.deadline <= now and not attempt.timed_out:
                attempt.timed_out = True
                attempt.cancel(GRACE)

    # Ending.

    def _finished(self, key: tuple[str, str], finished: Finished) -> None:
        attempt = self._running.pop(key)
        attempt.lease_back()
        attempt.note_use(finished)
        if self._told and attempt.target.is_here:
            gather(self._project, attempt.step_run)
        if self._cancelling:
            self._settling.end(attempt, Outcome.CANCELLED, "cancelled", finished.exit_code)
        elif attempt.is_recalled:
            self._settling.end(attempt, Outcome.CANCELLED, "cancelled: what it reads has changed", finished.exit_code)
        elif finished.is_lost and self._moved(attempt.queued, attempt.target, finished.problem):
            discarded(attempt, "")
        elif attempt.timed_out:
            self._settling.failed(
                attempt, f"ended after its timeout of {attempt.step.spec.timeout:g} s", finished.exit_code
            )
        elif finished.problem:
            self._settling.failed(attempt, finished.problem, finished.exit_code)
        elif finished.exit_code != 0:
            self._failed(attempt, finished.exit_code)
        elif attempt.target.is_here and (problem := unwritten(attempt)):
            self._settling.failed(attempt, problem, 0)
        else:
            if self._is_next_known(attempt.queued):
                self._start_ready()  # the next one runs while this one is settled
            self._settling.look(attempt, attempt.target.is_here and is_small(attempt.stage))
            self._tell_started()

    def _failed(self, attempt: Attempt, code: int) -> None:
        if attempt.target.is_here:
            self._settling.failed(attempt, describe_exit(code), code)
            return
        then = partial(self._settling.failed, attempt, describe_exit(code), code)
        self._apart.do(partial(bring_kept, attempt), lambda _: then(), is_slow=True)

    def _is_next_known(self, ended: Queued) -> bool:
        """Whether what waits is as urgent as all that comes after a step, and no failure stands in its way."""
        is_well = all(result.outcome.is_good for result in self._settling.results)
        return is_well and bool(self._queue) and -self._queue[0].rank[0] >= ended.after

    def _tell_started(self) -> None:
        for event in self._started:
            self._sink(event)
        self._started.clear()
