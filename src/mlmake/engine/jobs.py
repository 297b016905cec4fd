"""Steps on their way through a target: queued until there is room, started, retried, timed out, cancelled."""

from __future__ import annotations

import heapq
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial

from mlmake.engine.apart import Apart
from mlmake.engine.attempt import (
    Attempt,
    Hashed,
    Queued,
    Remaining,
    Result,
    damaged,
    deadline,
    describe_exit,
    discarded,
    hashed,
    is_as_kept,
    is_small,
    is_small_in,
    note,
)
from mlmake.engine.ledger import Ledger
from mlmake.engine.preparing import Preparing
from mlmake.engine.request import call_for, environment_for, job_for
from mlmake.engine.sharing import Sharing
from mlmake.engine.slots import Lease, Slots
from mlmake.engine.staging import Spares, stage
from mlmake.environments.base import Software
from mlmake.errors import MlmakeError, StoreError
from mlmake.executors.base import Executor
from mlmake.home import Home
from mlmake.model.events import Noticed, Sink, StepFinished, StepRetried, StepStarted
from mlmake.model.job import Finished
from mlmake.model.project import Project
from mlmake.model.reason import Reason
from mlmake.model.run import Outcome, StepRun
from mlmake.model.step import Step

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0


class Jobs:
    """The steps that are ready to run or running, on one target."""

    def __init__(
        self,
        project: Project,
        run: int,
        ledger: Ledger,
        executor: Executor,
        slots: Slots,
        software: Software,
        sink: Sink,
        sharing: Sharing | None = None,
    ) -> None:
        self._sharing = sharing
        self._project = project
        self._home = Home(project.root)
        self._run = run
        self._ledger = ledger
        self._executor = executor
        self._slots = slots
        self._software = software
        self._environment = environment_for(project, software)
        self._sink = sink
        self._host = socket.gethostname()
        self._spares = Spares()
        self._queue: list[Queued] = []
        self._resting: list[Queued] = []
        self._running: dict[str, Attempt] = {}
        self._started: list[StepStarted] = []
        self._apart = Apart()
        self._preparing = Preparing(ledger, sharing, self._apart, sink, self._make_ready, self._fail_unstarted)
        self._results: list[Result] = []
        self._watcher = threading.Thread(target=self._watch, name="mlmake-wait", daemon=True)
        self._closed = False
        self._is_cache_told = False
        self._cancelling = False
        self.edited: list[str] = []

    @property
    def busy(self) -> int:
        """Steps that are queued, running or being settled."""
        waiting = len(self._queue) + len(self._resting) + len(self._preparing.restorable)
        return waiting + len(self._running) + self._apart.waiting + len(self._results)

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
        is_idle = not self._results and not self._preparing.restorable
        is_patient = is_idle and bool(self._running or self._apart.waiting or self._resting)
        if is_patient:
            self._ledger.save()
        self._apart.take(is_patient=is_patient, seconds=self._patience())
        self._end_overdue()
        if self._sharing:
            self._sharing.tell(self._sink)
        results, self._results = self._results, []
        return results

    def drop_queued(self) -> None:
        """Start nothing more; what runs goes on. A step between two attempts is cancelled."""
        self._preparing.drop()
        self._queue.clear()
        resting, self._resting = self._resting, []
        for queued in resting:
            tried = replace(queued, number=queued.number - 1)
            self._end_badly(self._new_step_run(tried), queued.step, Outcome.CANCELLED, "not tried again")

    def cancel(self, grace: float) -> None:
        """End everything."""
        self._cancelling = True
        self._apart.stop()
        self.drop_queued()
        for handle in list(self._running):
            self._executor.cancel(handle, grace)

    def nudge(self) -> None:
        """Make `wait` return soon; may be called from a signal handler."""
        self._apart.nudge()

    def close(self) -> None:
        """End the threads, and processes if any are left."""
        self._closed = True
        self._executor.wake()
        if self._watcher.is_alive():
            self._watcher.join()
        self._apart.close()
        self._executor.close()
        self._spares.close()

    # Starting.

    def _make_ready(self, queued: Queued) -> None:
        heapq.heappush(self._queue, queued)

    def _start_ready(self) -> None:
        now = time.monotonic()
        for rested in [each for each in self._resting if each.not_before <= now]:
            self._resting.remove(rested)
            heapq.heappush(self._queue, rested)
        waiting = []
        while self._queue:
            queued = heapq.heappop(self._queue)
            lease = self._slots.take(queued.step.spec.resources)
            if lease is not None:
                self._start(queued, lease)
            else:
                waiting.append(queued)
                if self._slots.is_full:
                    break
        for queued in waiting:
            heapq.heappush(self._queue, queued)

    def _start(self, queued: Queued, lease: Lease) -> None:
        step = queued.step
        step_run = self._new_step_run(queued)
        try:
            before = self._ledger.look(step)
            is_here = not self._ledger.needs(step)
        except StoreError as error:
            self._slots.give(lease)
            self._fail_unstarted(queued, error.message)
            return
        if before.fingerprint.missing or not is_here:
            self._slots.give(lease)
            if before.fingerprint.missing:
                self._fail_unstarted(queued, "; ".join(map(str, before.fingerprint.missing)))
            else:
                self._preparing.fetch(queued)  # there is another version by now
            return
        place = stage(self._home, step, self._run, self._spares)
        call = call_for(step, before.fingerprint.paths, place.outputs, self._project.root, self._software)
        job = job_for(self._project, step, call, self._environment, queued.number, step_run.log, lease.gpus)
        try:
            os.makedirs(os.path.dirname(job.log), exist_ok=True)
            place.prepare()
            handle = self._executor.submit(job)
        except OSError as error:
            with suppress(OSError):
                place.discard()
            about = f"{error.filename}: " if error.filename and error.filename != job.argv[0] else ""
            self._slots.give(lease)
            message = f"cannot start {job.argv[0]}: {about}{error.strerror or error}"
            self._fail_unstarted(queued, message)
            return
        self._follow(handle, Attempt(queued, lease, place, before, step_run, deadline(step)))
        self._ledger.started(step_run)
        self._started.append(StepStarted(step.id, "local", queued.number, step_run.log, queued.reasons, job.argv))

    def _follow(self, handle: str, attempt: Attempt) -> None:
        self._running[handle] = attempt
        if not self._watcher.is_alive():
            self._watcher.start()
        self._executor.wake()

    def _new_step_run(self, queued: Queued) -> StepRun:
        return StepRun(
            run=self._run,
            step=queued.step.id,
            outcome=Outcome.RUNNING,
            started=time.time(),
            attempt=queued.number,
            host=self._host,
            log=self._home.log(self._run, queued.step.id, queued.number),
            reasons=queued.reasons,
        )

    def _fail_unstarted(self, queued: Queued, message: str) -> None:
        step_run = self._new_step_run(queued)
        note(os.path.join(self._project.root, step_run.log), message)
        self._end_badly(step_run, queued.step, Outcome.FAILED, message)

    # Restoring.

    def _restore(self, queued: Queued) -> None:
        """Bring a step's outputs out of the cache; if they cannot be had after all, it runs."""
        assert queued.restorable, "only what was found in the cache is put here"
        before, action = queued.restorable
        place = stage(self._home, queued.step, self._run, self._spares)
        step_run = replace(self._new_step_run(queued), log=action.log)
        attempt = Attempt(queued, Lease({}), place, before, step_run, None, restored=action)
        try:
            place.prepare()
        except OSError as error:
            self._settle(Hashed(attempt, None, str(error)))
            return
        self._hash(attempt, is_small_in(self._ledger.cache.objects, action))

    def _not_restored(self, attempt: Attempt, problem: str) -> None:
        """Say what was wrong with the cache, take what is damaged out of it, and run the step."""
        if attempt.restored:
            problem = damaged(self._ledger.cache.objects, attempt.restored) or problem or "other bytes came"
        self._sink(Noticed(f"{self._project.shown(attempt.step.id)} cannot be restored and runs: {problem}"))
        discarded(attempt, "")
        self._preparing.fetch(replace(attempt.queued, restorable=None))

    # Waiting.

    def _watch(self) -> None:
        """One thread for the whole target: passes what has finished to `wait`, and an error of the executor too."""
        try:
            while not self._closed:
                for finished in self._executor.wait(tuple(self._running), None):
                    self._apart.post(partial(self._finished, finished))
        except Exception as error:
            self._apart.fail(error)

    def _patience(self) -> float | None:
        due = [attempt.deadline for attempt in self._running.values() if attempt.deadline and not attempt.timed_out]
        due += [queued.not_before for queued in self._resting]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for handle, attempt in self._running.items():
            if attempt.deadline and attempt.deadline <= now and not attempt.timed_out:
                attempt.timed_out = True
                self._executor.cancel(handle, GRACE)

    # Ending.

    def _finished(self, finished: Finished) -> None:
        attempt = self._running.pop(finished.handle)
        self._slots.give(attempt.lease)
        if self._cancelling:
            self._end_attempt(attempt, Outcome.CANCELLED, "cancelled", finished.exit_code)
        elif finished.problem:
            self._failed(attempt, finished.problem, finished.exit_code)
        elif attempt.timed_out:
            self._failed(attempt, f"ended after its timeout of {attempt.step.spec.timeout:g} s", finished.exit_code)
        elif finished.exit_code != 0:
            self._failed(attempt, describe_exit(finished.exit_code), finished.exit_code)
        elif missing := attempt.stage.missing():
            names = ", ".join(f"{output.name} ({output.location.text})" for output in missing)
            hint = "" if attempt.step.spec.in_place else "; it must write to the path that it is handed"
            self._failed(attempt, f"it ended well but did not write its output {names}{hint}", 0)
        else:
            if self._is_next_known(attempt.queued):
                self._start_ready()  # the next one runs while this one is settled
            self._hash(attempt, is_small(attempt.stage))
            self._tell_started()

    def _is_next_known(self, ended: Queued) -> bool:
        """Whether what waits is as urgent as all that comes after a step, and no failure stands in its way."""
        is_well = all(result.outcome.is_good for result in self._results)
        return is_well and bool(self._queue) and -self._queue[0].rank[0] >= ended.after

    def _tell_started(self) -> None:
        for event in self._started:
            self._sink(event)
        self._started.clear()

    def _hash(self, attempt: Attempt, is_small: bool) -> None:
        """Look at what a step wrote, or bring what it would have written, and settle it: at once if it is little."""
        if is_small and not any(output.location.is_remote for output in attempt.step.outputs):
            self._settle(hashed(attempt, self._ledger.hash))
            return
        try:
            going = self._ledger.outgoing(attempt.step)
        except MlmakeError as error:
            self._settle(Hashed(attempt, None, error.message))
            return
        look = partial(self._ledger.hash_apart, going=going, progress=self._apart.go_on)
        self._apart.do(partial(hashed, attempt, look), self._settle, is_slow=bool(going))

    def _settle(self, hashed: Hashed) -> None:
        attempt, contents = hashed.attempt, hashed.contents
        if contents is None and self._cancelling:
            self._end_attempt(attempt, Outcome.CANCELLED, "cancelled", 0)
            return
        if attempt.restored and (contents is None or not is_as_kept(contents, attempt.restored)):
            self._not_restored(attempt, hashed.problem)
            return
        if contents is None:
            self._failed(attempt, hashed.problem, 0)
            return
        try:
            settled = self._ledger.settle(attempt.stage, attempt.before, contents, attempt.step_run, attempt.restored)
        except (OSError, StoreError) as error:
            self._failed(attempt, f"cannot put its output into place: {error}", 0)
            return
        for fact in settled.edited:
            self.edited.append(f"{fact} of {self._project.shown(attempt.step.id)}")
        for text in settled.unreadable:
            self._sink(Noticed(f"{self._project.shown(attempt.step.id)}: {text}"))
        if settled.action and self._sharing:
            self._sharing.give(settled.action)
        if contents.problem:
            self._tell_not_kept(attempt.step, contents.problem)
        self._tell_end(attempt.step_run, attempt.step, Outcome.RESTORED if attempt.restored else Outcome.DONE, "")

    def _tell_not_kept(self, step: Step, problem: str) -> None:
        """The build stands without its cache; that it has a trouble is told once."""
        if not self._is_cache_told:
            self._is_cache_told = True
            self._sink(Noticed(f"what {self._project.shown(step.id)} wrote cannot be kept in the cache: {problem}"))

    def _failed(self, attempt: Attempt, message: str, exit_code: int) -> None:
        queued = attempt.queued
        if queued.number > attempt.step.spec.retries:
            self._end_attempt(attempt, Outcome.FAILED, message, exit_code)
            return
        message = discarded(attempt, message)
        delay = min(_FIRST_DELAY * 2 ** (queued.number - 1), _LONGEST_DELAY)
        self._sink(StepRetried(attempt.step.id, queued.number, message, delay))
        self._resting.append(replace(queued, number=queued.number + 1, not_before=time.monotonic() + delay))

    def _end_attempt(self, attempt: Attempt, outcome: Outcome, message: str, exit_code: int) -> None:
        message = discarded(attempt, message)
        self._end_badly(replace(attempt.step_run, exit_code=exit_code), attempt.step, outcome, message)

    def _end_badly(self, step_run: StepRun, step: Step, outcome: Outcome, message: str) -> None:
        self._ledger.failed(replace(step_run, outcome=outcome, ended=time.time(), message=message))
        self._tell_end(step_run, step, outcome, message)

    def _tell_end(self, step_run: StepRun, step: Step, outcome: Outcome, message: str) -> None:
        seconds = time.time() - step_run.started
        self._sink(StepFinished(step.id, outcome, seconds, step_run.attempt, message, step_run.log))
        self._results.append(Result(step, outcome))
