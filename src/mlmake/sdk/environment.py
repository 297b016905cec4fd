"""What steps run in, and how a script is to be run."""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from mlmake.errors import NotYetError, UnknownName, WrongValue
from mlmake.sdk.folder import WorkspaceFolder

DEFAULT_CPU_IMAGE = DEFAULT_GPU_IMAGE = "python:3.11-slim"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_FOLDER = "environments"
"""Where files stand that environments are made from."""
_OWN_IMAGE = "name a Dockerfile that installs them: Environment.from_dockerfile"
_FOREVER = 2592000.0
"""The seconds that a script may run for where nobody says how many: 30 days, which are none."""


class CondaDependencies:
    """Packages: of pip, of conda, and a version of Python; or a file that conda takes, and nothing beside it."""

    def __init__(self, conda_dependencies_file_path: str | None = None) -> None:
        self.file = conda_dependencies_file_path
        self.pip: list[str] = []
        self.conda: list[str] = []
        self.channels: list[str] = []
        self.python = ""

    @classmethod
    def create(
        cls,
        pip_indexurl: str | None = None,
        pip_packages: Iterable[str] | None = None,
        conda_packages: Iterable[str] | None = None,
        python_version: str | None = None,
        pin_sdk_version: bool = True,
    ) -> CondaDependencies:
        """With all that is to be in it."""
        made = cls()
        made.pip, made.conda = list(pip_packages or []), list(conda_packages or [])
        made.python = ".".join((python_version or "").split(".")[:2])
        return made

    def add_pip_package(self, pip_package: str) -> None:
        self.pip.append(pip_package)

    def add_conda_package(self, conda_package: str) -> None:
        self.conda.append(conda_package)

    def add_channel(self, channel: str) -> None:
        self.channels.append(channel)

    def set_python_version(self, version: str) -> None:
        self.python = ".".join(version.split(".")[:2])

    def serialize_to_string(self) -> str:
        """The file that conda would take."""
        lines = ["channels:", *(f"  - {each}" for each in self.channels or ["conda-forge"]), "dependencies:"]
        lines += [f"  - python={self.python or _PYTHON}", *(f"  - {each}" for each in self.conda)]
        if self.pip:
            lines += ["  - pip", "  - pip:", *(f"    - {each}" for each in self.pip)]
        return "\n".join(lines) + "\n"

    def save(self, path: str | None = None) -> str:
        """Write that file."""
        target = path or "conda_dependencies.yml"
        with open(target, "w", encoding="utf-8") as file:
            file.write(self.serialize_to_string())
        return target

    save_to_file = save


class PythonSection:
    """`Environment.python`. With `user_managed_dependencies`, the Python that runs mlmake is used as it is."""

    def __init__(self) -> None:
        self.user_managed_dependencies = False
        self.interpreter_path = "python"
        self.conda_dependencies = CondaDependencies()


class DockerSection:
    """`Environment.docker`: counts on targets with containers."""

    def __init__(self) -> None:
        self.enabled = False
        self.use_docker = False
        self.base_image: str | None = None
        self.base_dockerfile: str | None = None


class DockerConfiguration:
    """Whether a script runs in a container: here its compute target says so, and this counts for nothing."""

    def __init__(self, use_docker: bool = False, **ignored: object) -> None:
        self.use_docker = use_docker


