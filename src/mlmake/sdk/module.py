"""Modules: scripts with named inputs and outputs, published under a name, with versions."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlmake.errors import NotYetError, UnknownName, WrongValue
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.sdk.parameters import PipelineParameter
from mlmake.sdk.words import check_port, literal, parameter_value

FOLDER = "modules"
"""Where the files of published versions stand, as `modules/NAME/VERSION`."""
_NAME = re.compile(r"\w[\w-]{0,99}")
_VERSION = re.compile(r"\d+(\.\d+)*")
ACTIVE, DISABLED = "Active", "Disabled"
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__")


class _PortDef:
    """A named input or output of a module."""

    def __init__(self, name: str, *_: object, **__: object) -> None:
        self.name = check_port(name, "port")


class InputPortDef(_PortDef):
    """An input of a module. Raises NotYetError for one that may be left out."""

    def __init__(self, name: str, *_: object, is_optional: bool = False, **__: object) -> None:
        super().__init__(name)
        if is_optional:
            raise NotYetError(f"input {name}: one that may be left out", hint="publish two versions of the module")


class OutputPortDef(_PortDef):
    """An output of a module; with `is_directory` its folder is there when the script starts."""

    def __init__(self, name: str, *_: object, is_directory: bool = False, **__: object) -> None:
        super().__init__(name)
        self.is_directory = is_directory


class ParamDef:
    """A parameter of a module, with its default."""

    def __init__(self, name: str, default_value: Any = None, *_: object, **__: object) -> None:
        self.name = name
        self.default_value = default_value


class Module:
    """A module of a workspace. `get` and `create` make these."""

    def __init__(self, workspace: WorkspaceFolder, name: str, description: str = "") -> None:
        self.workspace = workspace
        self.name = name
        self.description = description

    @staticmethod
    def create(workspace: WorkspaceFolder, name: str, description: str = "") -> Module:
        """A new module. Raises WrongValue for a name that is taken, or that is none."""
        if not _NAME.fullmatch(name):
            raise WrongValue(f"module {name!r}: its name may hold letters, digits, _ and -, at most 100")
        if workspace.entry("module", name):
            raise WrongValue(f"module {name!r} is there already", hint="Module.get(workspace, name=...) takes it")
        workspace.register("module", name, {"description": description, "default": None})
        return Module(workspace, name, description)

    @staticmethod
    def get(workspace: WorkspaceFolder, module_id: str | None = None, name: str | None = None) -> Module:
        """A module by its name, which is its id too. Raises UnknownName."""
        wanted = name or module_id or ""
        entry = workspace.entry("module", wanted)
        if entry is None:
            raise UnknownName(f"no module {wanted!r} in this workspace")
        return Module(workspace, wanted, entry.body["description"])

    @property
    def id(self) -> str:
        return self.name

    def publish_python_script(
        self,
        script_name: str,
        description: str = "",
        inputs: Iterable[InputPortDef] | None = None,
        outputs: Iterable[OutputPortDef] | None = None,
        params: Mapping[str, Any] | None = None,
        create_sequencing_ports: bool = True,
        version: str | None = None,
        is_default: bool = False,
        source_directory: str | None = None,
        hash_paths: Sequence[str] | None = None,
        category: str | None = None,
        arguments: Iterable[Any] | None = None,
        runconfig: Any = None,
    ) -> ModuleVersion:
        """Keep a script, with all files of its folder as they are now, as a new version.

        `arguments` may hold the ports, and `ParamDef`s or names of `params` as `PipelineParameter`s. Raises WrongValue,
        and NotYetError for a `runconfig`.
        """
        if runconfig is not None:
            raise NotYetError(f"module {self.name}: a runconfig of its own", hint="give it to the ModuleStep")
        known = [each.version for each in self.module_version_list()]
        number = version or str(max([int(each.partition(".")[0]) for each in known], default=0) + 1)
        source = os.path.abspath(source_directory or ".")
        if not _VERSION.fullmatch(number) or number in known:
            raise WrongValue(f"module {self.name}: {number!r} is no new version, such as '1.0'")
        if not os.path.isfile(os.path.join(source, script_name)):
            raise WrongValue(f"no script {script_name} in {source}", hint="source_directory says where it is")
        place = os.path.join(FOLDER, self.name, number)
        shutil.copytree(source, os.path.join(self.workspace.root, place), ignore=_LEFT_OUT)
        given, makes = list(inputs or ()), list(outputs or ())
        body = {
            "script": os.path.join(place, script_name),
            "description": description,
            "inputs": [each.name for each in given],
            "outputs": {each.name: each.is_directory for each in makes},
            "params": {name: parameter_value(_default(value)) for name, value in (params or {}).items()},
            "arguments": None if arguments is None else [_word(each) for each in arguments],
            "category": category or "",
            "status": ACTIVE,
        }
        self.workspace.register("module version", f"{self.name}:{number}", body)
        if is_default:
            self.set_default_version(number)
        return ModuleVersion(self, number, body)

    def module_version_list(self) -> list[ModuleVersion]:
        """All versions, the lowest first."""
        entries = self.workspace.entries("module version")
        named = [(name.rpartition(":"), entry) for name, entry in entries.items()]
        found = [ModuleVersion(self, parts[2], entry.body) for parts, entry in named if parts[0] == self.name]
        return sorted(found, key=lambda each: _dotted(each.version))

    @staticmethod
    def get_versions(workspace: WorkspaceFolder, name: str) -> list[str]:
        """The versions of a module."""
        return [each.version for each in Module.get(workspace, name=name).module_version_list()]

    def resolve(self, version: str | None = None) -> ModuleVersion:
        """That version, or the default one, or the highest that is not disabled. Raises UnknownName."""
        wanted = version or self.get_default_version()
        versions = self.module_version_list()
        meant = [each for each in versions if each.version == wanted or (not wanted and each.status != DISABLED)]
        if not meant:
            known = ", ".join(each.version for each in versions) or "none"
            raise UnknownName(f"module {self.name} has no version {wanted or ''}".rstrip(), hint=f"it has: {known}")
        return meant[-1]

    def set_default_version(self, version_id: str) -> None:
        """Make a version the default. Raises UnknownName."""
        self.resolve(version_id)
        self._keep(version_id)

    def set_description(self, description: str) -> None:
        """Give it another description."""
        self.description = description
        self._keep(self.get_default_version())

    def _keep(self, default: str | None) -> None:
        body = {"description": self.description, "default": default}
        self.workspace.register("module", self.name, body, is_new=False)

    def get_default_version(self) -> str | None:
        """The default version, if one was set."""
        entry = self.workspace.entry("module", self.name)
        return entry.body["default"] if entry else None

    def get_default(self) -> ModuleVersion:
        """The same as `resolve()`."""
        return self.resolve()

    def __repr__(self) -> str:
        return f"Module({self.name!r})"


class ModuleVersion:
    """One version of a module."""

    def __init__(self, module: Module, version: str, body: Mapping[str, Any]) -> None:
        self._module = module
        self.version = version
        self.body = dict(body)

    @staticmethod
    def get(workspace: WorkspaceFolder, module_version_id: str) -> ModuleVersion:
        """A version by its id, `NAME:VERSION`. Raises UnknownName."""
        name, _, version = module_version_id.rpartition(":")
        return Module.get(workspace, name=name).resolve(version)

    def module(self) -> Module:
        """Its module."""
        return self._module

    @property
    def module_version_id(self) -> str:
        return f"{self._module.name}:{self.version}"

    @property
    def description(self) -> str:
        return str(self.body["description"])

    @property
    def module_id(self) -> str:
        return self._module.id

    @property
    def category(self) -> str:
        return str(self.body.get("category", ""))

    @property
    def status(self) -> str:
        """Active, Deprecated or Disabled."""
        return str(self.body["status"])

    def enable(self) -> None:
        """Have it used again."""
        self._keep(status=ACTIVE)

    def disable(self) -> None:
        """Have no step use it, unless one names it."""
        self._keep(status=DISABLED)

    def deprecate(self) -> None:
        """Say that another version is to be used; it is used as before."""
        self._keep(status="Deprecated")

    def set_description(self, description: str) -> None:
        """Give it another description."""
        self._keep(description=description)

    def _keep(self, **about: str) -> None:
        self.body.update(about)
        self._module.workspace.register("module version", self.module_version_id, self.body, is_new=False)

    def __repr__(self) -> str:
        return f"ModuleVersion({self.module_version_id!r})"


def _word(given: Any) -> str:
    if isinstance(given, InputPortDef):
        return f"{{inputs.{given.name}}}"
    if isinstance(given, OutputPortDef):
        return f"{{outputs.{given.name}}}"
    if isinstance(given, ParamDef | PipelineParameter):
        return f"{{params.{given.name}}}"
    return literal(given)


def _default(value: Any) -> Any:
    return value.default_value if isinstance(value, ParamDef | PipelineParameter) else value


def _dotted(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
