"""The one file that imports doit: steps as its tasks, our ledger as its database, our slots behind its dispatcher.

doit decides the order and what must wait; whether a task is up to date is asked of the ledger; how it runs is `Jobs`.
Measured traps of doit 0.37 that shape this file: a task name may hold neither `=` nor `*`; a node copies its parent's
ancestors, so tasks are given in topological order and all selected; `task_dep` is searched as a list for every
`file_dep` that is a target, so wide fan-ins name their `task_dep` and no `file_dep`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from doit.control import ExecNode, TaskControl, TaskDispatcher
from doit.exceptions import BaseFail, InvalidDodoFile, TaskFailed
from doit.runner import Runner as DoitRunner
from doit.task import Task, dict_to_task

from mlmake.engine.attempt import Remaining
from mlmake.engine.jobs import GRACE, Jobs
from mlmake.engine.ledger import Ledger
from mlmake.engine.recall import Recall
from mlmake.errors import StoreError
from mlmake.model.events import Sink, StepBlocked, StepSpared, Stopping
from mlmake.model.reason import Cause, Reason
from mlmake.model.run import Outcome
from mlmake.model.step import Step

_WIDE = 50
"""Fan-ins of more inputs than this are told to doit as `task_dep` only."""


def task_name(step: str) -> str:
    """A step's id as doit takes it: `train.fit[fold:0]`. No value of a matrix holds `=`, so nothing is confused."""
    return step.replace("=", ":")


def tasks(steps: Iterable[Step], action: Callable[[Step], Any] | None = None) -> Iterator[dict[str, Any]]:
    """A doit task dict per step, in the order of `steps`; order on steps that are not among them is dropped."""
    steps = list(steps)
    known = {step.id for step in steps}
    for step in steps:
        files = [source.location for each in step.inputs for source in each.sources if not source.location.pattern]
        yield {
            "name": task_name(step.id),
            "actions": [(action, [step])] if action else None,
            "task_dep": [task_name(above) for above in step.upstream if above in known],
            "file_dep": [each.path for each in files] if len(files) <= _WIDE and not action else [],
            "targets": [output.location.path for output in step.outputs],
            "doc": step.spec.description or None,
            "verbosity": 0,
            "io": {"capture": False},
        }


def runner(
    steps: list[Step],
    ledger: Ledger,
    jobs: Jobs,
    sink: Sink,
    forced: Mapping[str, tuple[Reason, ...]],
    seconds: Mapping[str, float],
    keep_going: bool,
    recall: Recall | None = None,
) -> Runner:
    """A runner for `steps`, which stand in order and may have to run.

    `forced` holds the reasons of steps that run even if they are fresh; `seconds` is what steps took before;
    `recall` may cancel some of them later.
    """
    database = _Database({task_name(step.id): step for step in steps}, ledger, forced)
    return Runner(database, jobs, sink, remaining(steps, seconds), keep_going, recall)


def run(runner: Runner) -> None:
    """Let doit order the runner's steps and run as many as must run. doit's own complaints come out as errors."""
    control = TaskControl([dict_to_task({**task, "actions": []}) for task in tasks(runner.steps)])
    control.process(None)
    runner.run_all(control.task_dispatcher())
    if runner.reporter.problem:
        raise RuntimeError(runner.reporter.problem)


def remaining(steps: list[Step], seconds: Mapping[str, float]) -> dict[str, Remaining]:
    """What remains of the build from each step on; unknown steps take a mean."""
    typical = sum(seconds.values()) / len(seconds) if seconds else 1.0
    below: dict[str, float] = {}
    paths: dict[str, Remaining] = {}
    for step in reversed(steps):
        after = below.get(step.id, 0.0)
        paths[step.id] = Remaining(seconds.get(step.id, typical) + after, after)
        for above in step.upstream:
            below[above] = max(below.get(above, 0.0), paths[step.id].path)
    return paths


def invalid(message: str) -> Exception:
    """doit's way to say that a dodo.py is wrong."""
    error: Exception = InvalidDodoFile(message)
    return error


def failure(message: str) -> object:
    """doit's way to say that a task failed."""
    return TaskFailed(message)


class _Status(NamedTuple):
    status: str


class _Database:
    """Where doit expects its dependency manager: asks our ledger."""

    def __init__(self, steps: Mapping[str, Step], ledger: Ledger, forced: Mapping[str, tuple[Reason, ...]]) -> None:
        self.steps = steps
        self.reasons: dict[str, tuple[Reason, ...]] = {}
        self._ledger = ledger
        self._forced = forced

    def get_status(self, task: Task, _: Any) -> _Status:
        return _Status("run" if self.reasons[self.steps[task.name].id] else "up-to-date")

    def _own_reasons(self, step: Step) -> tuple[Reason, ...]:
        """A step whose datastore gives no answer is run, so far as to fail with what the store says."""
        try:
            return self._ledger.reasons(step)
        except StoreError as error:
            return (Reason(cause=Cause.UNREACHABLE, new=error.message),)

    def status_is_ignore(self, task: Task) -> bool:
        """Whether to leave a step alone that would only fail again. doit asks this first."""
        step = self.steps[task.name]
        forced = self._forced.get(step.id, ())
        reasons = self.reasons[step.id] = (*forced, *self._own_reasons(step))
        return bool(reasons) and not forced and self._ledger.is_held(step)

    def get_values(self, _: str) -> dict[str, Any]:
        return {}

    def get_value(self, _: str, __: str) -> None:
        return None

    def save_success(self, task: Task) -> None:
        """Nothing: `Jobs` has written the record when the step ended."""

    def remove_success(self, task: Task) -> None:
        """Nothing: a failure keeps the last good record."""

    def close(self) -> None:
        """Nothing: the state outlives the run."""


