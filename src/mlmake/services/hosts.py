"""Hosts as people look after them: which there are, the way to them, and what old jobs left there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from mlmake.engine.checks import compute_of
from mlmake.errors import UsageError
from mlmake.executors import docker
from mlmake.executors.base import Setting
from mlmake.executors.containers import Found, find_argv, found, remove_argv
from mlmake.executors.docker import Housing
from mlmake.executors.host import ran
from mlmake.model.docker import Ran, Run, explained
from mlmake.model.project import Compute, Project
from mlmake.transports.base import Transport
from mlmake.transports.link import Link
from mlmake.transports.ssh import Ssh

_REACHED = ("ssh", "docker")
"""Kinds of targets that have a root of ours somewhere."""
_ASKING = 60.0
_NO_LIMIT = 1 << 62


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaned:
    """What was removed from a host: jobs, environments, containers, bytes of contents; and the bytes that are kept."""

    jobs: tuple[str, ...]
    environments: tuple[str, ...]
    containers: tuple[str, ...]
    dropped: int
    kept: int


def hosts(project: Project, name: str) -> list[Compute]:
    """The targets that are elsewhere; with a name, just this one, or the members of this pool. Raises UsageError."""
    if not name:
        return [compute for compute in project.computes.values() if compute.kind in _REACHED]
    compute = compute_of(project, name)
    members = [compute_of(project, each) for each in compute.options["of"]] if compute.kind == "pool" else [compute]
    chosen = [each for each in members if each.kind in _REACHED]
    if not chosen:
        raise UsageError(f"compute target {name!r} is this machine: there is nothing to connect to")
    return chosen


def clean(project: Project, compute: Compute, age: float, limit: int | None) -> Cleaned:
    """Remove jobs that ended longer ago than `age` seconds, environments that nobody has used for so long, containers
    that nobody looks after any more, and of the contents what is over `limit` bytes; where that is None, over what the
    target's table says.

    Raises HostError, OSError.
    """
    most = limit if limit is not None else int(compute.options["store_limit"]) or _NO_LIMIT
    with connected(project, compute) as link:
        run = docker_program(project, compute, link)
        listed = _containers(compute, link, run) if run else []
        told, _ = link.ask("clean", age=age, limit=most)
        left = {each.id: each.name for each in listed if each.labels.job not in told["running"]}
        gone = _removed(run, list(left)) if run and left else []
    names = tuple(left[each] for each in gone if each in left)
    return Cleaned(
        jobs=tuple(told["jobs"]),
        environments=tuple(told["environments"]),
        containers=names,
        dropped=told["dropped"],
        kept=told["kept"],
    )


@contextmanager
def connected(project: Project, compute: Compute) -> Iterator[Link]:
    """A conversation with the host of a target. Raises HostError, UsageError."""
    transport = _transport(project, compute)
    try:
        link = Link(transport)
        try:
            yield link
        finally:
            link.close()
    finally:
        transport.close()


def docker_program(project: Project, compute: Compute, link: Link) -> Run | None:
    """What runs the docker program for a target; None for one without containers."""
    if compute.kind != "docker":
        return None
    env = Housing.of(compute, _setting(project)).env
    return partial(ran, link, env=env, seconds=_ASKING)


def _transport(project: Project, compute: Compute) -> Transport:
    setting = _setting(project)
    return docker.transport_of(compute, setting) if compute.kind == "docker" else Ssh.of(compute, setting.root)


def _setting(project: Project) -> Setting:
    return Setting(token="", root=project.root, computes=project.computes)


def _containers(compute: Compute, link: Link, run: Run) -> list[Found]:
    """The containers of the jobs under a target's root."""
    told = run(find_argv(root=str(link.hello["root"])))
    if told.returncode:
        raise docker.unusable(compute.name, explained(told.stderr))
    return found(told.stdout)


def _removed(run: Run, containers: Sequence[str]) -> list[str]:
    """Remove containers by their ids, so that a new one of the same name is left alone; those that are gone."""
    told: Ran = run(remove_argv(*containers))
    return told.stdout.split()
