"""Making one environment on a host, in a thread: by a job there that goes on without us, from files that travel."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from mlmake.engine.installing import PLAIN, Made, failed, unmade
from mlmake.engine.shipping import cargo_of, project_files
from mlmake.environments import probe
from mlmake.environments.base import Facts, Recipe, Resolved, Tools
from mlmake.errors import HostError, SoftwareError, StoreError
from mlmake.executors.base import Executor
from mlmake.model.docker import Ran
from mlmake.model.job import Cargo, Finished, Job, Shipment
from mlmake.state.softwares import Told

_PATIENCE = 60.0
"""Seconds within which a host must have looked for its tools."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outfit:
    """An environment that is wanted on a host.

    Attributes:
        name: as in pipelines.toml.
        host: the compute target's name.
        key: names its folder on the host.
        job: the name of the job that makes it: this project's own, so that its end is nobody else's.
        log: absolute path of the file here that takes what its installer says.
        root: the project's folder.
        facts: what is known of it here, with the files that it is made from.
        env: variables that the installer finds beside those of the host.
        secrets: variables that no file may hold.
    """

    name: str
    host: str
    recipe: Recipe
    key: str
    job: str
    log: str
    root: str
    facts: Facts
    env: Mapping[str, str]
    secrets: Mapping[str, str]


class Host(Protocol):
    """An executor on whose host environments can be made."""

    def connect(self) -> Mapping[str, Any]: ...

    def environment(self, key: str, probe: Sequence[str], traces: Sequence[str]) -> str: ...

    def ask(self, argv: Sequence[str], env: Mapping[str, str], seconds: float) -> Ran: ...

    def follow(self, job: Job, go_on: Callable[[], object]) -> Finished: ...

    def forget(self, handle: str) -> None: ...


def outfit(wanted: Outfit, executor: Executor, begin: Callable[[], object], go_on: Callable[[], object]) -> Made:
    """Have an environment on a host; `begin` is called if it must be made. For any thread.

    `go_on` raises StoreError once all is to stop.
    """
    host = cast("Host", executor)
    try:
        hello = host.connect()
        told = _look(wanted, host, hello)
        if told is None:
            begin()
            _make(wanted, host, hello, go_on)
            told = _look(wanted, host, hello)
        host.forget(wanted.job)  # one whose mlmake had died may still be there
        if told is None:
            return Made(f"environment {wanted.name} on {wanted.host} does not stay as it was built")
        return Made(told=told)
    except HostError as error:
        return Made(error.message, is_lost=True)
    except SoftwareError as error:
        return unmade(f"{wanted.name} on {wanted.host}", error)
    except StoreError as error:
        return Made(error.message)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        return unmade(f"{wanted.name} on {wanted.host}", SoftwareError(f"{error.strerror or error}{about}"))


def _look(wanted: Outfit, host: Host, hello: Mapping[str, Any]) -> Told | None:
    """What is there; None if nothing stands. Raises OSError, HostError, SoftwareError."""
    recipe, folder = wanted.recipe, _folder(wanted, hello)
    argv = recipe.probe(folder, _own(wanted, hello))
    said = host.environment(wanted.key, argv, recipe.traces)
    if not said:
        return None
    try:
        return Told(folder, Resolved.read(said))
    except ValueError as error:
        raise SoftwareError(f"it does not say what is in it: {error}") from error


def _make(wanted: Outfit, host: Host, hello: Mapping[str, Any], go_on: Callable[[], object]) -> None:
    tools, folder = _tools(wanted, host, hello), _folder(wanted, hello)
    order = {
        "folder": folder,
        "commands": wanted.recipe.commands(folder, tools),
        "probe": wanted.recipe.probe(folder, tools),
        "traces": wanted.recipe.traces,
    }
    files = tuple({cargo.path: cargo for cargo in _cargo(wanted)}.values())
    job = Job(
        name=f"environment {wanted.name}",
        argv=(hello["python"], "-E", "-s", "-X", "utf8", hello["agent"], "equip", json.dumps(order)),
        env={**PLAIN, **wanted.env},
        secrets=wanted.secrets,
        folder="",
        log=wanted.log,
        shipment=Shipment(name=wanted.job, files=files, is_new=True),
    )
    os.makedirs(os.path.dirname(wanted.log), exist_ok=True)
    with open(wanted.log, "wb"):
        pass  # what an earlier one said is not this one's words
    finished = host.follow(job, go_on)
    if finished.is_lost:
        raise HostError(finished.problem)
    if finished.problem:
        raise SoftwareError(finished.problem)
    if finished.exit_code:
        with open(wanted.log, encoding="utf-8", errors="replace") as log:
            raise failed(finished.exit_code, log.read(), wanted.host)


def _tools(wanted: Outfit, host: Host, hello: Mapping[str, Any]) -> Tools:
    own = _own(wanted, hello)
    ran = host.ask(probe.look_for(own.own, wanted.recipe.version), {}, _PATIENCE)
    try:
        return probe.tools_of(own, ran.stdout)
    except ValueError as error:
        raise SoftwareError(f"{wanted.host} cannot be asked for its tools: {error}", words=ran.stderr) from error


def _own(wanted: Outfit, hello: Mapping[str, Any]) -> Tools:
    return Tools(own=str(hello["python"]), host=wanted.host)


def _folder(wanted: Outfit, hello: Mapping[str, Any]) -> str:
    return f"{hello['root']}/environments/{wanted.key}"


def _cargo(wanted: Outfit) -> Iterator[Cargo]:
    """The files that it is made from, as far as they lie in the project. Raises SoftwareError, OSError."""
    facts, root = wanted.facts, wanted.root
    if facts.editable:
        raise SoftwareError(
            f"package {facts.editable[0]} is editable (-e), and its code stays on this machine",
            hint="name it without -e, or let the steps import its code from src/",
        )
    for path, digest in facts.sources.items():
        if name := _inside(path, root):
            yield Cargo(name, path, digest, os.path.getsize(path))
    for folder in facts.folders:
        if below := _inside(folder, root):
            yield from (cargo_of(root, name) for name in project_files(root, below))
    for folder in facts.links:
        if below := _inside(folder, root):
            names = (os.path.join(below, name) for name in sorted(os.listdir(folder)))
            yield from (cargo_of(root, name) for name in names if os.path.isfile(os.path.join(root, name)))


def _inside(path: str, root: str) -> str:
    """A path relative to the project; "" for one elsewhere, which may be one of the host's."""
    return os.path.relpath(path, root) if f"{path}/".startswith(f"{root}/") else ""
