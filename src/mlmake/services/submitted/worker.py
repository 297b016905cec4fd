"""The process that works one submission off: `python -m mlmake.services.submitted.worker ROOT ID LOCK`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

from mlmake.config.load import parse
from mlmake.engine.run import Request, build
from mlmake.errors import Interrupted, MlmakeError
from mlmake.home import Home
from mlmake.model.project import Project
from mlmake.model.run import Summary
from mlmake.model.submission import SUBMITTED, Status, Submission
from mlmake.services.submitted.desk import close_steps, opened
from mlmake.services.submitted.notes import Notes
from mlmake.services.submitted.place import Place
from mlmake.state.registered import Registered
from mlmake.state.submissions import Submissions


def main(root: str, id: str, handle: int) -> None:
    """Build what was submitted; `handle` is the lock, which no step may inherit."""
    os.set_inheritable(handle, False)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what cancels it, also where whoever submitted it ignores that
    place = Place(Home(root), id)
    starts = place.signed()[1]
    place.sign(handle, os.getpid(), starts)
    with opened(place.home) as submissions:
        found = submissions.get(id)
        if found is None or found.status.is_over:
            return
        try:
            ended = _work(place, found, submissions, lambda: place.sign(handle, os.getpid(), 0))
        except Interrupted:
            ended = None, ""
        except MlmakeError as error:
            ended = Status.FAILED, f"{error.message}{f' ({error.hint})' if error.hint else ''}"
        except Exception as error:
            traceback.print_exc()
            ended = Status.FAILED, f"a bug in mlmake: {type(error).__name__}: {error}"
        _end(place, submissions, *ended)


def _work(
    place: Place, found: Submission, submissions: Submissions, on_plan: Callable[[], object]
) -> tuple[Status | None, str]:
    """How it ended; None where it was interrupted."""
    with open(place.document, "rb") as file:
        project = parse(file.read(), place.home.root)
    notes = Notes(place.home, found.id, submissions, project, on_plan)
    if found.status is Status.CANCELLING:
        return None, ""
    summary = build(project, _request(found, project, submissions), notes)
    print(summary, flush=True)
    _register(found, submissions)
    return _outcome(summary, notes)


def _request(found: Submission, project: Project, submissions: Submissions) -> Request:
    """What to build; of one that is forced and was taken up, the steps that an earlier worker has left."""
    asked = found.asked
    done = {each.step for each in submissions.steps(found.id) if each.status is Status.FINISHED}
    left = [step.id for step in project.pipelines[asked.pipeline].steps if step.id not in done]
    return Request(
        targets=tuple(left) if asked.force and left else (asked.pipeline,),
        keep_going=asked.keep_going,
        force=asked.force and bool(left),
        command=f"{found.experiment} {found.id}",
        folder=project.root,
        told={
            "MLMAKE_PIPELINE_RUN": found.id,
            "MLMAKE_EXPERIMENT": found.experiment,
            SUBMITTED: Place(Home(project.root), found.id).document,
        },
    )


def _register(found: Submission, submissions: Submissions) -> None:
    """Register what steps that ended well were to register, unless the newest version says the same."""
    ended = {each.step for each in submissions.steps(found.id) if each.status is Status.FINISHED}
    datasets = Registered(submissions.connection, "dataset")
    for each in found.asked.registers:
        told = {"description": each["description"], "tags": each["tags"]}
        body = {"kind": "file", "paths": [each["path"]], "how": {}, **told}
        newest = datasets.get(each["name"])
        if each["step"] in ended and (newest is None or newest.body != body):
            datasets.put(each["name"], body)


def _outcome(summary: Summary, notes: Notes) -> tuple[Status | None, str]:
    if summary.interrupted:
        return None, ""
    if summary.failed or summary.blocked:
        return Status.FAILED, "; ".join(notes.problems)
    return Status.FINISHED, ""


def _end(place: Place, submissions: Submissions, status: Status | None, message: str) -> None:
    """Note the end. Interrupted by somebody who did not ask to cancel, as when the machine goes down, it stays open."""
    if status is None:
        now = submissions.get(place.id)
        if now is None or now.status is not Status.CANCELLING:
            return
        status = Status.CANCELED
    close_steps(submissions, place.id)
    submissions.end(place.id, status, message)
    print(f"{status.value} {message}".rstrip(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
