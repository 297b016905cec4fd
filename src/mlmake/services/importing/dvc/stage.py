"""One stage of a dvc.yaml as a step, and the steps that pick its parameters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from mlmake.errors import UsageError
from mlmake.model.data import Value
from mlmake.model.step import NO_CODE
from mlmake.services.importing.draft import Draft, as_name, unlike
from mlmake.services.importing.dvc.commands import joined, needs_bash
from mlmake.services.importing.dvc.paths import Paths, Place
from mlmake.services.importing.dvc.templates import Context
from mlmake.services.importing.dvc.variants import Variant
from mlmake.services.importing.shapes import items, table, tables, text

PARAMS = "params.yaml"
KINDS_OF_OUTPUT = ("outs", "metrics", "plots")
_STAGE = ("cmd", "wdir", "deps", "params", "outs", "metrics", "plots", "frozen", "always_changed", "desc", "vars")
_FLAGS = ("cache", "persist")
_CODE = (".py", ".sh", ".R", ".r", ".jl", ".ipynb", ".pl", ".lua", ".sql")
_PLACEHOLDER = re.compile(r"\{(?:params|matrix)\.(?P<name>[^{}]*)\}")
_FOLDERS_LOOKED_AT = 1000
_WORD = re.compile(r"[\w./-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageReader:
    """Makes the step of one variant of a stage.

    Attributes:
        made: absolute paths that stages of the file write.
        measured: absolute paths that the file names as metrics outside of stages.
    """

    draft: Draft
    paths: Paths
    variant: Variant
    name: str
    made: frozenset[str]
    measured: frozenset[str] = field(default_factory=frozenset)

    @property
    def _context(self) -> Context:
        return self.variant.context

    @property
    def _body(self) -> Mapping[str, Value]:
        return self.variant.body

    def add(self) -> None:
        """Put the step into the draft. Raises UsageError."""
        self.draft.leave(self._body, _STAGE, self.name)
        is_frozen = self._flag("frozen")
        made = self._table(is_frozen)
        if is_frozen:
            self._note("frozen: it is not run, and its outputs are taken as they are; uncomment it to run it")
            self.draft.idle[self.name] = made
        else:
            self.draft.steps[self.name] = made

    def _table(self, is_frozen: bool) -> dict[str, Value]:
        wdir = text(self._context.resolved(self._body.get("wdir")), "wdir", ".")
        inputs, code = self._reads(wdir)
        command = self._command(wdir)
        inputs |= self._picks(wdir, is_frozen, inputs, str(command))
        code += self._picked_from(wdir)
        outputs, metrics, cache = self._writes(wdir)
        made: dict[str, Value] = {
            "description": text(self._context.resolved(self._body.get("desc")), "desc"),
            "command": command,
            "code": code[0] if len(code) == 1 else code,
            "matrix": dict(self.variant.matrix),
            "inputs": inputs,
            "outputs": outputs,
            "metrics": metrics,
            "in_place": bool(outputs or metrics),
            "cache": cache,
        }
        kept = {key: value for key, value in made.items() if value}
        is_callback = not (self._body.get("deps") or self._body.get("params") or outputs or metrics)
        return {**kept, "reuse": False} if is_callback or self._flag("always_changed") else kept

    def _flag(self, key: str) -> bool:
        return self._context.resolved(self._body.get(key)) is True

    def _note(self, what: str) -> None:
        self.draft.note(what, self.name)

    # What it runs.

    def _command(self, wdir: str) -> Value:
        said = self._body.get("cmd")
        commands = [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str)]
        if not any(each.strip() for each in commands):
            raise UsageError("cmd: expected a command or a list of commands")
        command = joined([self._context.command(each) for each in commands], self.paths.inside(wdir))
        return ["bash", "-c", command] if needs_bash(command) else command

    # What it reads.

    def _reads(self, wdir: str) -> tuple[dict[str, Value], list[str]]:
        """Its inputs, and what of them is code."""
        inputs: dict[str, Value] = {}
        code: list[str] = []
        for said, settings in entries(self._body.get("deps"), "deps"):
            self.draft.leave(settings, (), self.name, f"deps: {said}: ")
            place = self.paths.place(said, wdir, self._context)
            if place.resolved.startswith(("remote://", "dvc://")):
                self._note(f"deps: {said} names a remote of DVC's configuration: declare it under [datastores]")
            elif self._is_code(place):
                code.append(place.text)
            else:
                streamed = {"path": place.text, "mode": "path"}
                inputs[self._named(place, inputs)] = streamed if place.is_url else place.text
            if os.path.exists(f"{place.resolved.rstrip('/')}.dvc"):
                self._note(f"{said} is kept by DVC: mlmake reads the file that `dvc pull` has brought")
        code += self._mentioned(wdir, code, inputs)
        return inputs, code

    def _is_code(self, place: Place) -> bool:
        if place.resolved in self.made or "://" in place.text:
            return False
        return place.resolved.endswith(_CODE) or _holds_modules(place.resolved)

    def _mentioned(self, wdir: str, code: list[str], inputs: Mapping[str, Value]) -> Iterator[str]:
        """Files that the command names from another folder than the root: mlmake would not see them as code."""
        folder = self.paths.inside(wdir)
        if folder == ".":
            return
        for word in _WORD.findall(str(self._body.get("cmd"))):
            path = os.path.normpath(os.path.join(folder, word))
            absolute = os.path.join(self.paths.root, path)
            is_new = path not in {*code, *map(str, inputs.values())} and absolute not in self.made
            if is_new and not path.startswith("..") and os.path.isfile(absolute) and path.endswith(_CODE):
                yield path

    def _named(self, place: Place, taken: Mapping[str, Value]) -> str:
        """A name for an input or output from that of its file, without what differs by parameter or combination."""
        text = os.path.basename(place.text.rstrip("/"))
        names = (_PLACEHOLDER.sub("", text), _PLACEHOLDER.sub(lambda found: found["name"], text))
        stems = (os.path.splitext(each)[0].strip("-_") for each in names if not each.startswith("."))
        return unlike(as_name(next(filter(None, stems), text)), taken)

    # Its parameters.

    def _picks(self, wdir: str, is_frozen: bool, inputs: Mapping[str, Value], command: str) -> dict[str, Value]:
        """An input for each file of parameters: the whole file, or what a step of its own picks out of it."""
        found: dict[str, Value] = {}
        for file, keys in self._param_keys().items():
            place = self.paths.place(file, wdir, self._context)
            name = unlike("params" if file == PARAMS else self._named(place, inputs), {*inputs, *found})
            found[name] = place.text if is_frozen or not keys else self._pick(name, place, keys)
            if both := [key for key in keys if any(f"{{params.{key}{end}" in command for end in "}.")]:
                self._note(f"params: {', '.join(both)}: the command has it from pipelines.toml, the script from {file}")
        return found

    def _param_keys(self) -> dict[str, list[str]]:
        """File -> the keys that count; none where the whole file does."""
        found: dict[str, list[str]] = {}
        for entry in items(self._body.get("params"), "params"):
            for file, keys in ({PARAMS: [entry]} if isinstance(entry, str) else table(entry, "params")).items():
                named = found.setdefault(text(self._context.resolved(file), "params"), [])
                named += (self._context.path(text(key, "params")) for key in items(keys, f"params: {file}"))
        return found

    def _picked_from(self, wdir: str) -> Iterator[str]:
        """Files that the command names, and of which only picked keys count."""
        for file, keys in self._param_keys().items():
            if keys and file in str(self._body.get("cmd")):
                yield f"{NO_CODE}{self.paths.place(file, wdir, self._context).text}"

    def _pick(self, name: str, place: Place, keys: list[str]) -> str:
        step = self.draft.free(f"{self.name}-{name}")
        apart = "".join(f"-{{matrix.{axis}}}" for axis in self.variant.matrix)
        made: dict[str, Value] = {
            "kind": "pick",
            "keys": keys,
            "matrix": dict(self.variant.matrix),
            "inputs": {"file": place.text},
            "metrics": {name: f"build/params/{step}{apart}.json"},
        }
        self.draft.steps[step] = {key: value for key, value in made.items() if value}
        own = ",".join(f"{axis}={{matrix.{axis}}}" for axis in self.variant.matrix)
        return f"@{step}[{own}]" if own else f"@{step}"

    # What it writes.

    def _writes(self, wdir: str) -> tuple[dict[str, Value], dict[str, Value], dict[str, Value]]:
        outputs: dict[str, Value] = {}
        metrics: dict[str, Value] = {}
        cache: dict[str, Value] = {}
        for kind in KINDS_OF_OUTPUT:
            for path, settings in entries(self._body.get(kind), kind):
                place = self.paths.place(path, wdir, self._context)
                if place.is_url:
                    self._note(f"{kind}: {path} lies in a store: what a command writes there is not tracked")
                    continue
                name = self._named(place, {**outputs, **metrics})
                is_metrics = kind == "metrics" or place.resolved in self.measured
                (metrics if is_metrics and place.resolved.endswith(".json") else outputs)[name] = place.text
                if is_metrics and name in outputs:
                    self._note(f"metrics: {path} is no JSON, so the run does not remember its numbers")
                if self._settle(kind, path, settings):
                    cache[name] = False
        return outputs, metrics, cache

    def _settle(self, kind: str, path: str, said: Mapping[str, Value]) -> bool:
        """Note what the settings of an output ask for in vain; whether it is not to be cached."""
        settings = self._context.resolved(dict(said))
        known = (*_FLAGS, "push") if settings.get("push") is not False else _FLAGS
        self.draft.leave(settings, known, self.name, f"{kind}: {path}: ")
        if settings.get("persist"):
            self._note(f"{kind}: {path}: persist: mlmake sets the old output aside, so the command starts without it")
        return settings.get("cache") is False


def entries(said: Value, where: str) -> Iterator[tuple[str, Mapping[str, Value]]]:
    """Paths with their settings. Raises UsageError."""
    for entry in items(said, where):
        if isinstance(entry, Mapping):
            yield from tables(entry, where).items()
        else:
            yield text(entry, where), {}


def _holds_modules(folder: str) -> bool:
    """Whether a folder holds Python: as an input it would change with every `__pycache__`."""
    walk = islice(os.walk(folder), _FOLDERS_LOOKED_AT)
    return any(name.endswith(".py") for _, _, names in walk for name in names)
