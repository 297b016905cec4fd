"""Compute targets: where steps run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlmake.config import tables
from mlmake.config.build import build
from mlmake.errors import UnknownName, WrongValue, nearest
from mlmake.sdk.folder import WorkspaceFolder

ComputeTargetException = UnknownName
"""What a target that is not there raises."""


class ComputeTarget:
    """The compute target `name` of a workspace. Raises ComputeTargetException where there is none."""

    def __init__(self, workspace: WorkspaceFolder, name: str) -> None:
        self.workspace = workspace
        self.name = name
        known = workspace.compute_tables()
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"declare [compute.{name}] in pipelines.toml, or create it"
            raise ComputeTargetException(f"Target {name} does not exist in the workspace.", hint=hint)
        self._table = known[name]

    @property
    def type(self) -> str:
        """Its kind: local, ssh, docker, pool."""
        return str(self._table.get("kind", "local"))

    @property
    def provisioning_state(self) -> str:
        """A target that is known can be used."""
        return self.get_status().provisioning_state

    @staticmethod
    def create(workspace: WorkspaceFolder, name: str, provisioning_configuration: Provisioned) -> ComputeTarget:
        """Register a target. Nothing is bought: a cluster's configuration makes a target on this machine.

        Raises WrongValue for what pipelines.toml could not say of a target.
        """
        table = dict(provisioning_configuration.table)
        kind = str(table.get("kind", "local"))
        rest = {key: value for key, value in table.items() if key != "kind"}
        built = build({**rest, "kind": kind}, tables.COMPUTE_TABLES[kind], f"compute {name}")
        if isinstance(built, list):
            raise WrongValue("\n".join(map(str, built)))
        workspace.register("compute", name, {"table": {"kind": kind, **rest}}, is_new=False)
        return ComputeTarget(workspace, name)

    attach = create

    @staticmethod
    def list(workspace: WorkspaceFolder) -> list[ComputeTarget]:
        """Every target."""
        return [ComputeTarget(workspace, name) for name in workspace.compute_tables()]

    def wait_for_completion(self, show_output: bool = False, **ignored: object) -> None:
        """Nothing to wait for: a target that is known can be used."""

    def get_status(self) -> ComputeStatus:
        """How it stands."""
        return ComputeStatus(self.name, self.type)

    def delete(self) -> None:
        """Forget a target that was registered; one of pipelines.toml stays."""
        self.workspace.unregister("compute", self.name)

    detach = delete

    def __repr__(self) -> str:
        return f"ComputeTarget({self.name!r}, {self.type!r})"


@dataclass(frozen=True, slots=True)
class ComputeStatus:
    """How a target stands."""

    name: str
    type: str
    provisioning_state: str = "Succeeded"

    def serialize(self) -> dict[str, Any]:
        """The same as a dict."""
        return {"name": self.name, "type": self.type, "provisioningState": self.provisioning_state}


@dataclass(frozen=True, kw_only=True, slots=True)
class Provisioned:
    """What `ComputeTarget.create` takes: a target as pipelines.toml would declare it."""

    table: Mapping[str, Any] = field(default_factory=dict)


class AmlCompute(ComputeTarget):
    """A cluster; here, a target on this machine."""

    @staticmethod
    def provisioning_configuration(
        vm_size: str = "", vm_priority: str = "", min_nodes: int = 0, max_nodes: int | None = None, **ignored: object
    ) -> Provisioned:
        """A target on this machine, whatever is asked for; what it offers is said in pipelines.toml."""
        return Provisioned()


class DataFactoryCompute(AmlCompute):
    """What moves data; here, this machine does."""


class RemoteCompute(ComputeTarget):
    """A machine over SSH."""

    @staticmethod
    def attach_configuration(
        username: str = "",
        address: str = "",
        ssh_port: int = 22,
        password: str = "",
        private_key_file: str = "",
        **ignored: object,
    ) -> Provisioned:
        """A target of kind ssh. Raises WrongValue for a password, which would have to be written down."""
        if password:
            raise WrongValue("a password would be written down", hint="give private_key_file, or use an ssh agent")
        table: dict[str, Any] = {"kind": "ssh", "host": address, "user": username, "key": private_key_file}
        table["port"] = 0 if ssh_port == 22 else ssh_port
        return Provisioned(table={key: value for key, value in table.items() if value})
