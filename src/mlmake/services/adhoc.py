"""One command on a compute target, with the project's files: for a look, a test, a quick try."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mlmake.engine.checks import compute_of
from mlmake.engine.images import image_of
from mlmake.engine.request import environment_for
from mlmake.engine.shipping import SEARCH, cargo_of, project_files
from mlmake.engine.signals import ENDING, heeded, interrupt
from mlmake.engine.staging import rename
from mlmake.engine.targets import LOCAL
from mlmake.environments.system import System
from mlmake.errors import BuildFailed, HostError, Interrupted, UsageError
from mlmake.executors.base import Executor, Setting
from mlmake.home import Home
from mlmake.model.job import Job, Shipment
from mlmake.model.project import Compute, Project
from mlmake.registry import EXECUTORS

_POLL = 0.1
_GRACE = 5.0

Say = Callable[[bytes], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """One command line: where it runs, in which environment if that has containers, and what comes back of it."""

    argv: tuple[str, ...]
    on: str = LOCAL
    environment: str = ""
    outputs: tuple[str, ...] = ()


def run(project: Project, errand: Errand, say: Say) -> int:
    """Run a command and give its exit code; `say` takes what it prints.

    Raises UsageError, HostError, SoftwareError, OSError; BuildFailed where it ended well and did not write an output;
    KeyboardInterrupt or Interrupted when the command has been ended; BrokenPipeError when nobody listens.
    """
    compute = _target(project, errand.on)
    outputs = [_inside(project.root, path) for path in errand.outputs]
    if compute.kind == LOCAL:
        _check_no_environment(compute, errand.environment)
        return _here(project, errand, outputs)
    home = Home(project.root)
    home.ensure()
    stopped: list[str] = []
    setting = Setting(
        token=f"{project.root}:run", root=project.root, computes=project.computes, is_stopping=lambda: bool(stopped)
    )
    executor = EXECUTORS.load(compute.kind).of(compute, setting)
    with tempfile.TemporaryDirectory(prefix="run-", dir=home.folder) as folder, heeded(interrupt, ENDING):
        try:
            executor.connect()
            image = _image(project, compute, errand.environment, executor)
            job = _job(project.root, errand.argv, outputs, folder, image)
            return _there(executor, project.root, job, say, stopped)
        finally:
            executor.close()


def _target(project: Project, on: str) -> Compute:
    """The target of that name, of a pool its first member. Raises UsageError."""
    compute = compute_of(project, on)
    return _target(project, compute.options["of"][0]) if compute.kind == "pool" else compute


def _inside(root: str, path: str) -> str:
    """A path relative to the root. Raises UsageError for one that leaves the project."""
    inside = os.path.relpath(os.path.join(root, path), root)
    if inside.split(os.sep)[0] in (os.pardir, os.curdir):
        raise UsageError(f"--out {path}: what comes back stands in the project", hint="name a path below its root")
    return inside


def _image(project: Project, compute: Compute, name: str, executor: Executor) -> str:
    """The image that the command runs in, on a target with containers. Raises UsageError and what `image_of` does."""
    images = [each.name for each in project.environments.values() if each.base in ("image", "dockerfile")]
    if not executor.traits.containers:
        _check_no_environment(compute, name)
        return ""
    if name not in images:
        known = f"images: {', '.join(images)}" if images else "no environment has an `image` or a `dockerfile`"
        raise UsageError(f"no image is named for target {compute.name!r}", hint=f"name one with --environment; {known}")
    return image_of(project.environments[name], project.root, executor)


def _check_no_environment(compute: Compute, name: str) -> None:
    if name:
        raise UsageError(f"--environment is for containers; target {compute.name!r} has its own software")


def _here(project: Project, errand: Errand, outputs: Sequence[str]) -> int:
    env = environment_for(project, System())
    program = shutil.which(errand.argv[0], path=env["PATH"]) or errand.argv[0]
    code = _code(subprocess.run([program, *errand.argv[1:]], cwd=project.root, env=env, check=False).returncode)
    _check_written(
        errand.argv, code, [path for path in outputs if not os.path.exists(os.path.join(project.root, path))]
    )
    return code


def _check_written(argv: Sequence[str], code: int, missing: Sequence[str]) -> None:
    if missing and not code:
        raise BuildFailed(f"{argv[0]} ended well but did not write {', '.join(missing)}")


def _job(root: str, argv: tuple[str, ...], outputs: Sequence[str], folder: str, image: str) -> Job:
    """The job; what it writes comes to a folder of its own first, so that it replaces files and changes none."""
    shipment = Shipment(
        name=f"run-{uuid.uuid4().hex}",
        files=tuple(cargo_of(root, name) for name in project_files(root)),
        folders=tuple(dict.fromkeys(filter(None, map(os.path.dirname, outputs)))),
        outputs={path: os.path.join(folder, "back", path) for path in outputs},
        search=SEARCH,
    )
    env = {"PYTHONUNBUFFERED": "1"}
    log = os.path.join(folder, "log")
    return Job(name="mlmake run", argv=argv, env=env, folder="", log=log, image=image, shipment=shipment)


def _there(executor: Executor, root: str, job: Job, say: Say, stopped: list[str]) -> int:
    """See a job through. A signal ends it there, whatever it interrupts here; a second one does not wait for that."""
    try:
        with heeded(partial(_stop, stopped), (signal.SIGINT, *ENDING)):
            return _seen_through(executor, root, job, say, stopped)
    except HostError:
        if stopped:
            raise Interrupted(f"stopped by {stopped[0]}") from None
        raise


def _stop(stopped: list[str], name: str, is_first: bool) -> None:
    stopped.append(name)
    if not is_first:
        raise KeyboardInterrupt


def _seen_through(executor: Executor, root: str, job: Job, say: Say, stopped: list[str]) -> int:
    assert job.shipment, "it goes to another machine"
    handle = executor.submit(job)
    try:
        code = _followed(executor, handle, job.log, say, stopped)
        outputs = job.shipment.outputs
        executor.collect(handle, outputs, lambda *_: False)
        missing = [path for path, back in outputs.items() if not _placed(back, os.path.join(root, path))]
        _check_written(job.argv, code, missing)
        return code
    finally:
        executor.forget(handle)


def _placed(back: str, place: str) -> bool:
    """Move what came back to its place, file by file; False if nothing did. Raises OSError."""
    if not os.path.exists(back):
        return False
    if not os.path.isdir(back):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        rename(back, place)
        return True
    for folder, _, names in os.walk(back):
        beside = os.path.join(place, os.path.relpath(folder, back))
        os.makedirs(beside, exist_ok=True)
        for name in names:
            rename(os.path.join(folder, name), os.path.join(beside, name))
    return True


def _followed(executor: Executor, handle: str, log: str, say: Say, stopped: list[str]) -> int:
    """Say what a job prints until it ends, or until nobody listens, which ends it.

    Raises OSError where it could not run, BrokenPipeError, Interrupted when it was ended.
    """
    offset = 0
    unheard: BrokenPipeError | None = None
    while True:
        if stopped or unheard:
            executor.cancel(handle, _GRACE)
        ended = executor.wait([handle], _POLL)
        if os.path.exists(log):
            with open(log, "rb") as file:
                file.seek(offset)
                said = file.read()
            offset += len(said)
            try:
                say(b"" if unheard else said)
            except BrokenPipeError as error:
                unheard = error
        if ended and stopped:
            raise Interrupted(f"stopped by {stopped[0]}")
        if ended and unheard:
            raise unheard
        if ended:
            if ended[0].problem:
                raise OSError(0, ended[0].problem)
            return _code(ended[0].exit_code)


def _code(code: int) -> int:
    """An exit code as a shell gives it: one of a signal is not below zero."""
    return code if code >= 0 else 128 - code
