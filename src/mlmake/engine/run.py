"""The door to a build: every way of building (command line, watch, SDK) comes through `build`."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace

from mlmake.engine.checks import check_inputs, check_not_inside, check_room, check_supported, project_token
from mlmake.engine.ledger import Ledger
from mlmake.engine.recall import Recall
from mlmake.engine.recovery import clear_up
from mlmake.engine.scope import Scope, open_scope, scope_of
from mlmake.engine.signals import ENDING, heeded, interrupt
from mlmake.engine.slots import Slots, gpu_folder, here
from mlmake.errors import StoreError
from mlmake.executors.base import Setting
from mlmake.home import Home
from mlmake.model.events import Ended, LockWaiting, Noticed, Planned, Sink, StepBlocked
from mlmake.model.project import Project
from mlmake.model.reason import Cause, Reason, State, Verdict
from mlmake.model.run import Outcome, Run, Summary
from mlmake.model.step import Step
from mlmake.plan.selection import named, named_outputs
from mlmake.state import snapshot
from mlmake.state.database import opened, transaction
from mlmake.state.lock import held
from mlmake.state.stamps import CLOCK_STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlmake.engine.sharing import Sharing
    from mlmake.engine.tracking import Server


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to build and how.

    Attributes:
        targets: pipelines, steps, outputs; nothing means the project's default.
        jobs: CPUs to use here at once; None means all.
        keep_going: after a failure go on with what does not depend on it.
        force: run the named steps even if they are fresh.
        command: how the user asked, for the run's memory.
        folder: where the user stands, for outputs named relative to it.
        on: a compute target for every step, whatever its table says.
        attached: steps whose jobs are on a target already: they are taken up there, none is started and none ended.
        patient: steps that failed on the facts that they still have are not tried again.
        told: variables by which steps are told what the build is a part of; with any, `./outputs` is kept too.
    """

    targets: tuple[str, ...] = ()
    jobs: int | None = None
    keep_going: bool = False
    dry_run: bool = False
    force: bool = False
    command: str = "mlmake"
    folder: str = ""
    on: str = ""
    attached: Mapping[str, str] = field(default_factory=dict)
    patient: bool = False
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Plan:
    steps: list[Step]
    others: int
    verdicts: dict[str, Verdict]
    forced: dict[str, tuple[Reason, ...]]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def may_run(self) -> list[Step]:
        return [step for step in self.steps if self.verdicts[step.id].state.may_run]

    @property
    def blocked(self) -> list[str]:
        return [step for step, verdict in self.verdicts.items() if verdict.state is State.BLOCKED]

    @property
    def fresh(self) -> int:
        return self.count(State.FRESH) + self.others

    def count(self, state: State) -> int:
        return sum(verdict.state is state for verdict in self.verdicts.values())


def build(
    project: Project, request: Request, sink: Sink, scope: Scope | None = None, recall: Recall | None = None
) -> Summary:
    """Bring the targets up to date and tell `sink` what happens; `scope` is what `open_scope` gave for them.

    By `recall` another thread may cancel steps that run.

    Raises UsageError (unknown target), NotYetError (needs what this version lacks), MissingInputError (before anything
    has run), Interrupted (by a signal while no step runs) and StateError. Failed steps raise nothing, nor does a
    signal that ends running ones: both are told in the summary.
    """
    home = Home(project.root)
    began = time.monotonic()
    scope = scope or scope_of(project, request.targets, request.folder)
    steps = scope.steps
    chosen = named(project, request.targets, request.folder) if request.force else []
    check_supported(project, steps, request.on)
    offers = here(request.jobs, local.offers if (local := project.computes.get("local")) else None)
    slots = Slots(offers, gpu_folder() if offers.get("gpus") else "")
    check_room(_here(steps, request), slots)
    if request.dry_run:
        with opened(home, create=False) as connection:
            return _dry_run(scope, request, chosen, connection, sink, began)
    check_not_inside(home)
    with (
        heeded(interrupt, ENDING),
        held(home, lambda who: sink(LockWaiting(who))),
        opened(home, create=True) as connection,
    ):
        if not scope.is_current:
            scope = open_scope(project.root, request.targets, request.folder, narrow=False)
            project = scope.project
            check_supported(project, scope.steps, request.on)
            check_room(_here(scope.steps, request), slots)
        clear_up(home, connection, sink)
        with closing(Ledger(project, connection, whole=not scope.is_narrow)) as ledger:
            if request.patient:
                ledger.be_patient()
            plan = _plan(ledger, chosen, scope, request)
            if not request.keep_going:
                check_inputs(project, plan.verdicts)
            sink(Planned(plan.verdicts, plan.seconds, dry_run=False, others=plan.others))
            for step in plan.blocked:
                sink(StepBlocked(step, plan.verdicts[step].reasons))
            summary = _run(project, request, plan, ledger, slots, connection, sink, began, recall)
            _bring_named(project, request, ledger, sink)
            _trim(ledger, project, connection, sink)
            sink(Ended(summary))
            _remember(scope, ledger, plan, summary)
    return summary


