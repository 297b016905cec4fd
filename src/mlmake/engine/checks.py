"""What must hold before anything runs; each check raises an error that names the step and the next move."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from mlmake.engine.slots import Slots
from mlmake.errors import MissingInputError, NotYetError, UsageError, nearest
from mlmake.home import Home
from mlmake.model.project import Compute, Environment, Project
from mlmake.model.reason import Cause, State, Verdict
from mlmake.model.step import Step

_GONE = (Cause.INPUT_MISSING, Cause.SCRIPT_MISSING, Cause.SOURCE_MISSING, Cause.VARIABLE_MISSING)
_IMAGES = ("image", "dockerfile")
_EQUIPPED = {"local", "ssh"}
"""Kinds of targets on which environments are made."""


def project_token(home: Home) -> str:
    """What marks the processes of every build of a project."""
    return f"{home.root}:"


def is_inside(home: Home) -> bool:
    """Whether this process belongs to a step of a build of the project."""
    return os.environ.get("MLMAKE_BUILD", "").startswith(project_token(home))


def check_not_inside(home: Home) -> None:
    """A build inside a step of a build of the same project would wait for itself. Raises UsageError."""
    if is_inside(home):
        raise UsageError(
            "a step cannot build its own project: this build would wait for the one that it is a part of",
            hint="name what it needs as its inputs; mlmake builds these first",
        )


def compute_of(project: Project, name: str) -> Compute:
    """The compute target of that name. Raises UsageError."""
    if name == "local":
        return project.computes.get(name, Compute(name=name, kind=name))
    if name not in project.computes:
        near = nearest(name, ["local", *project.computes])
        hint = f"did you mean {near!r}?" if near else "`mlmake compute list` lists them"
        raise UsageError(f"unknown compute target {name!r}", hint=hint)
    return project.computes[name]


def check_supported(project: Project, steps: Sequence[Step], on: str = "") -> None:
    """Refuse what is declared rightly but cannot be done yet. Raises UsageError, NotYetError that names it.

    `on` is a compute target for all of them.
    """
    if on:
        compute_of(project, on)
    for step in steps:
        where = f"pipelines.{step.pipeline}.steps.{step.group}"
        environment = project.environments.get(step.spec.environment)
        if not step.spec.delivers:
            kinds = set(map(project.kind, project.members(on or step.spec.compute)))
            _check_environment(environment, kinds, where)
        remote = [output for output in step.outputs if output.location.is_remote]
        if remote and step.spec.in_place:
            raise UsageError(
                f"{where}: an in_place step cannot write to {remote[0].location.text!r}",
                hint="let it write to the path that it is handed, or copy its output in a step of its own",
            )


def _check_environment(environment: Environment | None, kinds: set[str], where: str) -> None:
    """Whether what a step runs in fits to where it runs, by the kinds of its targets."""
    has_image = environment is not None and environment.base in _IMAGES
    if "docker" in kinds and not has_image:
        raise UsageError(
            f"{where}: its compute target has containers, and no image is named for the step",
            hint="give it an environment with an `image` or a `dockerfile`",
        )
    if environment is None:
        return
    if has_image:
        if kinds != {"docker"}:
            raise UsageError(
                f"{where}: environment {environment.name!r} is an image and needs a compute target of kind docker",
                hint="name one in 'compute', or give the environment a 'python' or 'conda' instead",
            )
    elif others := kinds - _EQUIPPED:
        raise NotYetError(
            f"{where}: environment {environment.name!r} cannot be made on a target of kind {min(others)!r}",
            hint=f"name a target of kind {' or '.join(sorted(_EQUIPPED))}, or leave 'environment' out",
        )


def check_room(steps: Sequence[Step], slots: Slots) -> None:
    for step in steps:
        lacking = slots.lacks(step.spec.resources)
        if lacking:
            wants = ", ".join(f"{name} = {amount:g}" for name, amount in lacking.items())
            raise UsageError(
                f"pipelines.{step.pipeline}.steps.{step.group}.resources: target 'local' does not offer {wants}",
                hint="say what this machine has in [compute.local], or ask for less",
            )


def check_inputs(project: Project, verdicts: Mapping[str, Verdict]) -> None:
    """Like make: a file that nobody makes stops the build before anything has run. Raises MissingInputError."""
    lines = [
        f"step {project.shown(step)}: {reason}"
        for step, verdict in verdicts.items()
        for reason in verdict.reasons
        if verdict.state is State.BLOCKED and reason.cause in _GONE
    ]
    if lines:
        raise MissingInputError("\n".join(lines), hint="`mlmake -k` builds what does not need it")
