"""From a step that may start to an attempt and its job."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from mlmake.engine import inside
from mlmake.engine.attempt import Attempt, Queued
from mlmake.engine.images import image_of
from mlmake.engine.ledger import Ledger, Moment
from mlmake.engine.request import call_for, environment_for, job_for, shipped_job
from mlmake.engine.shipping import Places, shipment
from mlmake.engine.slots import Lease
from mlmake.engine.staging import Spares, stage
from mlmake.engine.targets import Target
from mlmake.environments.base import Software
from mlmake.errors import HostError, MlmakeError
from mlmake.home import Home
from mlmake.model.job import Job
from mlmake.model.project import Environment, Project
from mlmake.model.reason import Cause
from mlmake.model.run import Outcome, StepRun
from mlmake.state.cache import key_of_facts


class Submitted(NamedTuple):
    """A job's handle, or why it has none; `is_lost` where its target is out of reach."""

    handle: str
    problem: str = ""
    is_lost: bool = False


class Starter:
    """Makes attempts of steps, and their jobs."""

    def __init__(self, project: Project, run: int, ledger: Ledger, told: Mapping[str, str]) -> None:
        self._project = project
        self._home = Home(project.root)
        self._run = run
        self._ledger = ledger
        self._told = told
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
        paths = attempt.before.fingerprint.paths
        outputs = attempt.stage.outputs
        software = self._ledger.softwares.of(attempt.step.spec)
        python = software.python
        if not target.is_here:
            streamed = attempt.step.spec.streamed
            paths = {name: each if name in streamed else self._inside(each) for name, each in paths.items()}
            outputs = dict(zip(outputs, self._inside(tuple(outputs.values())), strict=True))
            python = target.python
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
        goes = shipped_job(job, call, environment, attempt.step.spec.timeout)
        image = target.images.get(attempt.step.spec.environment, "")
        return replace(goes, env={**goes.env, **more}, image=image, gpus=attempt.lease.gpus)

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
        if target.is_here:
            return job
        seen = attempt.before.fingerprint
        parts = shipment(
            self._name(attempt.step.id, seen.facts),
            attempt.step,
            seen,
            attempt.stage.outputs,
            self._project.root,
            self._ledger.digests,
            is_new=any(reason.cause is Cause.FORCED for reason in attempt.queued.reasons),
        )
        goes = inside.with_inside(parts, self._home.keep(self._run, attempt.step.id))
        attempt.outputs = goes.outputs
        return replace(job, shipment=goes)

    def _name(self, step: str, facts: Mapping[str, str]) -> str:
        """The name of a job on a host: the same as long as this project's step would do the same."""
        return key_of_facts({**facts, "mlmake project": f"{self._host}:{self._project.root}", "mlmake step": step})[:40]

    def _inside(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        places = Places(self._project.root)
        return tuple(os.path.join(self._project.root, places.inside(path)) for path in paths)


def submitted(target: Target, job: Job) -> Submitted:
    """Hand a job to its target; for any thread."""
    try:
        return Submitted(target.executor.submit(job))
    except HostError as error:
        return Submitted("", error.message, is_lost=True)
    except OSError as error:
        return Submitted("", refusal(job, error))


def image_at(target: Target, environment: Environment, root: str) -> Submitted:
    """The id of an image, as a handle, had on a target; for any thread."""
    try:
        return Submitted(image_of(environment, root, target.executor))
    except HostError as error:
        return Submitted("", error.message, is_lost=True)
    except MlmakeError as error:
        return Submitted("", f"{error.message}{f' ({error.hint})' if error.hint else ''}")
    except OSError as error:
        return Submitted("", f"the image cannot be had: {error}")


def refusal(job: Job, error: OSError) -> str:
    """Why a job could not start, in words."""
    about = f"{error.filename}: " if error.filename and error.filename != job.argv[0] else ""
    return f"cannot start {job.argv[0]}: {about}{error.strerror or error}"