def _bring_named(project: Project, request: Request, ledger: Ledger, sink: Sink) -> None:
    """Bring outputs that were asked for by name and stayed where they were made."""
    away = ledger.away(named_outputs(project, request.targets, request.folder))
    if not away:
        return
    from mlmake.engine.staying import brought

    problem = brought(project, away, ledger, lambda text: sink(Noticed(text)))
    if problem:
        sink(Noticed(problem))


def _here(steps: Sequence[Step], request: Request) -> list[Step]:
    """The steps that run on this machine."""
    return [step for step in steps if (request.on or step.spec.compute) == "local"]


def _trim(ledger: Ledger, project: Project, connection: sqlite3.Connection, sink: Sink) -> None:
    """Keep the cache under its limit, if it has one."""
    if not ledger.cache.policy.size:
        return
    from mlmake.state.upkeep import trim

    if problem := trim(ledger.cache, project.root, connection):
        sink(Noticed(problem))


def _remember(scope: Scope, ledger: Ledger, plan: _Plan, summary: Summary) -> None:
    """Keep how things stand for the next time; after a run they are judged again, when no file is racy any more."""
    verdicts: Mapping[str, Verdict] = plan.verdicts
    if plan.may_run and not summary.interrupted:
        time.sleep(CLOCK_STEP / 1e9)
        ledger.fingerprints.look_again()
        ledger.be_patient()
        try:
            verdicts = ledger.assess(scope.steps)
        except StoreError:  # a datastore went away: the next build looks at everything
            ledger.save()
            return
    ledger.save()
    if not summary.interrupted and not plan.forced:
        scope.remember(ledger, verdicts)


def _plan(ledger: Ledger, chosen: Sequence[Step], scope: Scope, request: Request) -> _Plan:
    names = {step.id for step in chosen} if request.force else set()
    verdicts = ledger.assess(scope.steps, names)
    plan = _Plan(scope.steps, scope.others, verdicts, {name: (Reason(cause=Cause.FORCED),) for name in names})
    for step in plan.may_run:
        record = ledger.records.get(step.id)
        if record is not None:
            plan.seconds[step.id] = record.seconds
    return plan


def _dry_run(
    scope: Scope,
    request: Request,
    chosen: Sequence[Step],
    connection: sqlite3.Connection,
    sink: Sink,
    began: float,
) -> Summary:
    with closing(Ledger(scope.project, connection, whole=not scope.is_narrow)) as ledger:
        plan = _plan(ledger, chosen, scope, request)
    sink(Planned(plan.verdicts, plan.seconds, dry_run=True, others=plan.others))
    return Summary(fresh=plan.fresh, blocked=len(plan.blocked), seconds=time.monotonic() - began)


