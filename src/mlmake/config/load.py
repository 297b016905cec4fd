"""`pipelines.toml` -> `Project`: read, build every table, expand; all that is wrong is told at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import tomli

from mlmake.config import tables
from mlmake.config.build import build, keys_of, unknown_key
from mlmake.config.check import check_params
from mlmake.config.environments import check_environment
from mlmake.config.expand import expand
from mlmake.config.override import override
from mlmake.config.places import NAME, NAME_RULE, SCHEMES, check_address, datastore, shared_store
from mlmake.config.problems import Problems, Wrong, at, below, show
from mlmake.config.scope import Declared
from mlmake.errors import ConfigError, MlmakeError, Problem, UsageError, nearest
from mlmake.model.caching import CachePolicy
from mlmake.model.data import Datastore, InputMode, Value
from mlmake.model.project import FILE, Compute, Environment, Pipeline, Project
from mlmake.model.resources import Resources
from mlmake.model.step import StepSpec
from mlmake.model.trigger import Trigger
from mlmake.registry import KINDS

T = TypeVar("T")
_BY_KEY = {"script": "python", "command": "command"}
_SECTIONS = ["project", "datastores", "cache", "tracking", "environments", "compute", "pipelines"]
_COMMON = tuple(keys_of(tables.StepTable))
_BASES = ("python", "conda", "image", "dockerfile")
_FIRST_STEP = "a step is a table [pipelines.NAME.steps.NAME]"
_ELSEWHERE = {
    "steps": "steps stand in a pipeline, as [pipelines.NAME.steps.NAME]",
    "params": "parameters stand in a pipeline, as [pipelines.NAME.params]",
    "default": "it stands in [project]",
    "name": "it stands in [project]",
}
# Written in full, tomli reads them, and Python then refuses to print them.
_HUGE = re.compile(rb"0[xob][0-9A-Fa-f_]{3000}")
_TOML_WORDS = [
    (re.compile(pattern), words)
    for pattern, words in (
        (r"Cannot declare \('(.*?)',?\) twice", "table [{0}] stands twice"),
        (r"Cannot overwrite a value", "the key or table is there already"),
        (r"Duplicate inline table key '(.*)'", "key '{0}' stands twice"),
        (r"Expected newline or end of document after a statement", "something is left over after the value"),
        (r"Expected [\"'](['\"]+)[\"']", "the text does not end: {0} is missing"),
        (r"Illegal character '\\n'", "the text does not end on its line"),
        (r"Invalid value", "no TOML value; a text stands in quotes"),
        (r"Invalid statement", "neither a [table] nor a line `key = value`"),
        (r"Cannot (?:mutate immutable|redefine) namespace \('(.*?)',?\)", "table {0} is complete; nothing can join it"),
    )
]


def load(root: str, overrides: Sequence[str] = ()) -> Project:
    """The project in the folder `root`, with `key=value` overrides of parameters. Raises ConfigError, UsageError."""
    return parse(_read(os.path.join(root, FILE)), root, overrides)


def parse(content: bytes, root: str, overrides: Sequence[str] = ()) -> Project:
    """As `load`, from the file's bytes. Raises ConfigError, UsageError."""
    try:
        return _Reader(_toml(content), os.path.abspath(root)).project(overrides)
    except RecursionError as error:
        raise _unreadable(error) from None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _toml(content: bytes) -> dict[str, Any]:
    try:
        document = tomli.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8: byte 0x{content[error.start]:02x}; save the file as UTF-8"
        raise ConfigError(FILE, [Problem(f"line {line}", what)]) from None
    except tomli.TOMLDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(FILE, [Problem(where, _in_plain_words(error.msg))]) from None
    except (RecursionError, ValueError) as error:
        raise _unreadable(error) from None
    if _HUGE.search(content):
        raise _unreadable(ValueError())
    return document


