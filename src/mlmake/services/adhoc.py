"""One command on a compute target, with the project's files: for a look, a test, a quick try."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Sequence

from mlmake.engine.request import environment_for
from mlmake.engine.shipping import SEARCH, cargo_of, project_files
from mlmake.environments.system import System
from mlmake.errors import UsageError, nearest
from mlmake.executors.base import Executor, Setting
from mlmake.model.job import Job, Shipment
from mlmake.model.project import Compute, Project
from mlmake.registry import EXECUTORS

_POLL = 0.1
_GRACE = 5.0

Say = Callable[[bytes], None]


def run(project: Project, on: str, argv: Sequence[str], outputs: Sequence[str], say: Say) -> int:
    """Run a command line and give its exit code; `say` takes what it prints, `outputs` are what comes back.

    Raises UsageError, HostError, OSError; KeyboardInterrupt when the command has been ended.
    """
    compute = _target(project, on)
    if compute.kind == "local":
        return _here(project, argv)
    executor = EXECUTORS.load(compute.kind).of(
        compute, Setting(token=f"{project.root}:run", root=project.root, computes=project.computes)
    )
    with tempfile.TemporaryDirectory(prefix="mlmake-run-") as folder:
        try:
            executor.connect()
            return _there(executor, project.root, argv, outputs, os.path.join(folder, "log"), say)
        finally:
            executor.close()


def _target(project: Project, on: str) -> Compute:
    """The target of that name, of a pool its first member. Raises UsageError."""
    if on == "local":
        return Compute(name=on, kind=on)
    compute = project.computes.get(on)
    if compute is None:
        near = nearest(on, ["local", *project.computes])
        hint = f"did you mean {near!r}?" if near else "`mlmake compute list` lists them"
        raise UsageError(f"unknown compute target {on!r}", hint=hint)
    return _target(project, compute.options["of"][0]) if compute.kind == "pool" else compute


def _here(project: Project, argv: Sequence[str]) -> int:
    env = environment_for(project, System())
    program = shutil.which(argv[0], path=env["PATH"]) or argv[0]
    return subprocess.run([program, *argv[1:]], cwd=project.root, env=env, check=False).returncode


def _there(executor: Executor, root: str, argv: Sequence[str], outputs: Sequence[str], log: str, say: Say) -> int:
    shipment = Shipment(
        name=f"run-{uuid.uuid4().hex}",
        files=tuple(cargo_of(root, name) for name in project_files(root)),
        folders=tuple(dict.fromkeys(filter(None, map(os.path.dirname, outputs)))),
        outputs={path: os.path.join(root, path) for path in outputs},
        search=SEARCH,
    )
    job = Job(name="mlmake run", argv=tuple(argv), env={"PYTHONUNBUFFERED": "1"}, folder="", log=log, shipment=shipment)
    handle = executor.submit(job)
    try:
        code = _followed(executor, handle, log, say)
        if outputs:
            executor.collect(handle, shipment.outputs, lambda *_: False)
        return code
    except KeyboardInterrupt:
        executor.cancel(handle, _GRACE)
        executor.wait([handle], 2 * _GRACE)
        raise
    finally:
        executor.forget(handle)


def _followed(executor: Executor, handle: str, log: str, say: Say) -> int:
    """Say what a job prints until it ends. Raises OSError where it could not run."""
    offset = 0
    while True:
        ended = executor.wait([handle], _POLL)
        if os.path.exists(log):
            with open(log, "rb") as file:
                file.seek(offset)
                said = file.read()
            offset += len(said)
            say(said)
        if ended:
            if ended[0].problem:
                raise OSError(0, ended[0].problem)
            return ended[0].exit_code
