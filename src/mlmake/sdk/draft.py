"""From steps to the document that a pipelines.toml would be."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlmake.config.places import is_glob
from mlmake.errors import NotYetError, UnknownName, WrongValue, nearest
from mlmake.model.data import InputMode
from mlmake.sdk.compute import ComputeTarget
from mlmake.sdk.data import Made, PipelineOutputTabularDataset
from mlmake.sdk.datastore import Datastore, text_of
from mlmake.sdk.environment import Environment, RunConfiguration, ScriptRunConfig
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.sdk.parameters import PipelineParameter
from mlmake.sdk.step import PipelineStep, Port
from mlmake.sdk.words import VARIABLE, literal, parameter_value, table_name

OUTPUTS = "azureml"
"""The folder of a datastore in which outputs stand that have no place of their own: `azureml/STEP/OUTPUT`."""
_TABLES = ("datastores", "environments", "compute")
_KEPT = ("args", "reuse")
"""Keys of a step that say something even where they are empty or false."""


class Draft:
    """A pipeline on its way into a document.

    `after` are the steps that come before each beside those that it knows itself, `given` the values of parameters.
    """

    def __init__(
        self,
        workspace: WorkspaceFolder,
        steps: Sequence[PipelineStep],
        after: Mapping[PipelineStep, Iterable[PipelineStep]],
        given: Mapping[str, Any],
        store: Datastore,
        folder: str,
    ) -> None:
        self.workspace = workspace
        self.folder = folder
        self._steps = steps
        self._after = after
        self._given = given
        self._store = store
        self.names: dict[PipelineStep, str] = {}
        for step in steps:
            self.names[step] = table_name(step.name, self.names.values())
        self._places: dict[str, Made] = {}
        self._computes = workspace.compute_tables()
        self.parameters: dict[str, PipelineParameter] = {}
        self._params: dict[str, Any] = {}
        self._own: dict[str, dict[str, Any]] = {}
        self._environments: dict[str, dict[str, Any]] = {}
        self._counts: dict[PipelineStep, dict[str, str]] = {}
        self.variables: dict[str, str] = {}

    def document(self, name: str, description: str) -> dict[str, Any]:
        """The whole document: this one pipeline, and what it refers to."""
        steps = {self.names[step]: self._step(step) for step in self._steps}
        params = {**self._params, **({"steps": self._own} if self._own else {})}
        table = {"description": description, "params": params, "steps": steps}
        pipeline = {key: value for key, value in table.items() if value}
        declared = {**self.workspace.declared, "pipelines": {name: pipeline}}
        declared["project"] = {"name": self.workspace.name, "default": name}
        for section in _TABLES:
            declared[section] = {**self._used(section, pipeline), **declared.get(section, {})}
        order = ("project", "cache", "tracking", *_TABLES, "pipelines")
        return {section: declared[section] for section in order if declared.get(section)}

    def shared_outputs(self, pipeline: str) -> dict[str, tuple[str, str]]:
        """Outputs that have a name in the whole pipeline -> step id and output."""
        return {
            made.pipeline_output_name: (f"{pipeline}.{self.names[step]}", made.output_name)
            for step in self._steps
            for made in step.outputs
            if made.pipeline_output_name
        }

    def registers(self, pipeline: str) -> list[dict[str, Any]]:
        """Datasets to be registered when a step has ended well: step id, where it stands, name, description, tags."""
        return [
            {"step": f"{pipeline}.{self.names[step]}", "path": self._place(step, made), **made.registers}
            for step in self._steps
            for made in step.outputs
            if made.registers
        ]

    def _used(self, section: str, pipeline: Mapping[str, Any]) -> dict[str, Any]:
        """What no file declares and the pipeline refers to."""
        if section == "environments":
            return self._environments
        if section == "compute":
            asked = {step.get("compute") for step in pipeline["steps"].values()}
            return {name: table for name, table in self._computes.items() if name in asked}
        said = str(pipeline)
        return {name: table for name, table in self.workspace.store_tables().items() if f"{name}://" in said}

    # A step.

    def _step(self, step: PipelineStep) -> dict[str, Any]:
        own = step.table(self)
        inputs = {name: self._reads(port) for name, port in step.ports.items()}
        outputs = {name: self._place(step, made) for name, made in step.made.items()}
        params = {**self._tables_read(step), **self._counts.get(step, {}), **own.pop("params", {})}
        after = [self.names[each] for each in dict.fromkeys([*step.run_after_steps, *self._after.get(step, ())])]
        table = {**own, "inputs": inputs, "outputs": outputs, "params": params, "after": after}
        return {key: value for key, value in table.items() if value or key in _KEPT}

    def _reads(self, port: Port) -> Any:
        if port.made is not None and port.made.producer is not None:
            return f"@{self.names[port.made.producer]}.{port.made.output_name}"
        is_parameter = isinstance(port.data, PipelineParameter)
        texts = list((self.value_of(port.data) if is_parameter else port.data).texts())
        is_folder = not port.is_direct and (len(texts) > 1 or any(map(is_glob, texts)))
        if is_parameter and len(texts) == 1:
            self._params[port.data.name] = texts[0]
            texts = [f"{{params.{port.data.name}}}"]
        paths = texts[0] if len(texts) == 1 else texts
        return {"path": paths, "mode": InputMode.FOLDER.value} if is_folder else paths

    def _place(self, step: PipelineStep, made: Made) -> str:
        """Where an output stands: the same place in every run, as a place is a fact."""
        places = [self._place_under(name, made) for name in (table_name(step.name), self.names[step])]
        found = next((text for text in places if self._places.get(text, made) is made), places[-1])
        self._places[found] = made
        return found

    def _place_under(self, name: str, made: Made) -> str:
        store, path = made.destination or (made.datastore or self._store, f"{OUTPUTS}/{name}/{made.output_name}")
        filled = path.replace("{run-id}", name).replace("{output-name}", made.output_name)
        return text_of(store, filled.rstrip("/") + ("/" if made.is_directory else ""))

    def _tables_read(self, step: PipelineStep) -> dict[str, str]:
        """How tables are read counts for the step, and is handed to it."""
        found = {}
        for name, port in step.ports.items():
            if port.is_direct:
                data = self.value_of(port.data) if isinstance(port.data, PipelineParameter) else port.data
                data = port.given if isinstance(port.given, PipelineOutputTabularDataset) else data
                found[f"read.{name}"] = self._own_param(step, f"read-{name}", json.dumps(data.how, sort_keys=True))
        return found

    # What the steps' own tables are made with.

    def arguments(self, step: PipelineStep, given: Sequence[Any]) -> list[str]:
        """Words of a command line."""
        return [self.argument(step, each) for each in given if each is not None]

    def argument(self, step: PipelineStep, given: Any) -> str:
        """A word of a command line: what names an input, output or parameter is a placeholder."""
        word = step.word_of(given)
        if isinstance(given, PipelineParameter):
            self.parameter(given)
        if word is not None:
            return "{" + ".".join(word) + "}"
        text = literal(given)
        known = step.variables() if VARIABLE in text else {}
        for name in sorted(known, key=len, reverse=True):
            text = text.replace(f"{VARIABLE}{name}", "{" + ".".join(known[name]) + "}")
        return text

    def params(self, step: PipelineStep, given: Mapping[str, Any] | None) -> dict[str, str]:
        """A step's `params`: its own name -> the key."""
        found = {}
        for name, value in (given or {}).items():
            if isinstance(value, PipelineParameter):
                found[name] = self.parameter(value)
            else:
                found[name] = self._own_param(step, name, parameter_value(value))
        return found

    def parameter(self, given: PipelineParameter) -> str:
        """The key of a pipeline's parameter. Raises WrongValue where two defaults go by one name."""
        self._params[given.name] = parameter_value(self.value_of(given))
        return given.name

    def value_of(self, parameter: PipelineParameter) -> Any:
        """The value of a parameter in this submission."""
        known = self.parameters.setdefault(parameter.name, parameter)
        if known is not parameter and known.default_value != parameter.default_value:
            raise WrongValue(f"parameter {parameter.name} has two defaults: give one another name")
        name = parameter.name
        return parameter.value_of(self._given[name]) if name in self._given else parameter.default_value

    def check_given(self) -> None:
        """Raise UnknownName for a value that was given for no parameter."""
        for name in self._given:
            if name not in self.parameters:
                near = nearest(name, self.parameters)
                hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(self.parameters) or 'none'}"
                raise UnknownName(f"Pipeline parameter with name {name} does not exist", hint=hint)

    def script(self, script: str, source_directory: str | None) -> str:
        """A script's path in the workspace. Raises WrongValue where it is not there."""
        folder = os.path.join(self.folder, source_directory or "")
        path = os.path.join(folder, script)
        if not os.path.isfile(path):
            raise WrongValue(f"no script {script} in {folder}", hint="source_directory says where it is")
        return self.workspace.inside(path, "script")

    def setting(self, step: PipelineStep, compute: Any, runconfig: Any, **keys: Any) -> dict[str, Any]:
        """The keys that say where and in what a step runs, and those given that say something."""
        config = runconfig.run_config if isinstance(runconfig, ScriptRunConfig) else runconfig
        if isinstance(config, RunConfiguration) and config.node_count > 1:
            raise NotYetError(f"step {step.name}: node_count {config.node_count}: a step runs on one machine")
        target = self._compute(compute or (config.target if isinstance(config, RunConfiguration) else None))
        found = {"compute": target, "environment": self._environment(step, config, target)}
        found |= {"reuse": keys.get("allow_reuse", True), "version": keys.get("version") or ""}
        found |= {"timeout": runconfig.timeout if isinstance(runconfig, ScriptRunConfig) else ""}
        usual = {"compute": "local", "environment": "system", "reuse": True, "version": "", "timeout": ""}
        return {key: value for key, value in found.items() if value != usual[key]}

    def _compute(self, given: Any) -> str:
        name = given[0] if isinstance(given, tuple) else given
        name = getattr(name, "name", name) or "local"
        return str(name) if name in self._computes else ComputeTarget(self.workspace, str(name)).name

    def _environment(self, step: PipelineStep, config: RunConfiguration | None, compute: str) -> str:
        environment = config.environment if config is not None else None
        if config is None or environment is None:
            return "system"
        variables = {**environment.environment_variables, **config.environment_variables}
        for name, value in variables.items():
            if self.variables.setdefault(name, str(value)) != str(value):
                raise NotYetError(f"environment variable {name} has two values in one pipeline")
        table = environment.table(self.workspace, self._kind_of(compute))
        if table is None:
            self._note_variables(step, variables, compute)
            return "system"
        if variables:
            table = {**table, "variables": [*dict.fromkeys([*table.get("variables", ()), *variables])]}
        return self._named_environment(environment, table)

    def _note_variables(self, step: PipelineStep, variables: Mapping[str, Any], compute: str) -> None:
        """Let variables count where no environment hands them over: by their digests, as they may be secrets."""
        if variables and self._kind_of(compute) != "local":
            raise NotYetError(
                f"step {step.name}: environment variables reach {compute} with an environment only",
                hint="give its Environment packages, or an image",
            )
        for name, value in variables.items():
            digest = hashlib.sha256(str(value).encode()).hexdigest()[:16]
            self._counts.setdefault(step, {})[f"env.{name}"] = self._own_param(step, f"env-{name}", digest)

    def _kind_of(self, compute: str) -> str:
        return str(self._computes[compute].get("kind", "local"))

    def _named_environment(self, environment: Environment, table: dict[str, Any]) -> str:
        """Its own name or, where it has none or that is another's, one by what is in it: a name is part of a fact."""
        declared = self.workspace.declared.get("environments", {})
        name = table_name(environment.name or "python")
        if not environment.name or {**declared, **self._environments}.get(name, table) != table:
            name += f"-{hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:8]}"
        if name not in declared:
            self._environments[name] = table
        return name

    def _own_param(self, step: PipelineStep, name: str, value: Any) -> str:
        """A parameter of one step alone, under its name, or its table's where that is taken; gives the key."""
        for table in (table_name(step.name), self.names[step]):
            if self._own.setdefault(table, {}).setdefault(name, value) == value:
                break
        return f"steps.{table}.{name}"
