"""Jobs in containers: jobs of the engine's machine whose command line is a run of the docker program.

So the engine may be here or behind any transport; files, logs, cancelling and finding again are those of every host.
An engine behind a TCP port is asked from here, and has the files copied in and out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlmake.errors import HostError, HostUnavailable, UsageError
from mlmake.executors.base import Setting, Traits
from mlmake.executors.containers import (
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
from mlmake.model.docker import Engine, Ran, Trouble, engine_argv, engine_told
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
_ASKING = 60.0
_POLL = 0.5


class DockerExecutor(HostExecutor):
    """Runs jobs in containers of one Docker engine."""

    traits = Traits(shared_disk=False, containers=True, reattach=True)

    @classmethod
    def of(cls, compute: Compute, setting: Setting) -> DockerExecutor:
        executor = cls(transport_of(compute, setting), setting.notice, is_stopping=setting.is_stopping)
        executor._setting = setting
        executor._network = bool(compute.options["network"])
        executor._mounts = tuple(Mount.parse(text) for text in compute.options["mounts"])
        host = _host(compute)
        executor._env = {"DOCKER_HOST": host} if host.startswith(("unix://", _FAR)) else {}
        executor._is_far = host.startswith(_FAR)
        return executor

    _setting = Setting(token="")
    _network = True
    _mounts: tuple[Mount, ...] = ()
    _env: dict[str, str] = {}  # noqa: RUF012 - replaced as a whole, never changed
    _engine: Engine | None = None
    _is_far = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._containers: dict[str, Container] = {}
        self._opening = threading.Lock()
        self._beside: HostExecutor | None = None

    def connect(self) -> Head:
        hello = super().connect()
        told = engine_told(self.docker(engine_argv()))
        if isinstance(told, Trouble):
            kind = HostUnavailable if told.is_passing else HostError
            raise kind(f"target {self._transport.name!r}: {told.what}", hint=told.hint)
        self._engine = told
        return {**hello, "python": "python3", "cpus": told.cpus or hello["cpus"]}

    def docker(self, argv: Sequence[str], seconds: float = _ASKING) -> Ran:
        """Run the docker program where the engine is. Raises OSError, HostError."""
        return self.ask(argv, self._env, seconds)

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
                to = self._setting
                self._beside = HostExecutor(self._transport, to.notice, is_stopping=to.is_stopping)
        beside = self._beside
        handle = beside.submit(replace(job, env={**job.env, **self._env}))
        try:
            while not (ended := beside.wait([handle], _POLL)):
                if self._setting.is_stopping():
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
        container = self._containers[shipment.name] = self._container(job, shipment)
        run = run_copied_argv if self._is_far else run_argv
        argv = {"argv": run(container), "first": remove_argv(container.name)}
        after = {"after": inspect_argv(container.name), "last": remove_argv(container.name)}
        asked = super().request(job, shipment, is_new)
        folders = (*shipment.folders, _HOME)
        gpus = {"gpus": 0, "watched": () if self._is_far else job.gpus}
        env = {name: value for name, value in client_env(container, self._env).items() if name not in job.secrets}
        return {**asked, **argv, **after, "env": env, "folders": folders, "search": (), **gpus}

    def ending(self, head: Head) -> Finished:
        finished = super().ending(head)
        if finished.problem:
            return finished
        name = finished.handle
        container = self._containers.pop(name, None)
        if container is None:
            return finished
        end = ended(container, finished.exit_code, head.get("said", ""), self._log_tail(name))
        return Finished(name, end.exit_code, end.problem, gpu_memory=finished.gpu_memory)

    def _container(self, job: Job, shipment: Shipment) -> Container:
        hello = super().connect()
        tree = f"{hello['root']}/jobs/{shipment.name}/tree"
        search = os.pathsep.join(os.path.normpath(f"{tree}/{folder}") for folder in shipment.search)
        user = self._engine.user(hello["user"], hello["group"]) if self._engine else ""
        is_few = len(shipment.inputs) <= _MOST_MOUNTS
        return Container(
            image=job.image,
            name=named(shipment.name),
            argv=job.argv,
            tree=tree,
            home=f"{tree}/{_HOME}",
            labels=Labels(project=self._setting.root, run=self._setting.run, step=job.name, job=shipment.name),
            env={**job.env, **job.secrets, **({"PYTHONPATH": search} if search else {})},
            user=user,
            cpus=job.resources.cpus,
            memory=job.resources.memory,
            gpus=job.gpus,
            network=self._network,
            mounts=self._mounts,
            read_only=tuple(f"{tree}/{path.rstrip('/')}" for path in shipment.inputs) if is_few else (),
            is_copied=self._is_far,
            brought=tuple(shipment.outputs),
        )

    def _log_tail(self, handle: str) -> str:
        try:
            size = os.path.getsize(self._logs[handle])
            return self.read_log(handle, max(0, size - _TAIL)).decode("utf-8", "replace")
        except (KeyError, OSError):
            return ""


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