class Environment:
    """An environment. Its variables are handed to steps, and are facts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.version: str | None = None
        self.python = PythonSection()
        self.docker = DockerSection()
        self.environment_variables: dict[str, str] = {}
        self._table: dict[str, Any] | None = None

    @staticmethod
    def from_conda_specification(name: str, file_path: str) -> Environment:
        """From a file that conda takes."""
        made = Environment(name)
        made._table = {"conda": file_path}
        return made

    @staticmethod
    def from_pip_requirements(name: str, file_path: str, pip_version: str | None = None) -> Environment:
        """From a requirements file."""
        made = Environment(name)
        made._table = {"python": _PYTHON, "requirements": file_path}
        return made

    @staticmethod
    def from_docker_image(
        name: str,
        image: str,
        container_registry: object = None,
        conda_specification: str | None = None,
        pip_requirements: str | None = None,
    ) -> Environment:
        """From an image, for targets with containers. Raises NotYetError for packages on top of it."""
        _no_packages(conda_specification, pip_requirements)
        made = Environment(name)
        made._table = {"image": image}
        return made

    @staticmethod
    def from_dockerfile(
        name: str, dockerfile: str, conda_specification: str | None = None, pip_requirements: str | None = None
    ) -> Environment:
        """From a Dockerfile, for targets with containers. Raises NotYetError for packages on top of it."""
        _no_packages(conda_specification, pip_requirements)
        made = Environment(name)
        made._table = {"dockerfile": dockerfile}
        return made

    @staticmethod
    def from_existing_conda_environment(name: str, conda_environment_name: str) -> Environment:
        """To come. Raises NotYetError."""
        raise NotYetError(
            "an environment of conda that is there already",
            hint="`conda env export --from-history > env.yml`, and Environment.from_conda_specification",
        )

    @staticmethod
    def get(workspace: WorkspaceFolder, name: str, version: str | None = None) -> Environment:
        """A registered one, or one of pipelines.toml. Raises UnknownName."""
        entry = workspace.entry("environment", name, int(version) if version else None)
        declared = workspace.declared.get("environments", {}).get(name)
        if entry is None and declared is None:
            raise UnknownName(f"no environment {name!r} in this workspace", hint="declare it under [environments]")
        made = Environment(name)
        made._table = dict(entry.body["table"]) if entry else dict(declared)
        made.version = str(entry.version) if entry else None
        return made

    @staticmethod
    def list(workspace: WorkspaceFolder) -> dict[str, Environment]:
        """The newest version of each."""
        names = [*workspace.entries("environment"), *workspace.declared.get("environments", {})]
        return {name: Environment.get(workspace, name) for name in dict.fromkeys(names)}

    def register(self, workspace: WorkspaceFolder) -> Environment:
        """Keep it under its name, as a new version if it is another."""
        table = self.table(workspace, "docker" if self.docker.base_image else "local") or {}
        newest = workspace.entry("environment", self.name)
        if newest is None or newest.body["table"] != table:
            newest = workspace.register("environment", self.name, {"table": table})
        self.version = str(newest.version)
        return self

    def clone(self, new_name: str) -> Environment:
        """The same under another name."""
        made = Environment(new_name)
        made.python, made.docker, made._table = self.python, self.docker, self._table
        made.environment_variables = dict(self.environment_variables)
        return made

    def table(self, workspace: WorkspaceFolder, kind: str) -> dict[str, Any] | None:
        """How pipelines.toml would declare it for a kind of target; None for the Python that runs mlmake."""
        table = self._own_table(workspace, kind)
        if table is None:
            return None
        variables = builtins.list(self.environment_variables)
        return {**table, **({"variables": variables} if variables else {})}

    def _own_table(self, workspace: WorkspaceFolder, kind: str) -> dict[str, Any] | None:
        if (table := self._ready_table()) is not None:
            self._check_untouched(table)
            files = ("conda", "dockerfile", "requirements")
            return {key: _inside(workspace, value) if key in files else value for key, value in table.items()}
        if kind == "docker" and self.docker.base_dockerfile:
            return {"dockerfile": _inside(workspace, self.docker.base_dockerfile)}
        wanted = self.python.conda_dependencies
        is_ready = self.python.user_managed_dependencies or not (wanted.pip or wanted.conda or wanted.python)
        if kind == "docker" and (self.docker.base_image or not is_ready):
            return self._image_with_packages(workspace, CondaDependencies() if is_ready else wanted)
        if is_ready:
            return None
        if not wanted.conda:
            return {"python": wanted.python or _PYTHON, "packages": wanted.pip}
        return {"conda": self._conda_file(workspace)}

    def _ready_table(self) -> dict[str, Any] | None:
        """Its table, where it is made from a file or image, and not put together here."""
        file = self.python.conda_dependencies.file
        named = {"conda": file} if file and not self.python.user_managed_dependencies else None
        return self._table if self._table is not None else named

    def _check_untouched(self, table: Mapping[str, Any]) -> None:
        """Raise WrongValue for packages that were put beside the file or image that it was made from."""
        more = [*self.python.conda_dependencies.pip, *self.python.conda_dependencies.conda]
        if more:
            said = ", ".join(map(str, table.values()))
            raise WrongValue(f"environment {self.name!r} is made from {said}: put {', '.join(more)} there")

    def _image_with_packages(self, workspace: WorkspaceFolder, wanted: CondaDependencies) -> dict[str, Any]:
        """Packages of pip go on top of the image. Raises NotYetError for those of conda."""
        image = self.docker.base_image or f"python:{wanted.python or _PYTHON}-slim"
        if wanted.conda:
            raise NotYetError(f"environment {self.name!r}: packages of conda in an image", hint=_OWN_IMAGE)
        if not wanted.pip:
            return {"image": image}
        words = ", ".join(json.dumps(each) for each in ["python", "-m", "pip", "install", *wanted.pip])
        return {"dockerfile": self._written(workspace, f"FROM {image}\nRUN [{words}]\n", "/Dockerfile")}

    def _conda_file(self, workspace: WorkspaceFolder) -> str:
        return self._written(workspace, self.python.conda_dependencies.serialize_to_string(), ".yml")

    def _written(self, workspace: WorkspaceFolder, text: str, ending: str) -> str:
        """The path of a file with a text, under its own name or, where it has none, one by what is in it."""
        name = self.name or f"python-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        place = os.path.join(_FOLDER, re.sub(r"[^\w-]+", "_", name) + ending)
        full = os.path.join(workspace.root, place)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)
        return place

    def __repr__(self) -> str:
        return f"Environment({self.name!r})"


class RunConfiguration:
    """Where and in what a script runs."""

    def __init__(
        self,
        script: str | None = None,
        arguments: Iterable[Any] | None = None,
        framework: str | None = None,
        communicator: str | None = None,
        conda_dependencies: CondaDependencies | None = None,
        **ignored: object,
    ) -> None:
        self.script = script
        self.arguments = list(arguments or [])
        self.target: Any = None
        self.environment: Environment | None = Environment("")
        self.environment_variables: dict[str, str] = {}
        self.docker = self.environment.docker
        self.node_count = 1
        if conda_dependencies:
            self.environment.python.conda_dependencies = conda_dependencies


class ScriptRunConfig:
    """A script, or a command, to be run by itself, or by a step."""

    def __init__(
        self,
        source_directory: str | None = None,
        script: str | None = None,
        arguments: Iterable[Any] | None = None,
        run_config: RunConfiguration | None = None,
        compute_target: Any = None,
        environment: Environment | None = None,
        command: str | Iterable[Any] | None = None,
        max_run_duration_seconds: float | None = _FOREVER,
        distributed_job_config: object = None,
        resume_from: object = None,
        docker_runtime_config: object = None,
    ) -> None:
        if distributed_job_config is not None:
            raise NotYetError("a script on several nodes or in several processes", hint="start them in a command")
        if (script is None) == (command is None):
            raise WrongValue("a ScriptRunConfig has a script or a command, and not both")
        self.source_directory = source_directory
        self.script = script
        self.command = command
        self.arguments = list(arguments or [])
        self.timeout = f"{max_run_duration_seconds:g}s" if max_run_duration_seconds not in (None, _FOREVER) else ""
        self.run_config = run_config or RunConfiguration()
        if environment is not None:
            self.run_config.environment = environment
        if compute_target is not None:
            self.run_config.target = compute_target


def _no_packages(*files: str | None) -> None:
    if any(files):
        raise NotYetError("packages on top of an image or Dockerfile", hint=_OWN_IMAGE)


def _inside(workspace: WorkspaceFolder, path: str) -> str:
    """A file's path in the workspace; one that a pipelines.toml names is that already."""
    is_inside = not os.path.isabs(path) and os.path.exists(os.path.join(workspace.root, path))
    return path if is_inside else workspace.inside(path, "file")
