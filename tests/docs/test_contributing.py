"""The recipes of CONTRIBUTING.md work as they stand: each test passes with the code below it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from pages import ROOT, blocks

import mlmake.kinds
from mlmake.registry import KINDS
from projects import Folder

FILES = {path: block.text for block in blocks(ROOT / "CONTRIBUTING.md") if (path := block.marked("file"))}
_CONFTEST = """
import sys
import mlmake.executors
mlmake.executors.__path__.append({executors!r})
sys.path.insert(0, {tests!r})
"""


def test_a_kind(project: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe: dict[str, Any] = {}
    exec(compile(FILES["tests/kinds/test_make.py"], "test_make.py", "exec", dont_inherit=True), recipe)
    with pytest.raises(Exception, match="unknown step kind 'make'"):
        recipe["test_make"](project)
    (tmp_path / "make.py").write_text(FILES["src/mlmake/kinds/make.py"])
    monkeypatch.setattr(mlmake.kinds, "__path__", [*mlmake.kinds.__path__, str(tmp_path)])
    monkeypatch.setitem(cast("dict[str, str]", KINDS.table), "make", "mlmake.kinds.make:Make")
    importlib.invalidate_caches()
    try:
        recipe["test_make"](project)
    finally:
        sys.modules.pop("mlmake.kinds.make", None)


def test_an_executor(tmp_path: Path) -> None:
    """The conformance suite, with the recipe's rig put behind `RIGS`."""
    suite = (ROOT / "tests" / "conformance" / "test_executors.py").read_text()
    before, rigs, after = re.split(r"(^RIGS: .*?\n)(?=\n)", suite, maxsplit=1, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "test_recipe.py").write_text(f"{before}{rigs}\n{FILES['tests/conformance/rig.py']}\n{after}")
    (tmp_path / "conftest.py").write_text(_CONFTEST.format(executors=str(tmp_path), tests=str(ROOT / "tests")))
    (tmp_path / "listed.py").write_text(FILES["src/mlmake/executors/listed.py"])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "listed", "."]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert re.search(r"\d\d passed", run.stdout), run.stdout


def test_a_store(tmp_path: Path) -> None:
    """The conformance suite, with the recipe's place put behind `PLACES`."""
    suite = (ROOT / "tests" / "conformance" / "test_stores.py").read_text()
    before, places, after = re.split(r"(^PLACES = .*?\n)(?=\n)", suite, maxsplit=1, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "test_recipe.py").write_text(f"{before}{places}\n{FILES['tests/conformance/place.py']}\n{after}")
    conftest = _CONFTEST.replace("mlmake.executors", "mlmake.stores")
    (tmp_path / "conftest.py").write_text(conftest.format(executors=str(tmp_path), tests=str(ROOT / "tests")))
    (tmp_path / "kept.py").write_text(FILES["src/mlmake/stores/kept.py"])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "kept", "."]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert re.search(r"\d\d passed", run.stdout), run.stdout
