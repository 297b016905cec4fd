"""The data of an Azure ML pipeline's YAML: what the name of a source stands for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mlmake.errors import UsageError, nearest
from mlmake.model.data import Value
from mlmake.services.importing.draft import Draft, as_name
from mlmake.services.importing.shapes import table, tables, text

_IMPORTED = ("PythonScriptStep", "DataTransferStep")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Every source of the file by its name, as a path or reference."""

    known: Mapping[str, str]

    def of(self, source: Value, key: str) -> str:
        """The path that a source stands for. Raises UsageError."""
        name = text(source, key)
        if name not in self.known:
            near = nearest(name, self.known)
            hint = f"did you mean {near!r}?" if near else f"known: {', '.join(self.known) or 'none'}"
            what = f"{key}: {name!r} is no data reference, datapath parameter or destination of a step"
            raise UsageError(what, hint=hint)
        return self.known[name]


def sources(draft: Draft, pipeline: Mapping[str, Value], steps: Mapping[str, Mapping[str, Value]]) -> Sources:
    """What every source stands for; `steps` go by their names in the draft. Raises UsageError."""
    known: dict[str, str] = {}
    for name, said in tables(pipeline.get("data_references"), "data_references").items():
        known[name] = _reference(draft, name, said)
    for name, said in tables(pipeline.get("parameters"), "parameters").items():
        if str(said.get("type")).lower() == "datapath":
            where = f"parameters.{name}"
            known[name] = _in_store(draft, table(said.get("default"), where), where)
    for step, own in steps.items():
        for output, said in tables(own.get("outputs"), f"steps.{step}.outputs").items():
            where = f"steps.{step}.outputs.{output}"
            destination = text(said.get("destination"), where)
            if not destination or destination in known:
                what = f"{destination!r} is a source already" if destination else "it has no destination"
                raise UsageError(f"{where}: {what}")
            is_made = own["type"] in _IMPORTED
            known[destination] = f"@{step}.{as_name(output)}" if is_made else output_path(step, output)
    return Sources(known=known)


def output_path(step: str, output: str) -> str:
    """Where an output is kept, a file or a folder."""
    return f"build/{step}/{as_name(output)}"


def _reference(draft: Draft, name: str, said: Mapping[str, Value]) -> str:
    where = f"data_references.{name}"
    draft.leave(said, ("datastore", "path_on_datastore", "dataset_name", "dataset_id", "bind_mode"), where=f"{where}.")
    dataset = text(said.get("dataset_name"), where, text(said.get("dataset_id"), where))
    if dataset:
        store = draft.datastore("datasets", "data/datasets")
        path = f"{store}://{as_name(dataset)}/"
        draft.note(f"{where}: dataset {dataset!r} is the folder {path}: put its files there")
        return path
    return _in_store(draft, said, where)


def _in_store(draft: Draft, said: Mapping[str, Value], where: str) -> str:
    """A path on a datastore. Raises UsageError."""
    if not said.get("datastore"):
        raise UsageError(f"{where}: it names no datastore")
    name = text(said["datastore"], where)
    store = draft.datastore(name, f"data/{as_name(name)}")
    draft.note(
        f"datastore {name!r} is the folder data/{as_name(name)}: say its URL under [datastores], such as abfs://…"
    )
    path = text(said.get("path_on_datastore"), where).strip("/")
    is_folder = not os.path.splitext(path)[1]
    return f"{store}://{path}{'/' if path and is_folder else ''}"