def _in_plain_words(message: str) -> str:
    for pattern, words in _TOML_WORDS:
        if match := pattern.fullmatch(message):
            return words.format(*(group.replace("', '", ".") for group in match.groups()))
    return message


def _unreadable(error: Exception) -> ConfigError:
    is_deep = isinstance(error, RecursionError) or "nested" in str(error) or "parts" in str(error)
    what = "tables or lists are nested too deeply" if is_deep else "a number is too large"
    return ConfigError(FILE, [Problem("", what)])


class _Reader:
    """Builds each table of one file and collects what is wrong.

    What cannot be built is replaced by a stand-in of its name, so that what refers to it is not told as unknown.
    """

    def __init__(self, document: Mapping[str, Any], root: str) -> None:
        self.document = document
        self.root = root
        self.problems = Problems()
        self.stores: Mapping[str, Datastore] = {}

    def project(self, overrides: Sequence[str]) -> Project:
        self._check_sections()
        head = self._build(self._section("project"), tables.ProjectTable, "project") or tables.ProjectTable()
        stores = self.stores = self._each("datastores", self._datastore)
        cache = self._cache(self._section("cache"), stores)
        tracking = self._tracking(self._section("tracking"))
        environments = self._each("environments", self._environment)
        computes = self._each("compute", self._compute)
        pipelines = self._each("pipelines", self._pipeline)
        if overrides and not self.problems:
            pipelines = override(pipelines, overrides)
        project = Project(
            root=self.root,
            name=head.name or os.path.basename(self.root),
            default=head.default,
            datastores=stores,
            cache=cache,
            tracking=tracking,
            environments=environments,
            computes=computes,
        )
        expanded = expand(project, pipelines, self.problems)
        if self.problems:
            raise ConfigError(FILE, self.problems.all())
        return expanded

    def _check_sections(self) -> None:
        if not self.document:
            self.problems.tell("", f"the file declares no pipelines; {_FIRST_STEP}")
        for name in self.document:
            what = "table" if isinstance(self.document[name], dict | list) else "key"
            if name in _ELSEWHERE:
                self.problems.tell("", f"unknown {what} {show(name)}: {_ELSEWHERE[name]}")
            elif name not in _SECTIONS:
                problem = unknown_key(name, _SECTIONS, "")
                self.problems.tell("", problem.what.replace("unknown key", f"unknown {what}"), problem.nearest)
        if self.document and self.document.get("pipelines", {}) == {} and not self.problems:
            self.problems.tell("pipelines", f"the file declares no pipelines; {_FIRST_STEP}")

    def _section(self, name: str) -> Mapping[str, Any]:
        table = self.document.get(name, {})
        if isinstance(table, dict):
            return table
        self._build(table, tables.ProjectTable, name)
        return {}

    def _each(self, section: str, make: Callable[[str, Any, str], T]) -> dict[str, T]:
        made: dict[str, T] = {}
        for name, value in self._section(section).items():
            where = at(section, name)
            if not NAME.fullmatch(name):
                self.problems.tell(where, f"{show(name)} is no name: {NAME_RULE}")
            made[name] = make(name, value, where)
        return made

    def _build(self, table: object, into: type[T], where: str, also: tuple[str, ...] = ()) -> T | None:
        built = build(table, into, where, also)
        if isinstance(built, list):
            self.problems.add(built)
            return None
        return built

    def _datastore(self, name: str, value: Any, where: str) -> Datastore:
        if name in SCHEMES:
            self.problems.tell(where, f"{name!r} is a URL scheme: {name}:// would mean two things; rename it")
        options = value if isinstance(value, dict) else {"url": value}
        url = options.get("url")
        if isinstance(url, str):
            try:
                return datastore(name, url, {key: each for key, each in options.items() if key != "url"})
            except Wrong as wrong:
                self.problems.tell(where, wrong.what, wrong.near)
        else:
            self.problems.tell(where, f"expected a folder, a URL or a table with 'url', got {show(value)}")
        return Datastore(name, ".")

    def _cache(self, value: Mapping[str, Any], stores: Mapping[str, Datastore]) -> CachePolicy:
        table = self._build(value, tables.CacheTable, "cache")
        if table is None:
            return CachePolicy()
        url, options = "", {}
        if table.remote:
            try:
                store = shared_store(table.remote, self.root, stores)
                url, options = store.url, dict(store.options)
            except Wrong as wrong:
                self.problems.tell("cache.remote", wrong.what, wrong.near)
        elif "mode" in value:
            self.problems.tell("cache", "'mode' is that of the shared cache: name it with 'remote'")
        return CachePolicy(
            enabled=table.enabled,
            link=table.link,
            size=table.size,
            runs=table.runs,
            remote=url,
            name=table.remote,
            options=options,
            mode=table.mode,
        )

    def _tracking(self, value: Mapping[str, Any]) -> Mapping[str, str]:
        table = self._build(value, tables.TrackingTable, "tracking") or tables.TrackingTable()
        told = {name: address for name in keys_of(tables.TrackingTable) if (address := getattr(table, name))}
        for name, address in told.items():
            try:
                check_address(address)
            except Wrong as wrong:
                self.problems.tell(at("tracking", name), wrong.what, wrong.near)
        return told

    def _environment(self, name: str, value: Any, where: str) -> Environment:
        table = self._build(value, tables.EnvironmentTable, where)
        if name == "system":
            self.problems.tell(where, "'system' is the Python that runs mlmake: give this one another name")
        if table is None:
            return Environment(name=name)
        bases = [base for base in _BASES if getattr(table, base)]
        if len(bases) != 1:
            found = " and ".join(bases) or "none"
            self.problems.tell(where, f"exactly one base of {', '.join(_BASES)} is needed; found {found}")
        made = Environment(name=name, **{key: getattr(table, key) for key in keys_of(tables.EnvironmentTable)})
        if len(bases) == 1:
            check_environment(self.problems, made, where)
        return made

    def _compute(self, name: str, value: Any, where: str) -> Compute:
        kind = value.get("kind", "local") if isinstance(value, dict) else "local"
        stand_in = Compute(name=name, kind="local")
        if not isinstance(kind, str) or kind not in tables.COMPUTE_TABLES:
            legal = list(tables.COMPUTE_TABLES)
            near = nearest(kind[:50], legal) if isinstance(kind, str) else ""
            known = "" if near else f"; known: {', '.join(legal)}"
            self.problems.tell(f"{where}.kind", f"unknown compute kind {show(kind)}{known}", near)
            return stand_in
        if isinstance(value, dict) and "kind" not in value and (owners := _kinds_with(value)):
            for key, kinds in owners.items():
                self.problems.tell(where, f"{key!r} is a key of kind {' and '.join(map(repr, kinds))}: say which it is")
            return stand_in
        if name == "local" and kind != "local":
            self.problems.tell(f"{where}.kind", f"'local' is this machine and cannot be of kind {kind!r}; rename it")
        table = self._build(value, tables.COMPUTE_TABLES[kind], where)
        return stand_in if table is None else _as_compute(name, kind, table)

    def _pipeline(self, name: str, value: Any, where: str) -> Declared:
        table = self._build(value, tables.PipelineTable, where)
        if table is None:
            return Declared(pipeline=Pipeline(name=name), specs={}, broken=set(), is_broken=True)
        if not table.steps:
            header = at("pipelines", name, "steps", "NAME")
            self.problems.tell(where, f"the pipeline has no steps: each is a table [{header}]")
        check_params(self.problems, table.params, f"{where}.params")
        trigger = self._trigger(table.triggers, f"{where}.triggers") if table.triggers else None
        shell = Pipeline(name=name, description=table.description, params=table.params, trigger=trigger)
        declared = Declared(pipeline=shell, specs={}, broken=set())
        for step, step_table in table.steps.items():
            spec = self._step(step, step_table, below(f"{where}.steps", step))
            if spec is None:
                declared.broken.add(step)
            else:
                declared.specs[step] = spec
        return declared

    def _trigger(self, value: Any, where: str) -> Trigger | None:
        from mlmake.config.triggers import trigger

        table = self._build(value, tables.TriggersTable, where)
        return trigger(table, where, self.root, self.stores, self.problems) if table else None

    def _step(self, name: str, value: Any, where: str) -> StepSpec | None:
        before = len(self.problems)
        if not NAME.fullmatch(name):
            self.problems.tell(where, f"{show(name)} is no name: {NAME_RULE}")
        own = {key: each for key, each in value.items() if key in _COMMON} if isinstance(value, dict) else value
        kind = self._kind(value, where) if isinstance(value, dict) else None
        table = self._build(own, tables.StepTable, where)
        if kind is None or table is None or len(self.problems) > before:
            return None
        return _as_spec(name, kind, table)

    def _kind(self, value: Mapping[str, Any], where: str) -> Any:
        rest = {key: each for key, each in value.items() if key not in _COMMON}
        named = [key for key in _BY_KEY if key in value]
        said = value.get("kind") or next((_BY_KEY[key] for key in named), None)
        if len(named) > 1:
            self.problems.tell(where, "a step has a 'script' or a 'command', not both")
            return None
        if named and said in _BY_KEY.values() and said != _BY_KEY[named[0]]:
            self.problems.tell(where, f"kind {said!r} has no {named[0]!r}; without 'kind' the step is what it names")
            return None
        if said is None:
            self._tell_no_kind(rest, where)
            return None
        if not isinstance(said, str):
            return None  # the step's table tells
        try:
            return self._build(rest, KINDS.load(said), where, tuple(_COMMON))
        except MlmakeError as error:
            hint = "" if "did you mean" in error.message else f"; {error.hint}"
            self.problems.tell(f"{where}.kind", f"{error.message}{hint}")
            return None

    def _tell_no_kind(self, rest: Mapping[str, Any], where: str) -> None:
        slips = [unknown_key(key, [*_COMMON, *_BY_KEY], where) for key in rest]
        self.problems.add(slips)
        if not any(slip.nearest in _BY_KEY for slip in slips):
            self.problems.tell(where, "what does it run? Give it a 'script' or a 'command'")


