"""Open sets: names of ours are loaded on use, other packages add to them and never replace one."""

from __future__ import annotations

import enum
import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar, Literal

import pytest

from mlmake.config.load import parse
from mlmake.errors import ConfigError, UsageError
from mlmake.kinds.command import Command
from mlmake.kinds.python import Python
from mlmake.model.step import Code
from mlmake.model.template import Call
from mlmake.registry import EXECUTORS, KINDS, Registry


class Mode(enum.Enum):
    """A type that cattrs knows by itself."""

    FAST = "fast"


@dataclass(frozen=True, kw_only=True, slots=True)
class Odd:
    """A kind of another package: types that ours do not use, and words that are in none of its keys."""

    name: ClassVar[str] = "odd"
    version: ClassVar[int] = 1

    target: str
    mode: Mode = Mode.FAST
    weight: float = 1.0
    level: Literal[1, 2] = 1

    def words(self) -> tuple[str, ...]:
        return ("odd", f"--to={self.target}")

    def code(self) -> Code:
        return Code()

    def argv(self, call: Call) -> tuple[str, ...]:
        return call.spliced(self.words())


FILE = b"[pipelines.p.steps.s]\nkind = '%s'\ncommand = 'x'"


def install(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    """Pretend that packages with these entry points are installed."""

    def entry_points(group: str) -> Sequence[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def point(name: str, value: str, group: str = "mlmake.kinds") -> EntryPoint:
    return EntryPoint(name, value, group)


def test_ours() -> None:
    assert KINDS.load("python") is Python
    assert KINDS.load("command") is Command
    assert KINDS.names()[:4] == ["python", "command", "transfer", "pick"]


@pytest.mark.parametrize("registry", [KINDS, EXECUTORS])
def test_every_name_of_ours_can_be_loaded(registry: Registry) -> None:
    for name in registry.table:
        assert isinstance(registry.load(name), type)


def test_unknown() -> None:
    with pytest.raises(UsageError) as caught:
        KINDS.load("pyhton")
    assert caught.value.message == "unknown step kind 'pyhton'; did you mean 'python'?"
    assert caught.value.hint == "known: python, command, transfer, pick"
    with pytest.raises(UsageError) as caught:
        EXECUTORS.load("zzz")
    assert caught.value.message == "unknown compute kind 'zzz'"


def test_other_packages_add(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, point("shell", "mlmake.kinds.command:Command"), point("x", "y:Z", "mlmake.executors"))
    assert KINDS.names() == ["python", "command", "transfer", "pick", "shell"]
    assert KINDS.load("shell") is Command
    with pytest.raises(UsageError) as caught:
        KINDS.load("shelll")
    assert caught.value.message == "unknown step kind 'shelll'; did you mean 'shell'?"


def test_other_packages_do_not_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, point("python", "mlmake.kinds.command:Command"))
    assert KINDS.load("python") is Python
    assert KINDS.names() == ["python", "command", "transfer", "pick"]


def test_a_kind_of_another_package_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, point("shell", "mlmake.kinds.command:Command"))
    project = parse(FILE % b"shell", "/project")
    assert project.steps["p.s"].spec.kind == Command(command="x")


ODD = """
[pipelines.p]
params = { seed = 7 }
[pipelines.p.steps.s]
kind = "odd"
"""


def test_a_kind_with_types_and_words_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, point("odd", f"{__name__}:Odd"))
    text = f"{ODD}target = 'a-{{params.seed}}'\nmode = 'fast'\nweight = -2\nlevel = 2"
    step = parse(text.encode(), "/project").steps["p.s"]
    assert step.spec.kind == Odd(target="a-{params.seed}", mode=Mode.FAST, weight=-2.0, level=2)
    assert [param.key for param in step.params] == ["seed"]


@pytest.mark.parametrize(
    ("said", "messages"),
    [
        ("target = 'x'\nmode = 'slow'", ["s.mode: expected 'fast', got 'slow'"]),
        ("target = 'x'\nlevel = 3", ["s.level: cannot be used here: 3 not in literal typing.Literal[1, 2]"]),
        ("target = 'x'\nweight = 'x'", ["s.weight: expected a number, got 'x'"]),
        ("target = 3", ["s.target: expected a text, got 3"]),
        ("tagret = 'x'", ["s: key 'target' is missing", "s: unknown key 'tagret'; did you mean 'target'?"]),
        ("target = '{inputs.x}'", ["s: unknown placeholder {inputs.x}: the step has no inputs"]),
        ("target = '{params.sede}'", ["s: unknown placeholder {params.sede}: not in pipelines.p.params; did you mean"]),
    ],
)
def test_what_is_wrong_with_it(monkeypatch: pytest.MonkeyPatch, said: str, messages: list[str]) -> None:
    install(monkeypatch, point("odd", f"{__name__}:Odd"))
    with pytest.raises(ConfigError) as caught:
        parse(f"{ODD}{said}".encode(), "/project")
    lines = caught.value.message.splitlines()
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith(f"pipelines.toml: pipelines.p.steps.{message}")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no_such_module_anywhere:Kind", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("mlmake.kinds.command:Nothing", "AttributeError: module 'mlmake.kinds.command' has no attribute 'Nothing'"),
    ],
)
def test_a_broken_package(monkeypatch: pytest.MonkeyPatch, value: str, problem: str) -> None:
    install(monkeypatch, point("shell", value))
    with pytest.raises(UsageError) as caught:
        KINDS.load("shell")
    assert caught.value.message == f"step kind 'shell' cannot be loaded from {value}: {problem}"
    with pytest.raises(ConfigError) as told:
        parse(FILE % b"shell", "/project")
    assert told.value.message.startswith("pipelines.toml: pipelines.p.steps.s.kind: step kind 'shell' cannot be loaded")


def test_a_broken_package_that_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, point("shell", "no_such_module_anywhere:Kind"))
    assert KINDS.names() == ["python", "command", "transfer", "pick", "shell"]
    assert list(parse(FILE % b"command", "/project").steps) == ["p.s"]


def test_nothing_is_loaded_before_it_is_used() -> None:
    code = "import sys, mlmake.registry; print(*[m for m in sys.modules if m.startswith('mlmake.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mlmake.kinds" not in done.stdout
    assert "mlmake.executors" not in done.stdout
