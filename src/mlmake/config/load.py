"""`pipelines.toml` -> `Project`: read, build every table, expand; all that is wrong is told at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import tomli

from mlmake.config import tables
from mlmake.config.build import build, keys_of, show
from mlmake.config.expand import Declared, expand
from mlmake.config.override import override
from mlmake.config.places import NAME, SCHEMES
from mlmake.errors import ConfigError, MlmakeError, Problem, UsageError, nearest
from mlmake.model.data import Datastore, Value
from mlmake.model.project import FILE, Compute, Environment, Pipeline, Project
from mlmake.model.resources import Resources
from mlmake.model.step import StepSpec
from mlmake.registry import KINDS

_BY_KEY = {"script": "python", "command": "command"}
_SECTIONS = ("project", "datastores", "environments", "compute", "pipelines")
_COMMON = frozenset(keys_of(tables.StepTable))


def find_root(start: str) -> str:
    """The nearest folder at or above `start` that holds a pipelines.toml. Raises UsageError."""
    folder = os.path.abspath(start)
    while not os.path.exists(os.path.join(folder, FILE)):
        above = os.path.dirname(folder)
        if above == folder:
            raise UsageError(
                f"no {FILE} in {os.path.abspath(start)} or any folder above it",
                hint="`mlmake init` makes a small project that builds",
            )
        folder = above
    return folder


def load(root: str, overrides: Sequence[str] = ()) -> Project:
    """The project in the folder `root`, with `key=value` overrides of parameters. Raises ConfigError, UsageError."""
    return parse(_read(os.path.join(root, FILE)), root, overrides)


def parse(content: bytes, root: str, overrides: Sequence[str] = ()) -> Project:
    """As `load`, from the file's bytes. Raises ConfigError, UsageError."""
    return _Reader(_toml(content), os.path.abspath(root)).project(overrides)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _toml(content: bytes) -> dict[str, Any]:
    try:
        return tomli.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            FILE, [Problem(f"line {line}", f"not UTF-8: byte 0x{content[error.start]:02x}")]
        ) from None
    except tomli.TOMLDecodeError as error:
        raise ConfigError(FILE, [Problem(f"line {error.lineno}, column {error.colno}", error.msg)]) from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(FILE, [Problem("", f"cannot be read as TOML: {str(error)[:100]}")]) from None


