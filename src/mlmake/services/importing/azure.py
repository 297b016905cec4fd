"""The YAML of an Azure ML pipeline (SDK v1, the format of `Pipeline.load_yaml`)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mlmake.errors import UsageError
from mlmake.model.data import Value
from mlmake.services.importing.azure_data import Sources, sources
from mlmake.services.importing.azure_step import ScriptReader, note_dropped
from mlmake.services.importing.draft import Draft, as_name

_PIPELINE = ("name", "description", "parameters", "data_references", "default_compute", "steps")
_ENDS = ("source_data_reference", "destination_data_reference")
_TRANSFER = ("type", "name", *_ENDS, "compute", "allow_reuse")
_EMPTY: Mapping[str, Value] = {"string": "", "int": 0, "float": 0.0, "bool": False}


def azure_draft(document: Mapping[str, Value], source: str, root: str) -> Draft:
    """What the pipeline YAML at `source` becomes in a project at `root`, an absolute folder. Raises UsageError."""
    pipeline = document["pipeline"]
    said = pipeline.get("steps") if isinstance(pipeline, Mapping) else None
    if not isinstance(said, Mapping) or not said:
        raise UsageError(f"{source}: pipeline.steps: expected a table of steps")
    stem = os.path.splitext(os.path.basename(source))[0]
    draft = Draft(
        source=os.path.relpath(source, root),
        pipeline=as_name(str(pipeline.get("name") or stem)),
        description=str(pipeline.get("description") or ""),
    )
    draft.leave(document, ("pipeline",))
    draft.leave(pipeline, _PIPELINE, where="pipeline.")
    steps = {str(key): _flat(str(key), step) for key, step in said.items()}
    _Reader(draft, pipeline, steps, os.path.dirname(os.path.abspath(source)), root).read()
    return draft


def _flat(key: str, step: Value) -> Mapping[str, Value]:
    """A step in the form of today: the old one has its type as the key of a table."""
    if not isinstance(step, Mapping):
        raise UsageError(f"steps.{key}: expected a table, got {step!r}")
    if "type" in step:
        return step
    for inner, table in step.items():
        if str(inner).endswith("_step") and isinstance(table, Mapping):
            kind = "".join(part.capitalize() for part in str(inner).split("_"))
            return {"type": kind, **{name: each for name, each in step.items() if name != inner}, **table}
    raise UsageError(f"steps.{key}: it has no type", hint="such as `type: PythonScriptStep`")


class _Reader:
    def __init__(
        self,
        draft: Draft,
        pipeline: Mapping[str, Value],
        steps: Mapping[str, Mapping[str, Value]],
        folder: str,
        root: str,
    ) -> None:
        self._draft = draft
        self._pipeline = pipeline
        self._steps = steps
        self._folder = folder
        self._root = root

    def read(self) -> None:
        """All of it. Raises UsageError."""
        self._parameters()
        names = {key: self._draft.free(key) for key in self._steps}
        found = sources(self._draft, self._pipeline, {names[key]: step for key, step in self._steps.items()})
        for key, step in self._steps.items():
            try:
                self._step(names[key], step, found)
            except UsageError as error:
                raise UsageError(f"steps.{key}: {error.message}", hint=error.hint) from None

    def _parameters(self) -> None:
        for name, said in (self._pipeline.get("parameters") or {}).items():
            kind = str(said.get("type")).lower()
            self._draft.leave(said, ("type", "default"), where=f"parameters.{name}.")
            if kind in _EMPTY:
                default = said.get("default")
                self._draft.params[as_name(name)] = _EMPTY[kind] if default is None else default
                if kind == "string" and default is None:
                    self._draft.note(f"parameters.{name} has no default: it is an empty text; say it with -p {name}=…")
            elif kind == "datapath":
                self._draft.note(f"parameters.{name}: a path is no parameter: its default stands in the inputs")
            else:
                raise UsageError(f"parameters.{name}: unknown type {said.get('type')!r}")

    def _step(self, name: str, step: Mapping[str, Value], found: Sources) -> None:
        kind = str(step["type"])
        if kind == "PythonScriptStep":
            table = ScriptReader(
                draft=self._draft, name=name, step=step, sources=found, folder=self._folder, root=self._root
            ).table()
        elif kind == "DataTransferStep":
            table = self._transfer(name, step, found)
        else:
            note_dropped(self._draft, name, kind, step)
            return
        compute = step.get("compute") or self._pipeline.get("default_compute")
        if compute and kind != "DataTransferStep":
            table["compute"] = self._compute(str(compute))
        self._draft.steps[name] = table

    def _compute(self, name: str) -> str:
        target = as_name(name)
        if target == "local" or target in self._draft.sections.get("compute", {}):
            return target
        self._draft.sections.setdefault("compute", {})[target] = {"kind": "local"}
        self._draft.note(f'compute {name!r} is this machine until [compute.{target}] says kind = "ssh" and a host')
        return target

    def _transfer(self, name: str, step: Mapping[str, Value], found: Sources) -> dict[str, Value]:
        self._draft.leave(step, _TRANSFER, name)
        source, target = (found.of(step.get(key), key) for key in _ENDS)
        table: dict[str, Value] = {"kind": "transfer", "inputs": {"source": source}, "outputs": {"target": target}}
        return table if step.get("allow_reuse", True) else {**table, "reuse": False}