class _Reporter:
    """Where doit expects its reporter: blocked and spared steps become events; the rest `Jobs` tells."""

    def __init__(self, steps: Mapping[str, Step], sink: Sink) -> None:
        self._steps = steps
        self._sink = sink
        self.problem = ""

    def get_status(self, task: Task) -> None: ...

    def execute_task(self, task: Task) -> None: ...

    def skip_ignore(self, task: Task) -> None: ...

    def skip_uptodate(self, task: Task) -> None:
        self._sink(StepSpared(self._steps[task.name].id))

    def add_failure(self, task: Task, failure: BaseFail) -> None: ...

    def add_success(self, task: Task) -> None: ...

    def runtime_error(self, message: str) -> None:
        self.problem = message

    def cleanup_error(self, failure: BaseFail) -> None: ...

    def teardown_task(self, task: Task) -> None: ...

    def complete_run(self) -> None: ...


class Runner(DoitRunner):  # type: ignore[misc]
    """doit's runner with `run_tasks` replaced: ready nodes go to `Jobs`, no thread waits for a step."""

    def __init__(
        self,
        database: _Database,
        jobs: Jobs,
        sink: Sink,
        remaining: Mapping[str, Remaining],
        keep_going: bool,
        recall: Recall | None,
    ) -> None:
        super().__init__(database, _Reporter(database.steps, sink), continue_=keep_going)
        self._database = database
        self._jobs = jobs
        self._sink = sink
        self._remaining = remaining
        self._recall = recall
        self._places = {step.id: place for place, step in enumerate(database.steps.values())}
        self.stopped = ""
        self._grace = GRACE
        self._is_told = False
        self.spared = 0
        self._blocked: set[str] = set()
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)

    @property
    def steps(self) -> Iterable[Step]:
        return self._database.steps.values()

    @property
    def blocked(self) -> int:
        return len(self._blocked)

    def stop(self, signal: str, gently: bool) -> None:
        """Start nothing more and end what runs. Safe in a signal handler: all it says is said by `run_tasks`."""
        self.stopped = signal
        self._grace = GRACE if gently else 0.0
        self._stop_running = True
        self._jobs.nudge()

    def run_tasks(self, task_dispatcher: TaskDispatcher) -> None:
        """Feed `Jobs` with what is ready, give doit back what has ended, until nothing is left."""
        nodes: dict[str, ExecNode] = {}
        self._feed(task_dispatcher, None, nodes)
        while self._jobs.busy:
            if self.stopped:
                self._cancel()
            elif self._stop_running:
                self._jobs.drop_queued()
            elif self._recall:
                self._jobs.recall(self._recall.take(), GRACE)
            for result in self._jobs.wait():
                node = nodes.pop(result.step.id)
                self.outcomes[result.outcome] += 1
                failure = None if result.outcome.is_good else TaskFailed(result.outcome.value)
                self.process_task_result(node, failure)
                self._feed(task_dispatcher, node, nodes)

    def _cancel(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._sink(Stopping(self.stopped, self._jobs.running, self._jobs.is_attached))
        self._jobs.cancel(self._grace)

    def _feed(self, dispatcher: TaskDispatcher, node: ExecNode | None, nodes: dict[str, ExecNode]) -> None:
        """Hand `node`, which has ended, to the dispatcher, and every node that is ready now to `Jobs`."""
        while not self._stop_running:
            try:
                node = dispatcher.generator.send(node)
            except StopIteration:
                return
            if node == "hold on":
                return
            if self.select_task(node, dispatcher.tasks):
                step = self._database.steps[node.task.name]
                nodes[step.id] = node
                self._jobs.put(step, self._database.reasons[step.id], self._remaining[step.id], self._places[step.id])
                node = None
            elif node.bad_deps or node.run_status == "ignore":
                self._tell_blocked(node)
            else:
                self.spared += 1

    def _tell_blocked(self, node: ExecNode) -> None:
        step = self._database.steps[node.task.name].id
        above = [self._database.steps[bad.task.name].id for bad in (*node.bad_deps, *node.ignored_deps)]
        reasons = [
            Reason(cause=Cause.UPSTREAM_BLOCKED if bad in self._blocked else Cause.UPSTREAM_FAILED, subject=bad)
            for bad in above
        ]
        self._blocked.add(step)
        self._sink(StepBlocked(step, tuple(reasons) or (Reason(cause=Cause.HELD),)))
