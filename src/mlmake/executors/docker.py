"""Jobs in containers: jobs of the engine's machine whose command line is a run of the docker program.

So the engine may be here or behind any transport; files, logs, cancelling and finding again are those of every host.
An engine behind a TCP port is asked from here, and has the files copied in and out.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlmake.errors import HostError, HostUnavailable, UsageError
from mlmake.executors.base import Setting, Traits
from mlmake.executors.containers import (
    USE,
    Container,
    Labels,
    Mount,
    client_env,
    ended,
    inspect_argv,
    named,
    remove_argv,
    run_argv,
)
from mlmake.executors.copying import run_copied_argv
from mlmake.executors.host import HostExecutor
from mlmake.model.docker import Engine, Ran, Trouble, engine_of
from mlmake.model.job import Finished, Job, Shipment
from mlmake.model.project import Compute
from mlmake.transports.agent.wire import Head
from mlmake.transports.base import Transport
from mlmake.transports.local import Local
from mlmake.transports.ssh import Ssh

_HOME = ".mlmake/home"
"""The job's HOME, in its folder."""
_MOST_MOUNTS = 100
"""Inputs that are mounted read-only; of more, the store's own protection is enough."""
_FAR = "tcp://"
"""How an engine is named that may be anywhere."""
_TAIL = 4000
_KILLED = 128 + signal.SIGKILL
_ASKING = 60.0
_POLL = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Housing:
    """What all containers of a target have in common.

    Attributes:
        project: whose they are: the folder of the project.
        run: number of the run that they belong to.
        network: whether they have one.
        mounts: more of the engine's machine that they see.
        engine: where it is, as `unix://path` or `tcp://host:port`; "" for the one that the docker program there asks by
            itself.
    """

    project: str = ""
    run: str = ""
    network: bool = True
    mounts: tuple[Mount, ...] = ()
    engine: str = ""

    @classmethod
    def of(cls, compute: Compute, setting: Setting) -> Housing:
        """What a target's table says. Raises UsageError."""
        host = _host(compute)
        try:
            mounts = tuple(Mount.parse(text) for text in compute.options["mounts"])
        except ValueError as error:
            raise UsageError(f"compute.{compute.name}.mounts: {error}") from None
        return cls(
            project=setting.root,
            run=setting.run,
            network=bool(compute.options["network"]),
            mounts=mounts,
            engine=host if host.startswith(("unix://", _FAR)) else "",
        )

    @property
    def env(self) -> dict[str, str]:
        """What the docker program needs to find the engine."""
        return {"DOCKER_HOST": self.engine} if self.engine else {}

    @property
    def is_far(self) -> bool:
        """The engine may be anywhere, and sees no files of ours."""
        return self.engine.startswith(_FAR)


