"""The folder of a workspace: what its pipelines.toml declares, and what was registered in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

import tomli

from mlmake.config.root import nearest_folder
from mlmake.errors import ConfigError, Problem, UsageError, WrongValue
from mlmake.home import Home
from mlmake.model.project import FILE
from mlmake.sdk.words import EXPERIMENT
from mlmake.state.database import opened
from mlmake.state.registered import Entry, Registered

DEFAULT_STORE = "workspaceblobstore"
DEFAULT_STORES = {DEFAULT_STORE: "data", "workspacefilestore": "files"}
"""Datastores that every workspace has, as folders of it, unless its pipelines.toml says otherwise."""
_CONFIGS = (".azureml/config.json", "aml_config/config.json", "config.json")
_KEYS = ("subscription_id", "resource_group", "workspace_name")
_HEAD = """\
# [datastores]: name = "folder or URL".  [compute.NAME]: where steps run.  [environments.NAME]: what they run in.
[project]
name = {name}
"""


class WorkspaceFolder:
    """The workspace in the folder `root`.

    `subscription_id` and `resource_group` are kept for those who ask; nothing goes by them.
    """

    def __init__(
        self,
        subscription_id: str = "",
        resource_group: str = "",
        workspace_name: str = "",
        *,
        root: str | os.PathLike[str] | None = None,
    ) -> None:
        self.root = os.path.abspath(os.fspath(root)) if root is not None else _find_root(os.getcwd())
        self.home = Home(self.root)
        told = _read_config(self.root)
        self.subscription_id = subscription_id or told.get("subscription_id", "")
        self.resource_group = resource_group or told.get("resource_group", "")
        self._name = workspace_name or told.get("workspace_name", "")
        self.location = "local"

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None, auth: object = None) -> Self:
        """The workspace at or above `path`, or the current folder: where there is a pipelines.toml or a config.json.

        Raises UsageError where there is none.
        """
        start = os.path.abspath(os.fspath(path)) if path is not None else os.getcwd()
        return cls(root=_find_root(start if os.path.isdir(start) else os.path.dirname(start)))

    @classmethod
    def create(
        cls,
        name: str,
        auth: object = None,
        subscription_id: str = "",
        resource_group: str = "",
        location: str = "",
        *,
        root: str | os.PathLike[str] = ".",
        exist_ok: bool = False,
        **ignored: object,
    ) -> Self:
        """Make a workspace in a folder, with a pipelines.toml of its own if there is none.

        Raises WrongValue where there is a workspace already, unless `exist_ok`.
        """
        file = os.path.join(os.path.abspath(os.fspath(root)), FILE)
        if os.path.exists(file) and not exist_ok:
            raise WrongValue(f"{file} is there already", hint="Workspace.from_config() takes it; or say exist_ok=True")
        if not os.path.exists(file):
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "w", encoding="utf-8") as handle:
                handle.write(_HEAD.format(name=json.dumps(name)))
        return cls(subscription_id, resource_group, name, root=root)

    @classmethod
    def get(cls, name: str = "", subscription_id: str = "", resource_group: str = "", **ignored: object) -> Self:
        """The workspace around the current folder."""
        return cls(subscription_id, resource_group, name)

    @property
    def name(self) -> str:
        return self._name or str(self.declared.get("project", {}).get("name", "")) or os.path.basename(self.root)

    def write_config(self, path: str | None = None, file_name: str = "config.json") -> None:
        """Write `.azureml/config.json`, for scripts that ask for it."""
        file = os.path.join(path or self.root, ".azureml", file_name)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        values = (self.subscription_id, self.resource_group, self.name)
        with open(file, "w", encoding="utf-8") as handle:
            json.dump(dict(zip(_KEYS, values, strict=True)), handle, indent=4)

    # What the rest of the SDK asks.

    @property
    def declared(self) -> Mapping[str, Any]:
        """What stands in pipelines.toml; nothing where there is none. Raises ConfigError."""
        path = os.path.join(self.root, FILE)
        try:
            return _read_toml(path, os.stat(path).st_mtime_ns)
        except FileNotFoundError:
            return {}
        except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(FILE, [Problem("", str(error))]) from None

    @property
    def default_store(self) -> str:
        """The name of the datastore for what names none."""
        chosen = self.entry("setting", "default datastore")
        return str(chosen.body["name"]) if chosen else DEFAULT_STORE

    def store_tables(self) -> dict[str, Any]:
        """Every datastore as pipelines.toml would declare it."""
        registered = {name: each.body["table"] for name, each in self.entries("datastore").items()}
        return {**DEFAULT_STORES, **registered, **self.declared.get("datastores", {})}

    def compute_tables(self) -> dict[str, Any]:
        """Every compute target, in the same way."""
        registered = {name: each.body["table"] for name, each in self.entries("compute").items()}
        return {"local": {}, **registered, **self.declared.get("compute", {})}

    def register(self, kind: str, name: str, body: Mapping[str, Any], *, is_new: bool = True) -> Entry:
        """Keep a thing under a name, as a new version or over the newest."""
        with self._registered(kind) as registered:
            return registered.put(name, body, is_new=is_new)

    def entry(self, kind: str, name: str, version: int | None = None) -> Entry | None:
        """A version of what was registered, or the newest."""
        with self._registered(kind) as registered:
            return registered.get(name, version)

    def entries(self, kind: str) -> dict[str, Entry]:
        """The newest version of each thing of a kind."""
        with self._registered(kind) as registered:
            return registered.newest()

    def versions(self, kind: str, name: str) -> list[Entry]:
        """All versions, the newest first."""
        with self._registered(kind) as registered:
            return registered.versions(name)

    def unregister(self, kind: str, name: str, version: int | None = None) -> None:
        """Forget a version, or all."""
        with self._registered(kind) as registered:
            registered.remove(name, version)

    def inside(self, path: str | os.PathLike[str], what: str) -> str:
        """A path of this machine relative to the root. Raises WrongValue where it lies elsewhere."""
        full = os.path.abspath(os.fspath(path))
        relative = os.path.relpath(full, self.root)
        if relative.startswith(".."):
            raise WrongValue(
                f"{what} {full} lies outside of the workspace {self.root}", hint="move it into the workspace"
            )
        return relative

    @contextmanager
    def _registered(self, kind: str) -> Iterator[Registered]:
        with opened(self.home, create=True) as connection:
            yield Registered(connection, kind)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, root={self.root!r})"


@lru_cache(maxsize=8)
def _read_toml(path: str, _: int) -> Mapping[str, Any]:
    """A file as it was at that time."""
    with open(path, "rb") as file:
        return tomli.load(file)


def _find_root(start: str) -> str:
    folder = nearest_folder(start, _is_root)
    if folder is None:
        raise UsageError(
            f"no workspace in {start} or any folder above it: no {FILE}, no config.json",
            hint="Workspace.create('name') makes one in the current folder",
        )
    return folder


def _is_root(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, FILE)) or bool(_read_config(folder))


def _read_config(folder: str) -> dict[str, str]:
    """What the first config.json of a folder says that names a workspace."""
    for name in _CONFIGS:
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                told = json.load(file)
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and "workspace_name" in told:
            return {key: str(value) for key, value in told.items()}
    return {}


class ExperimentName:
    """An experiment as its runs know it: its workspace and name. Raises WrongValue for a name that is none."""

    def __init__(self, workspace: WorkspaceFolder, name: str) -> None:
        if not EXPERIMENT.fullmatch(name):
            raise WrongValue(f"experiment {name!r}: letters, digits, _ and -, at most 255, no _ or - first")
        self.workspace = workspace
        self.name = name

    @property
    def id(self) -> str:
        return self.name

    def get_portal_url(self) -> str:
        """The address of its page, where one is served; the folder of the workspace else."""
        return f"file://{self.workspace.root}"

    def __repr__(self) -> str:
        return f"Experiment({self.name!r})"
