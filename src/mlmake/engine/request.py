"""From a step and its places to the job that runs it: pure, so that it can be printed, compared and tested."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlmake.environments.base import Software
from mlmake.model.data import Value
from mlmake.model.job import Job
from mlmake.model.project import Environment, Project
from mlmake.model.step import Step
from mlmake.model.template import Call, as_text

_NO_NAME = re.compile(r"[^A-Z0-9_]")
_GPUS = "CUDA_VISIBLE_DEVICES"
_CONTAINER_GPUS = "NVIDIA_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"
"""How CUDA counts GPUs: as nvidia-smi does, or the quickest first."""
_PYTHON = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
"""Logs are up to date. And Python believes its bytecode by size and second: a module that was edited twice within one
would run as it was before."""
_LONGEST = 128 * 1024 - 256
"""Linux takes no longer text into an environment (MAX_ARG_STRLEN, names and a spare included)."""


def call_for(
    step: Step,
    inputs: Mapping[str, tuple[str, ...]],
    outputs: Mapping[str, str],
    root: str,
    python: str,
) -> Call:
    """What a step's command line may say; paths inside the project are handed over relative to its root."""
    declared = {output.name: output for output in step.outputs}
    return Call(
        python=python,
        inputs={name: tuple(_shown(path, root) for path in paths) for name, paths in inputs.items()},
        outputs={
            name: _shown(path, root) + ("/" if declared[name].location.is_folder else "")
            for name, path in outputs.items()
        },
        params={param.name: param.value for param in step.params},
        matrix=step.matrix,
        env=os.environ,
        sources={each.name: tuple(source.location for source in each.sources) for each in step.inputs},
        targets={name: output.location for name, output in declared.items()},
    )


def environment_for(project: Project, software: Software) -> dict[str, str]:
    """What every step of a project finds in its environment, beside its own variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLMAKE_")}
    search = [os.path.join(project.root, "src"), os.path.join(project.root, "steps"), project.root]
    search += [inherited["PYTHONPATH"]] if inherited.get("PYTHONPATH") else []
    own = {"PYTHONPATH": os.pathsep.join(search), **_PYTHON}
    every = {**inherited, **software.variables(inherited), **own}
    return {name: value for name, value in every.items() if value is not None}


def job_for(
    project: Project,
    step: Step,
    call: Call,
    environment: Mapping[str, str],
    attempt: int,
    log: str,
    gpus: Sequence[int] = (),
) -> Job:
    """The job of one attempt; `environment` is that of the project, `gpus` are those that it may use, by index."""
    return Job(
        name=f"{step.id} attempt {attempt}",
        argv=step.spec.kind.argv(call),
        env={**environment, **_visible(gpus, environment), **variables(call)},
        folder=project.root,
        log=os.path.join(project.root, log),
        resources=step.spec.resources,
        gpus=tuple(gpus),
    )


def shipped_job(
    job: Job,
    call: Call,
    environment: Environment | None,
    software: Mapping[str, str | None],
    timeout: float = 0.0,
) -> Job:
    """A job as it goes elsewhere: of this machine's variables it takes along what its environment names.

    `software` are those of the environment there.
    """
    named = environment.variables if environment else ()
    there = {name: value for name, value in software.items() if value is not None}
    own = {**_PYTHON, **there, **of_ours(named), **variables(call)}
    secrets = of_ours(environment.secrets if environment else ())
    return replace(job, env=own, secrets=secrets, folder="", timeout=timeout)


def of_ours(names: Sequence[str]) -> dict[str, str]:
    """These variables, as far as they are set here."""
    return {name: os.environ[name] for name in names if name in os.environ}


def _visible(gpus: Sequence[int], environment: Mapping[str, str]) -> dict[str, str]:
    """The variable by which CUDA takes GPUs; where mlmake itself was given only some, they are counted among those."""
    if not gpus:
        return {}
    given = [gpu.strip() for gpu in environment.get(_GPUS, "").split(",") if gpu.strip()]
    chosen = ",".join(given[gpu] if gpu < len(given) else str(gpu) for gpu in gpus)
    return {_GPUS: chosen, _CONTAINER_GPUS: chosen, _ORDER: environment.get(_ORDER, "PCI_BUS_ID")}


def variables(call: Call) -> dict[str, str]:
    """`MLMAKE_INPUT_TABLE` and its like; several paths stand a line each, a list of values as JSON.

    What is too long for a variable is left out: thousands of inputs must not keep a step from starting.
    """
    values = {_variable("INPUT", name): "\n".join(paths) for name, paths in call.inputs.items()}
    values |= {_variable("OUTPUT", name): path for name, path in call.outputs.items()}
    values |= {_variable("PARAM", name): _plain(value) for name, value in call.params.items()}
    values |= {_variable("MATRIX", axis): _plain(value) for axis, value in call.matrix.items()}
    return {name: value for name, value in values.items() if len(os.fsencode(value)) < _LONGEST}


def _plain(value: Value) -> str:
    return json.dumps(value, default=str) if isinstance(value, list) else as_text(value)


def _variable(space: str, name: str) -> str:
    return f"MLMAKE_{space}_{_NO_NAME.sub('_', name.upper())}"


def _shown(path: str, root: str) -> str:
    """A path as it is handed over: relative to the root where it can be, and never looking like an option."""
    if not path.startswith(f"{root}/"):
        return path
    shown = path[len(root) + 1 :]
    return f"./{shown}" if shown.startswith("-") else shown
