"""A project's steps as tasks of a `dodo.py` of your own, beside whatever else doit does for you there:

    from mlmake.dodo import load_tasks

    def task_mlmake():
        yield from load_tasks()

`doit list --all` lists them, `doit` builds what changed, `doit mlmake:train.fit[fold:0]` builds one (doit allows no `=`
in a name). Whether a step is up to date is asked of mlmake's records, never of doit's own database; each step runs
through `mlmake.engine.run.build`, with all that this promises.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from mlmake.config.load import load
from mlmake.config.root import find_root
from mlmake.engine.dodo import failure, invalid, tasks
from mlmake.engine.ledger import Ledger
from mlmake.engine.look import look
from mlmake.engine.run import Request, build
from mlmake.errors import MlmakeError
from mlmake.home import Home
from mlmake.model.events import EnvironmentBuilding, Event, LockWaiting, Noticed, StepBlocked, StepFinished
from mlmake.model.project import Project
from mlmake.model.run import Summary
from mlmake.model.step import Step
from mlmake.state.database import connect


def load_tasks(folder: str = ".", group: str = "mlmake") -> Iterator[dict[str, Any]]:
    """A doit task dict for each step of the project around `folder`, all in one group of tasks."""
    try:
        project = load(find_root(os.path.abspath(folder)))
    except MlmakeError as error:
        raise invalid(str(error)) from None
    judge = _Judge(project)
    for task, step in zip(tasks(project.steps.values(), partial(_build, project)), project.steps.values(), strict=True):
        yield {
            **task,
            "basename": group,
            "task_dep": [f"{group}:{above}" for above in task["task_dep"]],
            "targets": [_seen(target, project.root) for target in task["targets"]],
            "uptodate": [partial(judge.is_fresh, step)],
        }


def _seen(path: str, root: str) -> str:
    """A path as the `dodo.py` would write it, so that other tasks of it can name it."""
    return os.path.relpath(path) if path.startswith(f"{root}/") else path


class _Judge:
    """Tells what is fresh; reads the records when it is first asked."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._ledger: Ledger | None = None

    def is_fresh(self, step: Step) -> bool:
        """Nothing speaks for running a step, now that those before it have run."""
        if self._ledger is None:
            self._ledger = look(self._project, connect(Home(self._project.root), create=False))
        self._ledger.fingerprints.look_again()
        return not self._ledger.reasons(step)


def _build(project: Project, step: Step) -> Any:
    """doit's action: build one step. A step that is fresh was asked for with `doit -a`, so it is forced."""
    told: list[str] = []
    request = Request(
        targets=(step.id,), force=_Judge(project).is_fresh(step), command=f"doit {step.id}", folder=project.root
    )
    try:
        summary = build(project, request, partial(_tell, project, told))
    except MlmakeError as error:
        return failure(str(error))
    if summary.interrupted:
        raise KeyboardInterrupt
    return failure("\n".join(told)) if _is_bad(summary) else None


def _is_bad(summary: Summary) -> bool:
    return bool(summary.failed or summary.blocked or summary.cancelled)


def _tell(project: Project, told: list[str], event: Event) -> None:
    """Print what a user should know; note what went wrong."""
    match event:
        case LockWaiting():
            print(f"waiting for another build of this project: {event.holder}")
        case EnvironmentBuilding():
            print(f"{event.shown}: building")
        case Noticed():
            print(event.text)
        case StepFinished() if not event.outcome.is_good:
            told.append(f"{project.shown(event.step)}: {event.message}; log: {event.log}")
        case StepBlocked():
            told.append(f"{project.shown(event.step)}: {'; '.join(map(str, event.reasons))}")