def _kinds_with(table: Mapping[str, Any]) -> dict[str, list[str]]:
    """Keys that the kind `local` does not know, with the kinds that do."""
    kinds = {kind: keys_of(each) for kind, each in tables.COMPUTE_TABLES.items()}
    found = {key: [kind for kind in kinds if key in kinds[kind]] for key in table if key not in kinds["local"]}
    return {key: names for key, names in found.items() if names}


def _as_compute(name: str, kind: str, table: tables.OffersTable) -> Compute:
    shared = {each.name for each in fields(tables.OffersTable)}
    offers = None
    if table.cpus is not None or table.memory is not None or table.gpus or table.resources:
        offers = Resources(cpus=table.cpus or 0, memory=table.memory or 0, gpus=table.gpus, named=dict(table.resources))
    options = {each.name: getattr(table, each.name) for each in fields(table) if each.name not in shared}
    return Compute(name=name, kind=kind, offers=offers, options=options)


def _as_spec(name: str, kind: Any, table: tables.StepTable) -> StepSpec:
    shared: dict[str, Value] = {each.name: getattr(table, each.name) for each in fields(table)}
    del shared["kind"]
    is_all = getattr(kind, "delivers", False)
    modes = {name: InputMode.PATH if is_all else mode for name, (_, mode) in table.inputs.items()}
    shared["modes"] = {name: mode for name, mode in modes.items() if mode is not InputMode.FETCH}
    shared["inputs"] = {name: paths for name, (paths, _) in table.inputs.items()}
    return StepSpec(name=name, kind=kind, **shared)
