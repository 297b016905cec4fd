"""Pipelines out of the YAML of Azure ML (SDK v1). Paths in it are seen from the folder that the file is in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlmake.errors import NotYetError, UnknownName, UsageError, WrongValue, nearest
from mlmake.model.data import Value
from mlmake.sdk.data import InputPortBinding, PipelineData
from mlmake.sdk.dataset import Dataset, DatasetConsumptionConfig, FileDataset
from mlmake.sdk.datastore import DataPath, DataPathComputeBinding, DataReference, Datastore
from mlmake.sdk.environment import Environment, RunConfiguration
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.sdk.module import Module
from mlmake.sdk.parameters import PipelineParameter
from mlmake.sdk.step import PipelineStep
from mlmake.sdk.steps import later
from mlmake.sdk.steps.data_transfer import DataTransferStep
from mlmake.sdk.steps.module import ModuleStep
from mlmake.sdk.steps.python_script import PythonScriptStep
from mlmake.services.importing.azure import EMPTY, flat_step
from mlmake.services.importing.reading import read
from mlmake.services.importing.shapes import items, table, tables, text

_ARGUMENT = re.compile(r"(input|side_input|output|parameter):(\w+)")
_SQL = ("sql_table", "sql_query", "sql_stored_procedure")


class PipelineFile:
    """A file with a pipeline, read. Raises WrongValue, UnknownName, UsageError, each with its place in the file."""

    def __init__(self, workspace: WorkspaceFolder, path: str) -> None:
        self.folder = os.path.dirname(os.path.abspath(path))
        self._workspace = workspace
        document = table(read(path), path)
        if "pipeline" not in document:
            raise WrongValue(f"{path} holds no pipeline", hint="its steps stand below the key `pipeline`")
        self._pipeline = table(document["pipeline"], "pipeline")
        self.description = text(self._pipeline.get("description"), "description")
        said = table(self._pipeline.get("steps"), "pipeline.steps")
        if not said:
            raise WrongValue(f"{path}: the pipeline has no steps")
        self._said = {key: flat_step(key, step) for key, step in said.items()}
        self._parameters = dict(self._read_parameters())
        self._sources: dict[str, Any] = {**self._paths(), **dict(self._references())}
        self._outputs = {key: dict(self._made(key)) for key in self._said}

    def steps(self) -> list[PipelineStep]:
        """Its steps, in the order of the file."""
        return [self._placed(f"steps.{key}", self._step, key) for key in self._said]

    # Where data comes from.

    def _read_parameters(self) -> Iterator[tuple[str, PipelineParameter]]:
        for name, said in tables(self._pipeline.get("parameters"), "parameters").items():
            kind = str(said.get("type")).lower()
            default = said.get("default")
            if kind == "datapath":
                default = self._data_path(table(default, f"parameters.{name}.default"), name)
            elif kind not in EMPTY:
                known = ", ".join([*EMPTY, "datapath"])
                raise WrongValue(f"parameters.{name}: unknown type {said.get('type')!r}", hint=f"types: {known}")
            yield name, PipelineParameter(name, EMPTY[kind] if default is None else default)

    def _data_path(self, said: Mapping[str, Value], name: str) -> DataPath:
        store = Datastore(self._workspace, text(said.get("datastore"), f"parameters.{name}.default.datastore"))
        path = text(said.get("path_on_datastore"), f"parameters.{name}.default.path_on_datastore")
        return DataPath(store, path, text(said.get("name"), "name") or name)

    def _paths(self) -> dict[str, PipelineParameter]:
        return {name: each for name, each in self._parameters.items() if each.is_data}

    def _references(self) -> Iterator[tuple[str, Any]]:
        for name, said in tables(self._pipeline.get("data_references"), "data_references").items():
            where = f"data_references.{name}"
            if any(key in said for key in _SQL):
                raise NotYetError(f"{where}: data of a database", hint="read it in a step")
            if dataset := text(said.get("dataset_name"), where) or text(said.get("dataset_id"), where):
                yield name, Dataset.get_by_name(self._workspace, *dataset.split(":"))
            else:
                store = Datastore(self._workspace, text(said.get("datastore"), f"{where}.datastore"))
                yield name, DataReference(store, name, text(said.get("path_on_datastore"), where))

    def _made(self, key: str) -> Iterator[tuple[str, PipelineData]]:
        """What a step writes, known by its destination to all others."""
        for name, said in tables(self._said[key].get("outputs"), f"steps.{key}.outputs").items():
            where = f"steps.{key}.outputs.{name}"
            destination = text(said.get("destination"), where)
            if not destination or destination in self._sources:
                what = f"{destination!r} is a source already" if destination else "it has no destination"
                raise WrongValue(f"{where}: {what}")
            store = text(said.get("datastore"), where)
            made = PipelineData(destination, Datastore(self._workspace, store) if store else None, output_name=name)
            self._sources[destination] = made
            yield name, made

    def _source(self, said: Value, where: str) -> Any:
        name = text(said, where)
        if name in self._sources:
            return self._sources[name]
        near = nearest(name, self._sources)
        hint = f"did you mean {near!r}?" if near else f"known: {', '.join(self._sources) or 'none'}"
        raise UnknownName(f"{where}: {name!r} is no data reference, datapath parameter or destination", hint=hint)

    # Steps.

    def _step(self, key: str) -> PipelineStep:
        said = self._said[key]
        kind = str(said["type"])
        made = {"PythonScriptStep": self._script, "DataTransferStep": self._transfer, "ModuleStep": self._module}
        if kind in made:
            return made[kind](key, said)
        if isinstance(known := getattr(later, kind, None), type):
            known()  # says what to use instead
        raise WrongValue(f"unknown type {kind!r}", hint=f"types: {', '.join(made)}")

    def _script(self, key: str, said: Mapping[str, Value]) -> PythonScriptStep:
        script = text(said.get("script_name"), "script_name")
        if not script:
            raise WrongValue("a PythonScriptStep needs script_name")
        inputs, outputs, params = self._inputs(said), self._outputs[key], self._params(said)
        return PythonScriptStep(
            script,
            name=text(said.get("name"), "name") or key,
            arguments=list(self._arguments(said, {**inputs, **outputs}, params)),
            inputs=list(inputs.values()),
            outputs=list(outputs.values()),
            params=params,
            source_directory=os.path.join(self.folder, text(said.get("source_directory"), "source_directory")),
            **self._place(said),
            allow_reuse=bool(said.get("allow_reuse", True)),
            version=text(said.get("version"), "version") or None,
        )

    def _transfer(self, key: str, said: Mapping[str, Value]) -> DataTransferStep:
        given: dict[str, Any] = {"allow_reuse": bool(said.get("allow_reuse", True))}
        for end in ("source", "destination"):
            reference, kind = f"{end}_data_reference", f"{end}_reference_type"
            given[reference] = self._source(said.get(reference), reference)
            given[kind] = text(said.get(kind), kind) or None
        return DataTransferStep(text(said.get("name"), "name") or key, **given)

    def _module(self, key: str, said: Mapping[str, Value]) -> ModuleStep:
        module = text(said.get("id"), "id") or text(said.get("name"), "name")
        return ModuleStep(
            Module.get(self._workspace, name=module),
            version=text(said.get("version"), "version") or None,
            inputs_map=self._inputs(said),
            outputs_map=self._outputs[key],
            params=self._params(said),
            name=key,
            **self._place(said),
        )

    def _inputs(self, said: Mapping[str, Value]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for group in ("inputs", "side_inputs"):
            for name, each in tables(said.get(group), group).items():
                found[name] = _bound(name, self._source(each.get("source"), f"{group}.{name}"))
        return found

    def _params(self, said: Mapping[str, Value]) -> dict[str, Any]:
        """A step's parameters: values, and parameters of the pipeline."""
        return {
            name: self._parameter(each, name) if isinstance(each, Mapping) else each
            for name, each in table(said.get("parameters"), "parameters").items()
        }

    def _parameter(self, said: Mapping[str, Value], name: str) -> PipelineParameter:
        source = text(said.get("source"), f"parameters.{name}.source")
        if source not in self._parameters:
            known = ", ".join(self._parameters) or "none"
            raise UnknownName(f"parameters.{name}: the pipeline has no parameter {source!r}", hint=f"it has: {known}")
        return self._parameters[source]

    def _arguments(
        self, said: Mapping[str, Value], data: Mapping[str, Any], params: Mapping[str, Any]
    ) -> Iterator[Any]:
        for each in items(said.get("arguments"), "arguments"):
            word = text(each, "arguments")
            found = _ARGUMENT.fullmatch(word)
            if not found:
                yield word
                continue
            known = params if found[1] == "parameter" else data
            if found[2] not in known:
                raise UnknownName(f"arguments: {word} is not in the step's {found[1]}s")
            yield known[found[2]]

    def _place(self, said: Mapping[str, Value]) -> dict[str, Any]:
        """Where a step runs, and in what."""
        default = text(self._pipeline.get("default_compute"), "default_compute")
        compute = text(said.get("compute"), "compute", default)
        config = text(said.get("runconfig"), "runconfig")
        return {"compute_target": compute or None, "runconfig": self._runconfig(config) if config else None}

    def _runconfig(self, said: str) -> RunConfiguration:
        """What counts of a runconfig: the conda file that it names."""
        path = os.path.join(self.folder, said)
        environment = table(table(read(path), said).get("environment"), f"{said}: environment")
        python = table(environment.get("python"), f"{said}: environment.python")
        conda = text(python.get("condaDependenciesFile"), said)
        config = RunConfiguration()
        if conda:
            name = os.path.splitext(os.path.basename(said))[0]
            config.environment = Environment.from_conda_specification(name, os.path.join(self.folder, conda))
        return config

    def _placed(self, where: str, make: Any, key: str) -> PipelineStep:
        try:
            made: PipelineStep = make(key)
        except (UsageError, NotYetError) as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint) from None
        return made


def _bound(name: str, source: Any) -> Any:
    """A source as an input of a step, under a name of its own."""
    if isinstance(source, PipelineParameter):
        return (source, DataPathComputeBinding())
    if isinstance(source, DataReference):
        return DataReference(source.datastore, name, source.path_on_datastore)
    if isinstance(source, PipelineData):
        return InputPortBinding(name, source)
    return DatasetConsumptionConfig(name, source, "mount" if isinstance(source, FileDataset) else "direct")
