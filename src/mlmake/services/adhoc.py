"""One command on a compute target, with the project's files: for a look, a test, a quick try."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence

from mlmake.engine.request import environment_for
from mlmake.engine.shipping import SEARCH
from mlmake.environments.system import System
from mlmake.errors import UsageError, nearest
from mlmake.executors.base import Executor, Setting
from mlmake.home import FOLDER
from mlmake.model.job import Cargo, Job, Shipment
from mlmake.model.project import Compute, Project
from mlmake.registry import EXECUTORS
from mlmake.state.hashing import hash_file

_POLL = 0.1
_GRACE = 5.0
_LEFT_OUT = {FOLDER, ".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "node_modules"}

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


def project_files(root: str) -> list[str]:
    """The files of a project, relative to its root: where it is in git, those that git does not ignore."""
    try:
        asked = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            check=True,
            capture_output=True,
        )
        names = [os.fsdecode(name) for name in asked.stdout.split(b"\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = list(_walked(root))
    return sorted(name for name in dict.fromkeys(names) if os.path.isfile(os.path.join(root, name)))


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
        files=tuple(_cargo(root, name) for name in project_files(root)),
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


def _cargo(root: str, name: str) -> Cargo:
    path = os.path.join(root, name)
    digest, size = hash_file(path)
    return Cargo(name, path, digest, size, os.access(path, os.X_OK))


def _walked(root: str) -> Iterator[str]:
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if name not in _LEFT_OUT]
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in names)
