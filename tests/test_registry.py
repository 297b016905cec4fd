"""Open sets: names of ours are loaded on use, other packages add to them and never replace one."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint

import pytest

from mlmake.config.load import parse
from mlmake.errors import ConfigError, UsageError
from mlmake.kinds.command import Command
from mlmake.kinds.python import Python
from mlmake.registry import EXECUTORS, KINDS, Registry

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
    assert KINDS.names()[:2] == ["python", "command"]


@pytest.mark.parametrize("registry", [KINDS, EXECUTORS])
def test_every_name_of_ours_can_be_loaded(registry: Registry) -> None:
    for name in registry.table:
        assert isinstance(registry.load(name), type)


def test_unknown() -> None:
    with pytest.raises(UsageError) as caught:
        KINDS.load("pyhton")
    assert caught.value.message == "unknown step kind 'pyhton'; did you mean 'python'?"
    assert caught.value.hint == "known: python, command"
    with pytest.raises(UsageError, match="unknown compute kind 'zzz'$"):
        EXECUTORS.load("zzz")


def test_other_packages_add(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, point("shell", "mlmake.kinds.command:Command"), point("x", "y:Z", "mlmake.executors"))
    assert KINDS.names() == ["python", "command", "shell"]
    assert KINDS.load("shell") is Command
    with pytest.raises(UsageError) as caught:
        KINDS.load("shelll")
    assert caught.value.message == "unknown step kind 'shelll'; did you mean 'shell'?"


def test_other_packages_do_not_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, point("python", "mlmake.kinds.command:Command"))
    assert KINDS.load("python") is Python
    assert KINDS.names() == ["python", "command"]


def test_a_kind_of_another_package_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, point("shell", "mlmake.kinds.command:Command"))
    project = parse(FILE % b"shell", "/project")
    assert project.steps["p.s"].spec.kind == Command(command="x")


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
    assert KINDS.names() == ["python", "command", "shell"]
    assert list(parse(FILE % b"command", "/project").steps) == ["p.s"]


def test_nothing_is_loaded_before_it_is_used() -> None:
    code = "import sys, mlmake.registry; print(*[m for m in sys.modules if m.startswith('mlmake.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mlmake.kinds" not in done.stdout
    assert "mlmake.executors" not in done.stdout