def _run(
    project: Project,
    request: Request,
    plan: _Plan,
    ledger: Ledger,
    slots: Slots,
    connection: sqlite3.Connection,
    sink: Sink,
    began: float,
    recall: Recall | None,
) -> Summary:
    fresh, blocked = plan.fresh, len(plan.blocked)
    if not plan.may_run:
        _push_owed(ledger, sink)
        return Summary(fresh=fresh, blocked=blocked, seconds=time.monotonic() - began)
    from mlmake.engine import dodo
    from mlmake.engine.jobs import Jobs

    home = Home(project.root)
    snapshot.forget(snapshot.folder_of(project.root))
    server = _server(project, request, sink)
    begun = _begin(ledger, connection, request, plan)
    number = begun.number
    token = f"{project_token(home)}{uuid.uuid4().hex}"
    setting = Setting(
        token=token,
        root=project.root,
        run=str(number),
        computes=project.computes,
        on=request.on,
        attached=request.attached,
        told=request.told,
    )
    with _sharing(ledger) as sharing:
        tracking = server.begin(project, begun, request.told) if server else None
        jobs = Jobs(project, number, ledger, setting, slots, sink, sharing, tracking)
        runner = dodo.runner(plan.may_run, ledger, jobs, sink, plan.forced, plan.seconds, request.keep_going, recall)
        if recall:
            recall.attach(jobs.nudge)
        with heeded(runner.stop, (signal.SIGINT, *ENDING)):
            try:
                dodo.run(runner)
                if sharing:
                    sharing.finish(sink, lambda: bool(runner.stopped))
                if tracking:
                    outcome = _outcome(bool(runner.stopped), runner.outcomes[Outcome.FAILED] + blocked + runner.blocked)
                    tracking.finish(outcome, sink, lambda: bool(runner.stopped))
            finally:
                jobs.close()
        outcomes = runner.outcomes
        summary = Summary(
            ran=outcomes[Outcome.DONE],
            fresh=fresh + runner.spared,
            restored=outcomes[Outcome.RESTORED],
            failed=outcomes[Outcome.FAILED],
            blocked=blocked + runner.blocked,
            cancelled=outcomes[Outcome.CANCELLED],
            seconds=time.monotonic() - began,
            run=number,
            edited=tuple(jobs.edited),
            interrupted=bool(runner.stopped),
        )
        _end(ledger, connection, number, summary)
    return summary


def _server(project: Project, request: Request, sink: Sink) -> Server | None:
    """The tracking server, if there is one. Raises UsageError."""
    if not project.tracking:
        return None
    from mlmake.engine.tracking import server_of

    return server_of(project, request.told, sink)


def _push_owed(ledger: Ledger, sink: Sink) -> None:
    """Push what an earlier build could not, such as one that was killed. Raises Interrupted."""
    if not ledger.cache.owes:
        return
    with _sharing(ledger) as sharing:
        if sharing:
            sharing.finish(sink, lambda: False)


@contextmanager
def _sharing(ledger: Ledger) -> Iterator[Sharing | None]:
    """The shared cache, if there is one; in the end what it has got is owed no more."""
    from mlmake.engine.sharing import sharing_of

    sharing = sharing_of(ledger.cache)
    try:
        yield sharing
    finally:
        if sharing:
            sharing.close()
            ledger.pushed(sharing.pushed())


def _begin(ledger: Ledger, connection: sqlite3.Connection, request: Request, plan: _Plan) -> Run:
    run = Run(
        number=0,
        outcome=Outcome.RUNNING,
        command=request.command,
        started=time.time(),
        host=socket.gethostname(),
        pid=os.getpid(),
        steps=len(plan.steps) + plan.others,
    )
    with transaction(connection):
        return replace(run, number=ledger.runs.begin(run))


def _end(ledger: Ledger, connection: sqlite3.Connection, number: int, summary: Summary) -> None:
    outcome = _outcome(summary.interrupted, summary.failed + summary.blocked)
    with transaction(connection):
        ledger.runs.end(number, outcome, time.time(), (summary.ran, summary.fresh, summary.restored, summary.failed))


def _outcome(is_interrupted: bool, bad: int) -> Outcome:
    """How a build ended; `bad` is how many steps failed or could not run."""
    if is_interrupted:
        return Outcome.CANCELLED
    return Outcome.FAILED if bad else Outcome.DONE
