"""A PythonScriptStep of an Azure ML pipeline's YAML as a step."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlmake.errors import UsageError
from mlmake.model.data import Value
from mlmake.services.importing.azure_data import Sources, output_path
from mlmake.services.importing.draft import Draft, as_name
from mlmake.services.importing.reading import read

_STEP = (
    *("type", "name", "script_name", "source_directory", "arguments", "inputs", "outputs", "parameters", "compute"),
    *("runconfig", "runconfig_parameters", "allow_reuse", "version", "hash_paths"),
)
_ARGUMENT = re.compile(r"(?P<space>input|side_input|output|parameter):(?P<name>\w+)")
_SPACES = {"input": "inputs", "side_input": "inputs", "output": "outputs", "parameter": "params"}
_RUNCONFIG = ("script", "arguments", "target", "framework", "environment", "communicator")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScriptReader:
    """Reads one step; `folder` is that of the YAML, `root` that of the project, both absolute."""

    draft: Draft
    name: str
    step: Mapping[str, Value]
    sources: Sources
    folder: str
    root: str

    def table(self) -> dict[str, Value]:
        """The step's table. Raises UsageError."""
        self.draft.leave(self.step, _STEP, self.name)
        if "runconfig_parameters" in self.step:
            self._note("runconfig_parameters: a step is one process; what it takes of its target is its resources")
        table: dict[str, Value] = {
            "description": self._description(),
            "script": self._script(),
            "args": [self._argument(str(each)) for each in self.step.get("arguments") or ()],
            "code": [self._in_source(str(each)) for each in self.step.get("hash_paths") or ()],
            "inputs": dict(self._inputs()),
            "outputs": dict(self._outputs()),
            "params": dict(self._params()),
            "version": str(self.step.get("version") or ""),
            "environment": self._environment(),
        }
        kept = {key: value for key, value in table.items() if value or key == "args"}
        return kept if self.step.get("allow_reuse", True) else {**kept, "reuse": False}

    def _note(self, what: str) -> None:
        self.draft.note(what, self.name)

    def _description(self) -> str:
        said = str(self.step.get("name") or "")
        return said if as_name(said) != self.name else ""

    def _script(self) -> str:
        if not self.step.get("script_name"):
            raise UsageError("a PythonScriptStep needs script_name")
        if str(self.step.get("source_directory") or ".") not in (".", "./"):
            self._note("it runs in the project's root, not in source_directory")
        return self._in_source(str(self.step["script_name"]))

    def _in_source(self, path: str) -> str:
        source = os.path.join(self.folder, str(self.step.get("source_directory") or "."))
        return os.path.relpath(os.path.join(source, path), self.root)

    def _argument(self, text: str) -> str:
        """A word with what it names; `parameter:x` may stand anywhere in it."""

        def placed(match: re.Match[str]) -> str:
            space, name = match["space"], match["name"]
            table = {"params": "parameters"}.get(_SPACES[space], _SPACES[space])
            if name not in (self.step.get(table) or {}):
                raise UsageError(f"arguments: {match[0]} is not in {table}")
            return f"{{{_SPACES[space]}.{as_name(name)}}}"

        return _ARGUMENT.sub(placed, text)

    def _inputs(self) -> Iterator[tuple[str, Value]]:
        for name, said in (self.step.get("inputs") or {}).items():
            table = said if isinstance(said, Mapping) else {"source": said}
            self.draft.leave(table, ("source", "type", "bind_mode"), self.name, f"inputs.{name}.")
            yield as_name(name), self.sources.of(table.get("source"), f"inputs.{name}")

    def _outputs(self) -> Iterator[tuple[str, Value]]:
        for name, said in (self.step.get("outputs") or {}).items():
            if not said.get("destination"):
                raise UsageError(f"outputs.{name}: it has no destination")
            known = ("destination", "datastore", "type", "bind_mode", "overwrite")
            self.draft.leave(said, known, self.name, f"outputs.{name}.")
            if said.get("datastore"):
                self._note(f"outputs.{name} is kept in the project, not in datastore {said['datastore']!r}")
            yield as_name(name), output_path(self.name, str(name))

    def _params(self) -> Iterator[tuple[str, Value]]:
        named = {match["name"] for each in self.step.get("arguments") or () for match in _ARGUMENT.finditer(str(each))}
        for name, said in (self.step.get("parameters") or {}).items():
            if name not in named:
                self._note(f"parameters.{name}: the script finds it in MLMAKE_PARAM_{name.upper()}")
            if isinstance(said, Mapping):
                source = as_name(str(said.get("source")))
                if source not in self.draft.params:
                    raise UsageError(f"parameters.{name}: the pipeline has no parameter {said.get('source')!r}")
                yield as_name(name), source
            else:
                self.draft.params.setdefault(self.name, {})[as_name(name)] = said
                yield as_name(name), f"{self.name}.{as_name(name)}"

    # Its software.

    def _environment(self) -> str:
        """The name of an environment from the conda file that the runconfig names; "" where there is none."""
        said = self.step.get("runconfig")
        if not said:
            return ""
        path = os.path.join(self.folder, str(said))
        if not os.path.exists(path):
            self._note(f"runconfig {said} is not there: say the step's software under environment")
            return ""
        config = read(path) or {}
        self.draft.leave(config, _RUNCONFIG, self.name, f"runconfig {said}: ")
        inner = config.get("environment") or {}
        python = inner.get("python") or {}
        self.draft.leave(inner, ("name", "python"), self.name, f"runconfig {said}: environment.")
        self.draft.leave(python, ("condaDependenciesFile",), self.name, f"runconfig {said}: environment.python.")
        conda = python.get("condaDependenciesFile")
        if not conda:
            return ""
        name = as_name(os.path.splitext(os.path.basename(str(said)))[0])
        file = os.path.relpath(os.path.join(self.folder, str(conda)), self.root)
        self.draft.sections.setdefault("environments", {})[name] = {"conda": file}
        return name


def note_dropped(draft: Draft, name: str, kind: str, step: Mapping[str, Value]) -> None:
    """Note a step of a type that has no counterpart, with all that it says."""
    for output in step.get("outputs") or {}:
        draft.note(f"what {name!r} would write is expected at {output_path(name, str(output))}", name)
    draft.idle[name] = {"kind": kind}
    draft.note(f"a {kind} has no counterpart: {json.dumps(step, default=str)}", name)
