"""Jobs that a mlmake which has died left on hosts: which of a project's steps have one there, running or ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from mlmake.engine.checks import compute_of
from mlmake.engine.ledger import Ledger
from mlmake.engine.look import look
from mlmake.engine.scope import Scope
from mlmake.engine.starting import job_name
from mlmake.errors import HostError
from mlmake.model.project import Compute, Project
from mlmake.model.reason import State
from mlmake.model.step import Step
from mlmake.registry import EXECUTORS
from mlmake.services.hosts import connected


@dataclass(frozen=True, kw_only=True, slots=True)
class Sought:
    """What was looked for.

    Attributes:
        found: step -> the target that has its job.
        left: step -> why it is left alone.
        away: target -> why it could not be asked.
    """

    found: Mapping[str, str]
    left: Mapping[str, str]
    away: Mapping[str, str]


def seek(project: Project, steps: Sequence[Step], on: str, connection: sqlite3.Connection) -> Sought:
    """Ask the targets of `steps`, or `on` alone, for jobs that do what the steps as they are now would do.

    `steps` stand in order; fresh ones want no job. Raises UsageError.
    """
    places = {step.id: list(_elsewhere(project, on or step.spec.compute)) for step in steps}
    names: dict[str, str] = {}
    left: dict[str, str] = {}
    with closing(look(project, connection)) as ledger:
        verdicts = ledger.assess(steps)
        for step in (each for each in steps if verdicts[each.id].state is not State.FRESH):
            if why := _unknown(ledger, step) if places[step.id] else "no job of this machine outlives its mlmake":
                left[step.id] = why
            else:
                names[step.id] = job_name(project.root, step.id, ledger.fingerprints.of(step).facts)
    there, away = _asked(project, {each.name: each for wanted in names for each in places[wanted]}.values())
    found: dict[str, str] = {}
    for wanted, name in names.items():
        targets = [each.name for each in places[wanted]]
        if has := [target for target in targets if name in there.get(target, ())]:
            found[wanted] = has[0]
        else:
            left[wanted] = f"no job of it as it is now is on {', '.join(targets)}"
    return Sought(found=found, left=left, away=away)


def scope_of(project: Project, steps: Iterable[Step], sought: Sought) -> Scope:
    """What a build has to look at that takes up what was found: a job that failed is not tried again."""
    found = [step for step in steps if step.id in sought.found]
    return Scope(project, [replace(step, spec=replace(step.spec, retries=0)) for step in found])


def _elsewhere(project: Project, name: str) -> Iterator[Compute]:
    """A target, or the members of a pool, as far as a job there outlives its mlmake."""
    compute = compute_of(project, name)
    if compute.kind == "pool":
        for member in compute.options["of"]:
            yield from _elsewhere(project, member)
    elif EXECUTORS.load(compute.kind).traits.reattach:
        yield compute


def _unknown(ledger: Ledger, step: Step) -> str:
    """Why it is not known what a step would do; "" if it is."""
    fingerprint = ledger.fingerprints.of(step)
    lacking = [*map(str, fingerprint.missing), *(f"{each} is not known" for each in fingerprint.unbuilt)]
    return "; ".join(lacking)


def _asked(project: Project, computes: Iterable[Compute]) -> tuple[dict[str, set[str]], dict[str, str]]:
    """The names of the jobs that are to be found on each target, and why the others do not tell."""
    there: dict[str, set[str]] = {}
    away: dict[str, str] = {}
    for compute in computes:
        try:
            with connected(project, compute) as link:
                told, _ = link.ask("jobs")
            there[compute.name] = {job["job"] for job in told["jobs"] if job["is_found"]}
        except (HostError, OSError) as error:
            away[compute.name] = error.message if isinstance(error, HostError) else str(error)
    return there, away
