"""A build's runs on a tracking server: one for the build, and in it one for each attempt of a step.

What goes wrong here is no failure of the build: it is told once, and the build goes on. What could not be said while
the server was out of reach is tried again at the end; what then is missing is told.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

import xxhash

from mlmake.engine.tracked import content, content_of_parent
from mlmake.home import Home
from mlmake.model.events import Noticed, Sink
from mlmake.model.job import Job
from mlmake.model.project import Project
from mlmake.model.run import Outcome, Run, StepRun
from mlmake.model.step import Step
from mlmake.registry import TRACKERS
from mlmake.stores.opening import FILLED
from mlmake.trackers.base import Opening, Tracker

T = TypeVar("T")
_RUN, _PLACE, _JOB = "mlmake.run", "mlmake.place", "mlmake.job"
"""Tags: the number of mlmake's run, which project on which machine it is of, and what job a step's run is."""
_PATIENCE = 15.0
"""Seconds that a step which may start waits for the server to make its run."""
_PAUSE = 30.0
"""Seconds for which a server that could not be reached is not asked again."""
_GLANCE, _LONGEST_STOP = 0.1, 5.0
"""Seconds between two looks at what is still on its way, and how long that may take where the build is stopped."""
_NAMED, _LONGEST_WORDS = 5, 200
"""Steps that are named where many are missing, and letters of what a server says."""


@dataclass(frozen=True, slots=True)
class Server:
    """A tracking server, as people may see it and with its whole address."""

    tracker: Tracker
    shown: str
    address: str

    def begin(self, project: Project, run: Run, told: Mapping[str, str]) -> Tracking:
        """Let a build begin there; `told` is what its steps are told of it."""
        tags = {
            _RUN: str(run.number),
            "mlmake.project": project.name,
            "mlmake.command": run.command,
            _PLACE: xxhash.xxh3_128_hexdigest(f"{run.host}:{project.root}".encode()),
        }
        name = told.get("MLMAKE_PIPELINE_RUN") or f"run {run.number}"
        return Tracking(self, Home(project.root), Opening(name=name, started=run.started, tags=tags))

    def said(self, error: BaseException) -> str:
        """An error in words that do not hold the address, in which a password may stand."""
        words = str(error) or type(error).__name__
        return words.replace(self.address, "…").partition("\n")[0][:_LONGEST_WORDS]


@dataclass(frozen=True, slots=True)
class _Ending:
    step: Step
    step_run: StepRun
    is_last: bool


class Tracking:
    """The server, as one build sees it.

    `joined` is for any thread, and the rest for the build's own. Its thread is a daemon: a server that does not answer
    holds back no end of a build.
    """

    def __init__(self, server: Server, home: Home, opening: Opening) -> None:
        self._server = server
        self._tracker = server.tracker
        self._home = home
        self._opening = opening
        self._lock = threading.RLock()
        self._parent = ""
        self._runs: dict[tuple[str, int], str] = {}
        self._left: dict[str, str] = {}
        self._down_until = 0.0
        self._problems: set[str] = set()
        self._notes: SimpleQueue[str] = SimpleQueue()
        self._endings: SimpleQueue[_Ending | Outcome] = SimpleQueue()
        self._unsent: list[_Ending] = []
        self._is_ended = False
        self._is_loaded = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlmake-track", daemon=True)
        self._thread.start()

    def joined(self, step: Step, step_run: StepRun, job: Job) -> Job:
        """A job that begins now, and whose process finds its run; where the server cannot be had, the job as it was."""
        run = self._soon(partial(self._begun, step, step_run, job.shipment.name if job.shipment else ""))
        if run is None:
            return job
        found = self._tracker.variables(run)
        if job.shipment is None:
            return replace(job, env={**job.env, **found})
        return replace(job, secrets={**job.secrets, **found})  # the address may hold what no file is to hold

    def end(self, step: Step, step_run: StepRun, *, is_last: bool = True) -> None:
        """Say how an attempt ended, in the background; unless it `is_last`, what it kept is gone by then."""
        if step_run.outcome is not Outcome.RESTORED:
            self._endings.put(_Ending(step, step_run, is_last))

    def tell(self, sink: Sink) -> None:
        """Tell what went wrong since the last call."""
        while True:
            try:
                sink(Noticed(self._notes.get_nowait()))
            except Empty:
                return

    def finish(self, outcome: Outcome, sink: Sink, is_stopped: Callable[[], bool]) -> None:
        """Say how the build ended, and wait until all is said; if the build is stopped, not for long."""
        self._endings.put(outcome)
        until = float("inf")
        while self._thread.is_alive() and time.monotonic() < until:
            self._thread.join(_GLANCE)
            if is_stopped():
                until = min(until, time.monotonic() + _LONGEST_STOP)
        self.tell(sink)
        if missing := self._missing():
            sink(Noticed(f"not in {self._server.shown}: {missing}; `mlmake show {self._opening.tags[_RUN]}` has it"))

    def _missing(self) -> str:
        """What the server has not got, in words."""
        if not self._parent:
            return "this run"
        names = list(dict.fromkeys(ending.step.name for ending in self._unsent))
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        if names:
            return f"how {', '.join(names[:_NAMED])}{more} ended"
        return "" if self._is_ended else "the end of this run"

    # In its own thread.

    def _work(self) -> None:
        self._tried(self._tracker.load)
        self._is_loaded.set()
        self._tried(self._open)
        while isinstance(ending := self._endings.get(), _Ending):
            self._send(ending)
        unsent, self._unsent = self._unsent, []
        if self._parent:
            self._down_until = 0.0  # it was there once: it is asked a last time
        for each in unsent:
            self._send(each)
        self._is_ended = self._tried(partial(self._close, ending)) is not None

    def _send(self, ending: _Ending) -> None:
        if not self._tried(partial(self._told, ending)):
            self._unsent.append(ending)

    def _told(self, ending: _Ending) -> bool:
        step, step_run = ending.step, ending.step_run
        key = (step_run.step, step_run.attempt)
        if key not in self._runs and step_run.outcome is Outcome.CANCELLED:
            return True  # it was never begun
        run = self._begun(step, step_run, "")
        folder = self._home.keep(step_run.run, step_run.step) if ending.is_last else ""
        self._tracker.log(run, content(step, step_run, folder))
        self._tracker.log(self._open(), content_of_parent(folder))
        self._tracker.end(run, step_run.outcome, step_run.ended or time.time())
        return True

    def _close(self, outcome: Outcome) -> bool:
        for run in self._left.values():
            self._tracker.end(run, Outcome.LOST, time.time())
        self._tracker.end(self._open(), outcome, time.time())
        return True

    # On the server.

    def _begun(self, step: Step, step_run: StepRun, job: str) -> str:
        """The run of an attempt: made now, or left by a build that was killed while this very job ran."""
        with self._lock:
            key = (step_run.step, step_run.attempt)
            if key not in self._runs:
                parent = self._open()
                if job and job in self._left:
                    self._tracker.move(self._left[job], parent)
                    self._runs[key] = self._left.pop(job)
                else:
                    self._runs[key] = self._tracker.begin(self._opening_of(step, step_run, job, parent))
            return self._runs[key]

    def _opening_of(self, step: Step, step_run: StepRun, job: str, parent: str) -> Opening:
        own = {
            "mlmake.step": step_run.step,
            "mlmake.attempt": str(step_run.attempt),
            "mlmake.target": step_run.target,
            **({_JOB: job} if job else {}),
        }
        tags = {**self._opening.tags, **own}
        return Opening(name=step.name, started=step_run.started, tags=tags, parent=parent)

    def _open(self) -> str:
        """The build's own run. What an earlier build that was killed has left open is ended, but for jobs: these may
        go on."""
        with self._lock:
            if not self._parent:
                left = self._tracker.left(_PLACE, self._opening.tags[_PLACE])
                for run, tags in left.items():
                    if job := tags.get(_JOB):
                        self._left[job] = run
                    else:
                        self._tracker.end(run, Outcome.LOST, time.time())
                self._parent = self._tracker.begin(self._opening)
            return self._parent

    @property
    def _is_down(self) -> bool:
        return time.monotonic() < self._down_until

    def _soon(self, work: Callable[[], T]) -> T | None:
        """The same if it takes no longer than a step may be held up. What takes longer goes on, for its end to find."""

        def do() -> None:
            with self._lock:  # in it, so that of many that wait for one that fails each knows of it
                answer.put(self._tried(work))

        self._is_loaded.wait()
        if self._is_down:
            return None
        answer: SimpleQueue[T | None] = SimpleQueue()
        threading.Thread(target=do, name="mlmake-join", daemon=True).start()
        try:
            return answer.get(timeout=_PATIENCE)
        except Empty:
            self._note(ConnectionError(f"no answer in {_PATIENCE:g} s"))
            return None

    def _tried(self, work: Callable[[], T]) -> T | None:
        """What it gives; None where the server does not take it."""
        if self._is_down:
            return None
        try:
            return work()
        except Exception as error:  # also a bug here ends no build
            self._note(error)
            return None

    def _note(self, error: Exception) -> None:
        """Note a trouble once."""
        is_away = isinstance(error, ConnectionError)
        if is_away:
            self._down_until = time.monotonic() + _PAUSE
        problem = "it cannot be reached" if is_away else "it does not take all"
        if problem not in self._problems:
            self._problems.add(problem)
            self._notes.put(f"{self._server.shown}: {problem} ({self._server.said(error)}); the build goes on")


def server_of(project: Project, told: Mapping[str, str], sink: Sink) -> Server | None:
    """The tracking server of a project, if it has one and the environment names it.

    Raises UsageError where what asks it is not installed.
    """
    for kind, address in project.tracking.items():
        missing = [name for name in FILLED.findall(address) if name not in os.environ]
        if missing:
            sink(Noticed(f"nothing goes to {kind}: [tracking] names ${{env:{missing[0]}}}, which is not set"))
            continue
        filled = FILLED.sub(lambda match: os.environ[match["name"]], address)
        tracker = TRACKERS.load(kind)(filled, told.get("MLMAKE_EXPERIMENT") or project.name)
        return Server(tracker, f"{kind} at {address}", filled)
    return None
