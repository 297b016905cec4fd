"""The YAML of an Azure ML pipeline (SDK v1, the format of `Pipeline.load_yaml`)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mlmake.errors import UsageError
from mlmake.model.data import Value
from mlmake.services.importing.azure_data import Sources, sources
from mlmake.services.importing.azure_step import ScriptReader, keep_idle
from mlmake.services.importing.draft import Draft, as_name
from mlmake.services.importing.shapes import table, tables, text

_PIPELINE = ("name", "description", "parameters", "data_references", "default_compute", "steps")
_ENDS = ("source_data_reference", "destination_data_reference")
_TRANSFER = ("type", "name", *_ENDS, "compute", "allow_reuse")
EMPTY: Mapping[str, Value] = {"string": "", "int": 0, "float": 0.0, "bool": False}
"""Types of parameters, with the values that they have where none is given."""


def azure_draft(document: Mapping[str, Value], source: str, root: str) -> Draft:
    """What the pipeline YAML at `source` becomes in a project at `root`, an absolute folder. Raises UsageError."""
    pipeline = table(document["pipeline"], "pipeline")
    said = table(pipeline.get("steps"), "pipeline.steps")
    if not said:
        raise UsageError(f"{source}: the pipeline has no steps")
    stem = os.path.splitext(os.path.basename(source))[0]
    draft = Draft(
        source=os.path.relpath(source, root),
        pipeline=as_name(text(pipeline.get("name"), "name", stem)),
        description=text(pipeline.get("description"), "description"),
    )
    draft.leave(document, ("pipeline",))
    draft.leave(pipeline, _PIPELINE, where="pipeline.")
    steps = {key: flat_step(key, step) for key, step in said.items()}
    _Reader(draft, pipeline, steps, os.path.dirname(os.path.abspath(source)), root).read()
    return draft


def flat_step(key: str, value: Value) -> Mapping[str, Value]:
    """A step in the form of today: the old one has its type as the key of a table. Raises UsageError."""
    step = table(value, f"steps.{key}")
    if "type" in step:
        return step
    for inner, own in step.items():
        if inner.endswith("_step") and isinstance(own, Mapping):
            kind = "".join(part.capitalize() for part in inner.split("_"))
            return {"type": kind, **{name: each for name, each in step.items() if name != inner}, **own}
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
        for name, said in tables(self._pipeline.get("parameters"), "parameters").items():
            kind = str(said.get("type")).lower()
            self._draft.leave(said, ("type", "default"), where=f"parameters.{name}.")
            if kind in EMPTY:
                default = said.get("default")
                if as_name(name) in self._draft.params:
                    raise UsageError(f"parameters.{name}: {as_name(name)!r} is a parameter already: rename one")
                self._draft.params[as_name(name)] = EMPTY[kind] if default is None else default
                if kind == "string" and default is None:
                    self._draft.note(f"parameters.{name} has no default: it is an empty text; say it with -p {name}=…")
            elif kind == "datapath":
                self._draft.note(f"parameters.{name}: a path is no parameter: its default stands in the inputs")
            else:
                raise UsageError(f"parameters.{name}: unknown type {said.get('type')!r}")

    def _step(self, name: str, step: Mapping[str, Value], found: Sources) -> None:
        kind = str(step["type"])
        if kind == "PythonScriptStep":
            made = ScriptReader(
                draft=self._draft, name=name, step=step, sources=found, folder=self._folder, root=self._root
            ).table()
        elif kind == "DataTransferStep":
            made = self._transfer(name, step, found)
        else:
            keep_idle(self._draft, name, step)
            return
        compute = text(step.get("compute"), "compute", text(self._pipeline.get("default_compute"), "default_compute"))
        if compute and kind != "DataTransferStep":
            made["compute"] = self._compute(compute)
        self._draft.steps[name] = made

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
        if "compute" in step:
            self._draft.note("compute: a transfer is made by this machine", name)
        made: dict[str, Value] = {"kind": "transfer", "inputs": {"source": source}, "outputs": {"target": target}}
        return made if step.get("allow_reuse", True) else {**made, "reuse": False}