class _Reader:
    """Builds each table of one file and collects what is wrong."""

    def __init__(self, document: Mapping[str, Any], root: str) -> None:
        self.document = document
        self.root = root
        self.problems: list[Problem] = []

    def project(self, overrides: Sequence[str]) -> Project:
        if not self.document:
            self.problems.append(Problem("", "the file is empty: it declares no pipelines"))
        for name in self.document.keys() - set(_SECTIONS):
            self.problems.append(Problem("", f"unknown table {name!r}", nearest(name, _SECTIONS)))
        head = self._build(self._section("project"), tables.ProjectTable, "project") or tables.ProjectTable()
        stores = self._each("datastores", self._datastore)
        environments = self._each("environments", self._environment)
        computes = self._each("compute", self._compute)
        pipelines = self._each("pipelines", self._pipeline)
        if self.document and not pipelines and not self.problems:
            self.problems.append(Problem("pipelines", "the file declares no pipelines"))
        if overrides and not self.problems:
            pipelines = override(pipelines, overrides)
        project = Project(
            root=self.root,
            name=head.name or os.path.basename(self.root),
            default=head.default,
            datastores=stores,
            environments=environments,
            computes=computes,
        )
        expanded = expand(project, pipelines, self.problems)
        if self.problems:
            raise ConfigError(FILE, self.problems)
        return expanded

    def _section(self, name: str) -> Mapping[str, Any]:
        table = self.document.get(name, {})
        if isinstance(table, dict):
            return table
        self.problems.append(Problem(name, f"expected a table, got {show(table)}"))
        return {}

    def _each(self, section: str, make: Any) -> dict[str, Any]:
        made = {}
        for name, value in self._section(section).items():
            where = f"{section}.{name}"
            if not NAME.fullmatch(name):
                self.problems.append(Problem(where, f"{show(name)} is no name: use letters, digits, _ and -"))
            elif (result := make(name, value, where)) is not None:
                made[name] = result
        return made

    def _build(self, table: object, into: type, where: str, also: tuple[str, ...] = ()) -> Any:
        built = build(table, into, where, also)
        if isinstance(built, list):
            self.problems += built
            return None
        return built

    def _datastore(self, name: str, value: Any, where: str) -> Datastore | None:
        if name in SCHEMES:
            self.problems.append(Problem(where, f"{name!r} is a URL scheme: {name}:// would mean two things"))
        if isinstance(value, str) and value:
            return Datastore(name, value)
        if isinstance(value, dict) and isinstance(value.get("url"), str) and value["url"]:
            return Datastore(name, value["url"], {key: each for key, each in value.items() if key != "url"})
        self.problems.append(
            Problem(where, f"expected a folder, a URL or a table with 'url', got {show(value)}")
        )
        return None

    def _environment(self, name: str, value: Any, where: str) -> Environment | None:
        table = self._build(value, tables.EnvironmentTable, where)
        if table is None:
            return None
        bases = [base for base in ("python", "conda", "image", "dockerfile") if getattr(table, base)]
        if len(bases) != 1:
            found = " and ".join(bases) or "none"
            self.problems.append(
                Problem(
                    where, f"exactly one base of python, conda, image, dockerfile is needed; found {found}"
                )
            )
            return None
        return Environment(
            name=name, **{key: getattr(table, key) for key in keys_of(tables.EnvironmentTable)}
        )

    def _compute(self, name: str, value: Any, where: str) -> Compute | None:
        kind = value.get("kind", "local") if isinstance(value, dict) else "local"
        if name == "local" and kind != "local":
            self.problems.append(Problem(where, "'local' is this machine: its kind cannot be another"))
        if kind not in tables.COMPUTE_TABLES:
            near = nearest(str(kind), tables.COMPUTE_TABLES)
            self.problems.append(Problem(where, f"unknown compute kind {show(kind)}", near))
            return None
        table = self._build(value, tables.COMPUTE_TABLES[kind], where)
        return None if table is None else _as_compute(name, kind, table)

    def _pipeline(self, name: str, value: Any, where: str) -> Declared | None:
        table = self._build(value, tables.PipelineTable, where)
        if table is None:
            return None
        shell = Pipeline(name=name, description=table.description, params=table.params)
        declared = Declared(pipeline=shell, specs={}, broken=set())
        for step, step_table in table.steps.items():
            spec = self._step(step, step_table, f"{where}.steps.{step}")
            if spec is None:
                declared.broken.add(step)
            else:
                declared.specs[step] = spec
        return declared

    def _step(self, name: str, value: Any, where: str) -> StepSpec | None:
        if not NAME.fullmatch(name):
            self.problems.append(Problem(where, f"{show(name)} is no name: use letters, digits, _ and -"))
            return None
        if not isinstance(value, dict):
            self.problems.append(Problem(where, f"expected a table, got {show(value)}"))
            return None
        before = len(self.problems)
        kind = self._kind(value, where)
        own = {key: each for key, each in value.items() if key in _COMMON}
        table = self._build(own, tables.StepTable, where)
        if kind is None or table is None or len(self.problems) > before:
            return None
        self._check_numbers(table, where)
        return _as_spec(name, kind, table)

    def _kind(self, value: Mapping[str, Any], where: str) -> Any:
        rest = {key: each for key, each in value.items() if key not in _COMMON}
        said = value.get("kind") or next((_BY_KEY[key] for key in _BY_KEY if key in value), None)
        if said is None:
            legal = [*_COMMON, *_BY_KEY]
            typos = [(key, nearest(key, legal)) for key in rest]
            self.problems += [Problem(where, f"unknown key {key!r}", near) for key, near in typos]
            if not any(near in _BY_KEY for _, near in typos):
                self.problems.append(Problem(where, "what does it run? Give it a 'script' or a 'command'"))
            return None
        try:
            return self._build(rest, KINDS.load(str(said)), where, tuple(_COMMON))
        except MlmakeError as error:
            self.problems.append(
                Problem(where, f"{error.message} ({error.hint})" if error.hint else error.message)
            )
            return None

    def _check_numbers(self, table: tables.StepTable, where: str) -> None:
        if table.retries < 0:
            self.problems.append(Problem(f"{where}.retries", f"cannot be negative: {table.retries}"))


def _as_compute(name: str, kind: str, table: tables.OffersTable) -> Compute:
    shared = {each.name for each in fields(tables.OffersTable)}
    offers = None
    if table.cpus is not None or table.memory is not None or table.gpus or table.resources:
        offers = Resources(
            cpus=table.cpus or 0, memory=table.memory or 0, gpus=table.gpus, named=dict(table.resources)
        )
    options = {each.name: getattr(table, each.name) for each in fields(table) if each.name not in shared}
    return Compute(name=name, kind=kind, offers=offers, options=options)


def _as_spec(name: str, kind: Any, table: tables.StepTable) -> StepSpec:
    shared: dict[str, Value] = {each.name: getattr(table, each.name) for each in fields(table)}
    del shared["kind"]
    return StepSpec(name=name, kind=kind, **shared)
