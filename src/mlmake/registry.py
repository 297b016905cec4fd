"""Open sets as tables: a name and the text of what it stands for, loaded when it is first used.

Other packages add to a set with an entry point of the set's group (`mlmake.kinds`); they never replace a name of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from mlmake.errors import UsageError, nearest


@dataclass(frozen=True, slots=True)
class Registry:
    """One open set: what its members are called, the entry-point group, name -> "module:Class"."""

    what: str
    group: str
    table: Mapping[str, str]

    def names(self) -> list[str]:
        """Every name: ours, then those of other packages."""
        return list(dict.fromkeys([*self.table, *(point.name for point in self._points())]))

    def load(self, name: str) -> type[Any]:
        """The class behind `name`. Raises UsageError with the nearest name."""
        target = self.table.get(name)
        if target is not None:
            module, _, attribute = target.partition(":")
            return cast("type[Any]", getattr(import_module(module), attribute))
        for point in self._points():
            if point.name == name:
                return self._loaded(point)
        near = nearest(name, self.names())
        raise UsageError(
            f"unknown {self.what} {name!r}" + (f"; did you mean {near!r}?" if near else ""),
            hint=f"known: {', '.join(self.names())}",
        )

    def _loaded(self, point: Any) -> type[Any]:
        try:
            return cast("type[Any]", point.load())
        except Exception as error:
            raise UsageError(
                f"{self.what} {point.name!r} cannot be loaded from {point.value}: {type(error).__name__}: {error}",
                hint="install its package anew, or ask its makers",
            ) from error

    def _points(self) -> Iterable[Any]:
        from importlib.metadata import entry_points

        return entry_points(group=self.group)


KINDS = Registry(
    "step kind",
    "mlmake.kinds",
    {
        "python": "mlmake.kinds.python:Python",
        "command": "mlmake.kinds.command:Command",
        "transfer": "mlmake.kinds.transfer:Transfer",
        "pick": "mlmake.kinds.pick:Pick",
    },
)

ENVIRONMENTS = Registry(
    "base of an environment",
    "mlmake.environments",
    {
        "python": "mlmake.environments.venv:Venv",
        "conda": "mlmake.environments.conda:Conda",
    },
)

EXECUTORS = Registry(
    "compute kind",
    "mlmake.executors",
    {
        "local": "mlmake.executors.process:ProcessExecutor",
        "ssh": "mlmake.executors.host:HostExecutor",
        "docker": "mlmake.executors.docker:DockerExecutor",
    },
)

_FSSPEC = "mlmake.stores.remote:RemoteDrive"
_SFTP = "mlmake.stores.sftp:SftpDrive"
DRIVES = Registry(
    "store",
    "mlmake.stores",
    {
        "file": "mlmake.stores.local:LocalDrive",
        "fsspec": _FSSPEC,
        **dict.fromkeys(("sftp", "ssh"), _SFTP),
        **dict.fromkeys(("s3", "gs", "gcs", "az", "abfs", "abfss", "http", "https"), _FSSPEC),
    },
)
"""By the scheme of a URL; `fsspec` opens every scheme that has no line here."""

TRACKERS = Registry("tracker", "", {"mlflow": "mlmake.trackers.mlflow:MlflowTracker"})
"""By the key of `[tracking]`."""