class DockerExecutor(HostExecutor):
    """Runs jobs in containers of one Docker engine."""

    traits = Traits(shared_disk=False, containers=True, reattach=True)

    @classmethod
    def of(cls, compute: Compute, setting: Setting) -> DockerExecutor:
        housing = Housing.of(compute, setting)
        return cls(transport_of(compute, setting), setting.notice, is_stopping=setting.is_stopping, housing=housing)

    def __init__(self, *args: Any, housing: Housing, **options: Any) -> None:
        super().__init__(*args, **options)
        self._housing = housing
        self._engine: Engine | None = None
        self._containers: dict[str, Container] = {}
        self._opening = threading.Lock()
        self._beside: HostExecutor | None = None

    def connect(self) -> Head:
        hello = super().connect()
        told = engine_of(self.docker)
        if isinstance(told, Trouble):
            raise unusable(self._transport.name, told)
        self._engine = told
        return {**hello, "python": "python3", "cpus": told.cpus or hello["cpus"]}

    def docker(self, argv: Sequence[str], seconds: float = _ASKING) -> Ran:
        """Run the docker program where the engine is. Raises OSError, HostError."""
        return self.ask(argv, self._housing.env, seconds)

    @property
    def is_elsewhere(self) -> bool:
        """The docker program runs on another machine, and sees no files of this one."""
        return not isinstance(self._transport, Local)

    def run_beside(self, job: Job) -> Ran:
        """Run a job where the engine is, outside of any container, to its end. Raises OSError, HostError.

        It has conversations of its own, so that meanwhile nothing has to wait for it.
        """
        with self._opening:
            if self._beside is None:
                self._beside = HostExecutor(self._transport, self._notice, is_stopping=self._is_stopping)
        beside = self._beside
        handle = beside.submit(replace(job, env={**job.env, **self._housing.env}))
        try:
            while not (ended := beside.wait([handle], _POLL)):
                if self._is_stopping():
                    beside.cancel(handle, 0)
            said = beside.read_log(handle, 0).decode("utf-8", "replace")
            return Ran(returncode=ended[0].exit_code, stdout="", stderr=said or ended[0].problem)
        finally:
            beside.forget(handle)

    def close(self) -> None:
        if self._beside:
            self._beside.close()
        super().close()

    def request(self, job: Job, shipment: Shipment, is_new: bool) -> dict[str, Any]:
        _check_text(job)
        container = self._containers[shipment.name] = self._container(job, shipment)
        run = run_copied_argv if self._housing.is_far else run_argv
        argv = {"argv": run(container), "first": remove_argv(container.name)}
        after = {"after": inspect_argv(container.name), "last": remove_argv(container.name)}
        asked = super().request(job, shipment, is_new)
        folders = (*shipment.folders, _HOME)
        own = client_env(container, self._housing.env)
        env = {name: value for name, value in own.items() if name not in job.secrets}
        gpus = {"gpus": 0, "watched": () if self._housing.is_far else job.gpus}
        return {**asked, **argv, **after, "env": env, "folders": folders, "search": (), **gpus, "use": f"{_HOME}/{USE}"}

    def ending(self, head: Head) -> Finished:
        finished = super().ending(head)
        if finished.problem:
            return finished
        name = finished.handle
        container = self._containers.pop(name, None)
        if container is None:
            return finished
        if head.get("killed"):  # the docker program was, and its container with it
            return Finished(name, _KILLED)
        end = ended(container, finished.exit_code, head.get("said", ""), self._log_tail(name))
        return replace(finished, exit_code=end.exit_code, problem=end.problem)

    def _container(self, job: Job, shipment: Shipment) -> Container:
        hello = super().connect()
        root = str(hello["root"])
        tree = f"{root}/jobs/{shipment.name}/tree"
        search = os.pathsep.join(os.path.normpath(f"{tree}/{folder}") for folder in shipment.search)
        user = self._engine.user(hello["user"], hello["group"]) if self._engine else ""
        is_few = len(shipment.inputs) <= _MOST_MOUNTS
        return Container(
            image=job.image,
            name=named(root, shipment.name),
            argv=job.argv,
            tree=tree,
            home=f"{tree}/{_HOME}",
            labels=Labels(
                root=root,
                project=self._housing.project,
                run=self._housing.run,
                step=job.name,
                job=shipment.name,
            ),
            env={**job.env, **job.secrets, **({"PYTHONPATH": search} if search else {})},
            user=user,
            cpus=job.resources.cpus,
            memory=job.resources.memory,
            gpus=job.gpus,
            network=self._housing.network,
            mounts=self._housing.mounts,
            read_only=tuple(f"{tree}/{path.rstrip('/')}" for path in shipment.inputs) if is_few else (),
            is_copied=self._housing.is_far,
            brought=tuple(shipment.outputs),
        )

    def _log_tail(self, handle: str) -> str:
        try:
            size = os.path.getsize(self._logs[handle])
            return self.read_log(handle, max(0, size - _TAIL)).decode("utf-8", "replace")
        except (KeyError, OSError):
            return ""


def unusable(target: str, trouble: Trouble) -> HostError:
    """What a target's engine lacks, as an error."""
    kind = HostUnavailable if trouble.is_passing else HostError
    return kind(f"target {target!r}: {trouble.what}", hint=trouble.hint, about="docker")


def _check_text(job: Job) -> None:
    """Docker would change what is no text without a word. Raises OSError."""
    try:
        "".join([*job.argv, *job.env.values(), *job.secrets.values()]).encode()
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, "Docker takes UTF-8 only, and a word or a variable of it is none") from None


def transport_of(compute: Compute, setting: Setting) -> Transport:
    """The way to the machine of a target's engine, or to here where it is asked from here. Raises UsageError."""
    via, host = str(compute.options["via"]), _host(compute)
    root = os.path.expanduser(str(compute.options["root"]))
    if via:
        return Ssh.of(setting.computes[via], setting.root)
    if host.startswith("ssh://"):
        return Ssh(name=compute.name, host=host.removeprefix("ssh://"), root=str(compute.options["root"]))
    if host and not host.startswith(("unix://", _FAR)):
        raise UsageError(
            f"compute.{compute.name}.host: mlmake knows no way to an engine at {host!r}",
            hint="say unix://…, tcp://… or ssh://…, or name a target of kind ssh in `via`",
        )
    return Local(root, name=compute.name)


def _host(compute: Compute) -> str:
    """The engine that a target names, or that the docker program would ask here."""
    named = str(compute.options["host"])
    return named or ("" if compute.options["via"] else os.environ.get("DOCKER_HOST", ""))
