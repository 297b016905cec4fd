"""A PythonScriptStep of an Azure ML pipeline's YAML as a step."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mlmake.errors import UsageError
from mlmake.model.data import Value
from mlmake.services.importing.azure_data import Sources, output_path
from mlmake.services.importing.draft import Draft, as_name, unlike
from mlmake.services.importing.reading import read
from mlmake.services.importing.shapes import items, table, tables, text

_STEP = (
    *("type", "name", "script_name", "source_directory", "arguments", "inputs", "outputs", "parameters", "compute"),
    *("runconfig", "runconfig_parameters", "allow_reuse", "version", "hash_paths", "side_inputs"),
)
_ARGUMENT = re.compile(r"(?P<space>input|side_input|output|parameter):(?P<name>\w+)")
_SPACES = {
    "input": ("inputs", "inputs"),
    "side_input": ("side_inputs", "inputs"),
    "output": ("outputs", "outputs"),
    "parameter": ("parameters", "params"),
}
"""By the word before the colon: the step's key in the YAML, and mlmake's placeholder."""
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
        made: dict[str, Value] = {
            "description": self._description(),
            "script": self._script(),
            "args": [self._argument(each) for each in self._arguments()],
            "code": self._code(),
            "inputs": _by_name("inputs", self._inputs()),
            "outputs": _by_name("outputs", self._outputs()),
            "params": _by_name("parameters", self._params()),
            "version": text(self.step.get("version"), "version"),
            "environment": self._environment(),
        }
        kept = {key: value for key, value in made.items() if value or key == "args"}
        return kept if self.step.get("allow_reuse", True) else {**kept, "reuse": False}

    def _note(self, what: str) -> None:
        self.draft.note(what, self.name)

    def _description(self) -> str:
        said = text(self.step.get("name"), "name")
        return said if as_name(said) != self.name else ""

    def _script(self) -> str:
        script = text(self.step.get("script_name"), "script_name")
        if not script:
            raise UsageError("a PythonScriptStep needs script_name")
        if os.path.normpath(self._source) != ".":
            self.draft.note("scripts run in the project's root, not in their source_directory")
        return self._in_source(script)

    @property
    def _source(self) -> str:
        return text(self.step.get("source_directory"), "source_directory", ".")

    def _code(self) -> list[str]:
        return [self._in_source(text(each, "hash_paths")) for each in items(self.step.get("hash_paths"), "hash_paths")]

    def _arguments(self) -> list[str]:
        return [text(each, "arguments") for each in items(self.step.get("arguments"), "arguments")]

    def _in_source(self, path: str) -> str:
        return os.path.relpath(os.path.join(self.folder, self._source, path), self.root)

    def _argument(self, said: str) -> str:
        """A word with what it names; `parameter:x` may stand anywhere in it."""

        def placed(match: re.Match[str]) -> str:
            key, space = _SPACES[match["space"]]
            if match["name"] not in table(self.step.get(key), key):
                raise UsageError(f"arguments: {match[0]} is not in {key}")
            return f"{{{space}.{as_name(match['name'])}}}"

        return _ARGUMENT.sub(placed, said)

    def _inputs(self) -> Iterator[tuple[str, Value]]:
        for key in ("inputs", "side_inputs"):
            for name, said in tables(self.step.get(key), key).items():
                self.draft.leave(said, ("source", "type", "bind_mode"), self.name, f"{key}.{name}.")
                yield as_name(name), self.sources.of(said.get("source"), f"{key}.{name}")

    def _outputs(self) -> Iterator[tuple[str, Value]]:
        for name, said in tables(self.step.get("outputs"), "outputs").items():
            known = ("destination", "datastore", "type", "bind_mode", "overwrite")
            self.draft.leave(said, known, self.name, f"outputs.{name}.")
            if said.get("datastore"):
                self._note(f"outputs.{name} is kept in the project, not in datastore {said['datastore']!r}")
            yield as_name(name), output_path(self.name, name)

    def _params(self) -> Iterator[tuple[str, Value]]:
        own = unlike(self.name, self.draft.params)
        named = {match["name"] for each in self._arguments() for match in _ARGUMENT.finditer(each)}
        for name, said in table(self.step.get("parameters"), "parameters").items():
            if name not in named:
                self._note(f"parameters.{name}: the script finds it in MLMAKE_PARAM_{name.upper()}")
            if isinstance(said, Mapping):
                source = as_name(text(said.get("source"), f"parameters.{name}"))
                if source not in self.draft.params:
                    raise UsageError(f"parameters.{name}: the pipeline has no parameter {said.get('source')!r}")
                yield as_name(name), source
            else:
                value = said if isinstance(said, bool | int | float) else text(said, f"parameters.{name}")
                self.draft.params.setdefault(own, {})[as_name(name)] = value
                yield as_name(name), f"{own}.{as_name(name)}"

    # Its software.

    def _environment(self) -> str:
        """The name of an environment from the conda file that the runconfig names; "" where there is none."""
        said = text(self.step.get("runconfig"), "runconfig")
        if not said:
            return ""
        path = os.path.join(self.folder, said)
        if not os.path.exists(path):
            self._note(f"runconfig {said} is not there: say the step's software under environment")
            return ""
        config = table(read(path), said)
        self.draft.leave(config, _RUNCONFIG, self.name, f"runconfig {said}: ")
        inner = table(config.get("environment"), f"{said}: environment")
        python = table(inner.get("python"), f"{said}: environment.python")
        self.draft.leave(inner, ("name", "python"), self.name, f"runconfig {said}: environment.")
        self.draft.leave(python, ("condaDependenciesFile",), self.name, f"runconfig {said}: environment.python.")
        conda = text(python.get("condaDependenciesFile"), said)
        if not conda:
            return ""
        made: dict[str, Value] = {"conda": os.path.relpath(os.path.join(self.folder, conda), self.root)}
        known = self.draft.sections.setdefault("environments", {})
        others = (name for name, each in known.items() if each != made)
        name = unlike(as_name(os.path.splitext(os.path.basename(said))[0]), others)
        known[name] = made
        return name


def _by_name(key: str, pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """A table of pairs. Raises UsageError where two have one name."""
    found: dict[str, Value] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(f"{key}: two of them have the name {name!r}: rename one")
        found[name] = value
    return found


def keep_idle(draft: Draft, name: str, step: Mapping[str, Value]) -> None:
    """Keep a step of a type that has no counterpart as a comment. Raises UsageError."""
    outputs = table(step.get("outputs"), "outputs")
    draft.note(f"a {step['type']} has no counterpart; what it says stands below", name)
    for output in outputs:
        draft.note(f"its output {output} is expected at {output_path(name, output)}", name)
    draft.idle[name] = {key: value for key, value in step.items() if value is not None}
