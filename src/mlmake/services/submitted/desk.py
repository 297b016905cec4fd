"""Where builds are handed over, looked at, waited for and cancelled; every call takes up what a dead worker left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from mlmake.config.dump import dump
from mlmake.config.load import parse
from mlmake.engine.checks import is_inside
from mlmake.errors import UnknownName
from mlmake.home import Home
from mlmake.model.project import Project
from mlmake.model.submission import HERE, Asked, Status, Submission, SubmittedStep
from mlmake.services.submitted.place import Place
from mlmake.state import database
from mlmake.state.runs import Runs
from mlmake.state.submissions import Submissions

_WORKER = "mlmake.services.submitted.worker"
_IN_THE_BACKGROUND = 'log="$1"; shift; "$@" </dev/null >>"$log" 2>&1 &'
_MOST_STARTS = 3
_FIRST_LOOK, _LONGEST_LOOK = 0.02, 0.2
"""Seconds between two looks of one who waits."""


@contextmanager
def opened(home: Home) -> Iterator[Submissions]:
    """The submissions of a project. Raises StateError."""
    with database.opened(home, create=True) as connection:
        yield Submissions(connection)


@contextmanager
def history(home: Home) -> Iterator[Runs]:
    """The builds of a project, for reading. Raises StateError."""
    with database.opened(home, create=False) as connection:
        yield Runs(connection)


def submit(
    root: str,
    document: Mapping[str, Any],
    experiment: str,
    asked: Asked,
    tags: Mapping[str, str | None],
    variables: Mapping[str, str],
) -> Submission:
    """Hand a document over to a build of its own, which has started when this returns. Raises ConfigError.

    `variables` are set for it and written nowhere.
    """
    home = Home(root)
    place = Place(home, str(uuid.uuid4()))
    text = dump(document).encode()
    project = parse(text, root)
    os.makedirs(place.folder)
    with open(place.document, "wb") as file:
        file.write(text)
    submission = Submission(id=place.id, experiment=experiment, asked=asked, tags=tags)
    with opened(home) as submissions:
        submissions.add(submission, (step.id for step in project.pipelines[asked.pipeline].steps))
        _take_up(place, submissions, variables)
        return _known(submissions, place.id)


def start_here(
    home: Home, experiment: str, tags: Mapping[str, str | None], properties: Mapping[str, str]
) -> tuple[str, int]:
    """Note a run that this process is; its id, and the lock that says that it goes on, for `end_here`."""
    place = Place(home, str(uuid.uuid4()))
    os.makedirs(place.folder)
    handle = place.take()
    assert handle is not None, "nobody else knows of it"
    asked = Asked(kind=HERE, properties=properties)
    with opened(home) as submissions:
        submissions.add(Submission(id=place.id, experiment=experiment, asked=asked, tags=tags), ())
        submissions.begin(place.id)
    return place.id, handle


def end_here(home: Home, id: str, handle: int, status: Status, message: str = "") -> None:
    """Note how a run of this process has ended."""
    with opened(home) as submissions:
        is_cancelled = _known(submissions, id).status is Status.CANCELLING
        submissions.end(id, Status.CANCELED if is_cancelled else status, message)
    os.close(handle)


def look(home: Home, id: str) -> Submission:
    """How a submission stands; if its worker has died, another goes on with it. Raises UnknownName.

    A step that looks leaves that to others: what it starts ends with it.
    """
    with opened(home) as submissions:
        found = _known(submissions, id)
        if not found.status.is_over and not is_inside(home) and _take_up(Place(home, id), submissions):
            found = _known(submissions, id)
        return found


def steps(home: Home, id: str) -> list[SubmittedStep]:
    """How its steps stand, in no order."""
    with opened(home) as submissions:
        return submissions.steps(id)


def project_of(home: Home, id: str) -> Project:
    """What was submitted."""
    with open(Place(home, id).document, "rb") as file:
        return parse(file.read(), home.root)


def wait(home: Home, id: str, seconds: float, tell: Callable[[Submission], object]) -> Submission:
    """Wait for its end, at most so long, or until `tell`, which gets every look, says that it is enough."""
    until, pause = time.monotonic() + seconds, _FIRST_LOOK
    while True:
        found = look(home, id)
        is_enough = tell(found)
        left = until - time.monotonic()
        if found.status.is_over or is_enough or left <= 0:
            return found
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_LOOK)


def cancel(home: Home, id: str) -> bool:
    """Ask a submission to end; False if it has ended already."""
    with opened(home) as submissions:
        if not submissions.ask_to_cancel(id):
            return False
        place = Place(home, id)
        if not _take_up(place, submissions) and (pid := place.signed()[0]):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
        return True


def _known(submissions: Submissions, id: str) -> Submission:
    found = submissions.get(id)
    if found is None:
        raise UnknownName(f"no run {id!r} in this workspace")
    return found


def _take_up(place: Place, submissions: Submissions, variables: Mapping[str, str] | None = None) -> bool:
    """Start a worker, unless one works; one that was to be cancelled ends here. True if something was done."""
    handle = place.take()
    if handle is None:
        return False
    try:
        found = _known(submissions, place.id)  # under the lock: it may have ended in between
        starts = place.signed()[1]
        if found.status is Status.CANCELLING:
            close_steps(submissions, place.id)
            submissions.end(place.id, Status.CANCELED)
        elif not found.status.is_over and found.asked.kind == HERE:
            submissions.end(place.id, Status.FAILED, "its script ended before it said complete()")
        elif not found.status.is_over and starts >= _MOST_STARTS:
            last = place.read_log().strip().splitlines()[-1:] or ["it left no word"]
            submissions.end(place.id, Status.FAILED, f"its build could not start: {last[0]}")
        elif not found.status.is_over:
            place.sign(handle, 0, starts + 1)
            _start(place, handle, variables or {})
        return True
    finally:
        os.close(handle)


def close_steps(submissions: Submissions, id: str) -> None:
    """Note that no step of it runs any more."""
    running = [each for each in submissions.steps(id) if each.status is Status.RUNNING]
    submissions.put_steps(id, (replace(each, status=Status.CANCELED, ended=time.time()) for each in running))


def _start(place: Place, handle: int, variables: Mapping[str, str]) -> None:
    """A worker that is nobody's child, so that it outlives this process and leaves no zombie to it."""
    worker = [sys.executable, "-P", "-m", _WORKER, place.home.root, place.id, str(handle)]
    subprocess.run(
        ["/bin/sh", "-c", _IN_THE_BACKGROUND, "sh", place.log, *worker],
        check=True,
        cwd=place.home.root,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        pass_fds=[handle],
        start_new_session=True,
    )
