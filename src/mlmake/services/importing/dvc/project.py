"""A whole dvc.yaml."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from mlmake.errors import UsageError
from mlmake.model.data import Value
from mlmake.services.importing.draft import Draft, as_name, unlike
from mlmake.services.importing.dvc.paths import Paths, Place
from mlmake.services.importing.dvc.stage import KINDS_OF_OUTPUT, PARAMS, StageReader, entries
from mlmake.services.importing.dvc.templates import Context
from mlmake.services.importing.dvc.variants import Variant, variants
from mlmake.services.importing.reading import read
from mlmake.services.importing.shapes import items, table, text

_TOP = ("stages", "vars", "metrics")
_WHY = {
    "plots": "mlmake draws metrics over runs (`mlmake metrics --plot`), no files of points",
    "params": "a step names the parameters that count for it",
    "artifacts": "there is no registry of models",
    "datasets": "name the data under [datastores]",
}


def dvc_draft(document: Mapping[str, Value], source: str, root: str) -> Draft:
    """What the dvc.yaml at `source` becomes in a project at `root`, an absolute folder. Raises UsageError."""
    folder = os.path.dirname(os.path.abspath(source))
    draft = Draft(source=os.path.relpath(source, root))
    paths = Paths(draft=draft, root=root, folder=folder)
    context = Context(values=_values(document.get("vars"), folder, _defaults(folder)))
    for key in document:
        if key not in _TOP:
            draft.note(f"{key}: {_WHY.get(str(key), 'has no counterpart')}")
    _Reader(draft, paths, context, document).read()
    if context.used:
        draft.note("the values of ${...} stand under params here now: change them here, not in params.yaml")
    for expression in context.written:
        draft.note(f"${{{expression}}} is written out: it cannot be a parameter")
    for key, value in context.used.items():
        _put(draft.params, key, value)
    return draft


class _Reader:
    def __init__(self, draft: Draft, paths: Paths, context: Context, document: Mapping[str, Value]) -> None:
        self._draft = draft
        self._paths = paths
        self._context = context
        self._document = document
        self._copies: dict[str, dict[str, Value]] = {}

    def read(self) -> None:
        """Every stage. Raises UsageError that names the stage."""
        stages = table(self._document.get("stages"), "stages")
        if not stages:
            raise UsageError(f"{self._draft.source} has no stages")
        found: list[Variant] = []
        for name, stage in stages.items():
            with _of_stage(name):
                found += self._variants(name, table(stage, "the stage"))
        made = frozenset(path for each in found for path in self._made(each))
        measured = self._measured(made)
        for each in found:
            with _of_stage(each.name):
                self._add(each, made, measured)
        self._draft.steps |= {unlike(name, self._draft.steps): step for name, step in self._copies.items()}

    def _variants(self, name: str, stage: Mapping[str, Value]) -> Iterator[Variant]:
        if "foreach" in stage:
            self._draft.leave(stage, ("foreach", "do"), where=f"stage {name}: ")
        found = [*variants(name, stage, self._context)]
        if not found:
            self._draft.note(f"stage {name}: foreach: it is empty, so there is no step of it")
        for each in found:
            own = each.body.get("vars")
            if own:
                self._draft.note("vars: those of a stage are written out", as_name(each.name))
                fixed = _values(own, os.path.join(self._paths.folder, _wdir(each)), {})
                each = replace(each, context=each.context.with_fixed(fixed))
            yield each

    def _made(self, variant: Variant) -> Iterator[str]:
        """Absolute paths of all that a variant writes, as far as its first combination tells."""
        with _of_stage(variant.name):
            for kind in KINDS_OF_OUTPUT:
                for path, _ in entries(variant.body.get(kind), kind):
                    yield self._paths.place(path, _wdir(variant), variant.context).resolved

    def _measured(self, made: frozenset[str]) -> frozenset[str]:
        """The metrics that the file names outside of its stages."""
        found = set()
        for path, _ in entries(self._document.get("metrics"), "metrics"):
            place = self._paths.place(path, ".", self._context)
            found.add(place.resolved)
            if place.resolved in made:
                continue
            if place.resolved.endswith(".json") and any(place.resolved.startswith(f"{each}/") for each in made):
                self._copy(place)
            else:
                self._draft.note(f"metrics: {path} is no output of a stage: make it one of a step's metrics")
        return frozenset(found)

    def _copy(self, place: Place) -> None:
        """A step that gives metrics inside an output folder a place of their own, so that runs remember them."""
        step = self._draft.free(os.path.splitext(place.text)[0])
        self._draft.note("the file lies in an output; copied, its numbers are remembered", step)
        self._copies[step] = {
            "command": "cp {inputs.file} {outputs.metrics}",
            "inputs": {"file": place.text},
            "metrics": {"metrics": f"build/metrics/{step}.json"},
        }

    def _add(self, variant: Variant, made: frozenset[str], measured: frozenset[str]) -> None:
        name = self._draft.free(variant.name)
        if name != variant.name.replace("@", "-"):
            self._draft.note(f"{self._draft.source} calls it {variant.name!r}", name)
        StageReader(
            draft=self._draft, paths=self._paths, variant=variant, name=name, made=made, measured=measured
        ).add()


@contextmanager
def _of_stage(name: str) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(f"stage {name!r}: {error.message}", hint=error.hint) from None


def _wdir(variant: Variant) -> str:
    return text(variant.context.resolved(variant.body.get("wdir")), "wdir", ".")


def _defaults(folder: str) -> Mapping[str, Value]:
    path = os.path.join(folder, PARAMS)
    return table(read(path), path) if os.path.exists(path) else {}


def _values(said: Value, folder: str, first: Mapping[str, Value]) -> dict[str, Value]:
    """`vars`: tables, and files of which all or some keys count, one over the other. Raises UsageError."""
    found = dict(first)
    for entry in items(said, "vars"):
        if isinstance(entry, Mapping):
            found = _merged(found, entry)
            continue
        file, _, keys = text(entry, "vars").partition(":")
        path = os.path.join(folder, file)
        loaded = table(read(path), path)
        wanted = [key.strip() for key in keys.split(",") if key.strip()]
        if missing := [key for key in wanted if key not in loaded]:
            raise UsageError(f"vars: {file} has no {missing[0]!r}")
        found = _merged(found, {key: loaded[key] for key in wanted} if wanted else loaded)
    return found


def _merged(first: Mapping[str, Value], second: Mapping[str, Value]) -> dict[str, Value]:
    both = {
        key: _merged(first[key], value)
        for key, value in second.items()
        if isinstance(value, Mapping) and isinstance(first.get(key), Mapping)
    }
    return {**first, **second, **both}


def _put(params: dict[str, Value], key: str, value: Value) -> None:
    """Put a value at a dotted key."""
    *above, last = key.split(".")
    for part in above:
        params = params.setdefault(part, {})
    params[last] = value
