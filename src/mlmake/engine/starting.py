"""From a step that may start to an attempt and its job."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from mlmake.engine import inside
from mlmake.engine.attempt import Attempt, Queued
from mlmake.engine.handing import handed, link
from mlmake.engine.ledger import Ledger, Moment
from mlmake.engine.request import call_for, environment_for, job_for, shipped_job
from mlmake.engine.shipping import Places, shipment
from mlmake.engine.slots import Lease
from mlmake.engine.staging import Spares, stage
from mlmake.engine.staying import Staying
from mlmake.engine.targets import Target
from mlmake.environments.base import Installed, Software
from mlmake.errors import HostError, LostContent
from mlmake.executors.base import Setting
from mlmake.home import Home
from mlmake.model.job import Job
from mlmake.model.project import Project
from mlmake.model.reason import Cause
from mlmake.model.run import Outcome, StepRun
from mlmake.state.cache import key_of_facts


class Submitted(NamedTuple):
    """A job's handle, or why it has none.

    Its target is out of reach where it `is_lost`, and has no more what was left there where something `is_gone`.
    """

    handle: str
    problem: str = ""
    is_lost: bool = False
    is_gone: bool = False


class Starter:
    """Makes attempts of steps, and their jobs."""

    def __init__(self, project: Project, run: int, ledger: Ledger, setting: Setting) -> None:
        self._attached = setting.attached
        self._told = setting.told
        self._project = project
        self._staying = Staying(project, setting.on)
        self._home = Home(project.root)
        self._run = run
        self._ledger = ledger
        self._environments: dict[str, Mapping[str, str]] = {}
        self._host = socket.gethostname()
        self.spares = Spares()

    def step_run(self, queued: Queued, target: str = "") -> StepRun:
        """What is remembered of an attempt from its start on."""
        return StepRun(
            run=self._run,
            step=queued.step.id,
            outcome=Outcome.RUNNING,
            started=time.time(),
            attempt=queued.number,
            host=self._host,
            target=target or queued.step.spec.compute,
            log=self._home.log(self._run, queued.step.id, queued.number),
            reasons=queued.reasons,
        )

    def attempt(self, queued: Queued, target: Target, lease: Lease, before: Moment) -> Attempt:
        """An attempt of a step whose facts are `before`."""
        place = stage(self._home, queued.step, self._run, self.spares)
        return Attempt(queued, lease, place, before, self.step_run(queued, target.name), None, target)

    def job(self, attempt: Attempt, target: Target) -> Job:
        """The job of an attempt, as this machine would run it."""
        paths = handed(attempt.step, attempt.before.fingerprint, attempt.stage)
        outputs = attempt.stage.outputs
        software = self._ledger.softwares.of(attempt.step.spec, target.name)
        python = software.python
        if not target.is_here:
            streamed = {each.name for each in attempt.step.inputs if each.is_streamed}
            paths = {name: each if name in streamed else self._inside(each) for name, each in paths.items()}
            outputs = dict(zip(outputs, self._inside(tuple(outputs.values())), strict=True))
            python = software.python if isinstance(software, Installed) else target.python
        call = call_for(attempt.step, paths, outputs, self._project.root, python)
        job = job_for(
            self._project,
            attempt.step,
            call,
            self._environment(software),
            attempt.queued.number,
            attempt.step_run.log,
            attempt.lease.gpus,
        )
        keep = self._home.keep(self._run, attempt.step.id) if target.is_here else inside.KEEP
        more = inside.variables(attempt.step, self._run, keep, self._told)
        if target.is_here:
            return replace(job, env={**job.env, **more})
        environment = self._project.environments.get(attempt.step.spec.environment)
        found = software.variables({"PATH": target.path})
        goes = shipped_job(job, call, environment, found, attempt.step.spec.timeout)
        image = target.images.get(attempt.step.spec.environment, "")
        key = os.path.basename(software.folder) if isinstance(software, Installed) else ""
        return replace(goes, env={**goes.env, **more}, image=image, environment=key, gpus=attempt.lease.gpus)

    def _environment(self, software: Software) -> Mapping[str, str]:
        """What steps of one environment find in theirs: worked out once, as it is the same for thousands of them."""
        if software.python not in self._environments:
            found = environment_for(self._project, software)
            if software.python != sys.executable:
                found["PYTHONPATH"] = os.pathsep.join([found["PYTHONPATH"], inside.stand_in(self._home)])
            self._environments[software.python] = found
        return self._environments[software.python]

    def prepare(self, attempt: Attempt, job: Job, target: Target) -> Job:
        """Make an attempt's places, and gather what goes along with its job. Raises OSError."""
        os.makedirs(os.path.dirname(job.log), exist_ok=True)
        attempt.stage.prepare()
        if attempt.queued.number > 1:
            inside.forget_kept(self._home, attempt.step_run)
        seen = attempt.before.fingerprint
        if target.is_here:
            link(attempt.step, seen, attempt.stage)
            return job
        parts = shipment(
            job_name(self._project.root, attempt.step.id, seen.facts),
            attempt.step,
            seen,
            attempt.stage,
            self._project.root,
            self._ledger.digests,
        )
        goes = inside.with_inside(parts, self._home.keep(self._run, attempt.step.id))
        attempt.outputs = goes.outputs
        places = Places(self._project.root)
        stays = self._staying.of(attempt.step, target.name)
        attempt.stays = {name: places.inside(attempt.stage.outputs[name]) for name in stays}
        is_new = any(reason.cause is Cause.FORCED for reason in attempt.queued.reasons)
        is_there = attempt.step.id in self._attached
        return replace(job, shipment=replace(goes, is_new=is_new, is_there=is_there))

    def _inside(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        places = Places(self._project.root)
        return tuple(os.path.join(self._project.root, places.inside(path)) for path in paths)


def job_name(root: str, step: str, facts: Mapping[str, str]) -> str:
    """The name of a job on a host: the same as long as this project's step would do the same."""
    project = f"{socket.gethostname()}:{root}"
    return key_of_facts({**facts, "mlmake project": project, "mlmake step": step})[:40]


def submitted(target: Target, job: Job, joined: Callable[[Job], Job] = lambda job: job) -> Submitted:
    """Hand a job to its target, as `joined` makes it in the last moment; for any thread."""
    try:
        return Submitted(target.executor.submit(joined(job)))
    except LostContent as error:
        return Submitted("", f"{error.message} ({error.hint})", is_gone=True)
    except HostError as error:
        return Submitted("", error.message, is_lost=True)
    except OSError as error:
        return Submitted("", refusal(job, error))


def refusal(job: Job, error: OSError) -> str:
    """Why a job could not start, in words."""
    about = f"{error.filename}: " if error.filename and error.filename != job.argv[0] else ""
    return f"cannot start {job.argv[0]}: {about}{error.strerror or error}"
