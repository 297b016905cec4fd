"""`mlmake import` as a user meets it."""

from __future__ import annotations

import sys

import pytest

from mlmake.model.project import FILE
from projects import Folder

PIPELINE = "stages:\n  hello:\n    cmd: echo ${word} > hello.txt\n    outs: [hello.txt]\n    meta: {a: 1}\n"


@pytest.fixture
def foreign(project: Folder) -> Folder:
    """A folder with a dvc.yaml, and nothing of ours."""
    project.write({"dvc.yaml": PIPELINE, "params.yaml": "word: hi\n"})
    return project


def test_import_writes_a_file_that_builds(foreign: Folder) -> None:
    done = foreign.cli("import", "dvc.yaml")
    assert (done.returncode, done.stdout) == (0, f"wrote {FILE}: 1 step; look at it, then: mlmake -n\n")
    assert "note: hello: meta: has no counterpart\n" in done.stderr
    assert foreign.build().done == ["hello"]
    assert foreign.read("hello.txt") == "hi\n"

    before = foreign.read(FILE)
    foreign.write({"params.yaml": "word: other\n"})
    again = foreign.cli("import", "dvc.yaml")
    assert (again.returncode, again.stdout) == (2, "")
    assert "pipelines.toml is there already" in again.stderr
    assert "--force" in again.stderr
    assert foreign.read(FILE) == before
    assert foreign.cli("import", "dvc.yaml", "--force").returncode == 0
    assert 'word = "other"' in foreign.read(FILE)


def test_import_prints_and_writes_elsewhere(foreign: Folder) -> None:
    printed = foreign.cli("import", "dvc.yaml", "-o", "-")
    assert printed.returncode == 0
    assert "[pipelines.main.steps.hello]" in printed.stdout
    assert not foreign.has(FILE)
    assert foreign.cli("import", "../dvc.yaml", "-o", "sub/../made.toml", cwd=_inner(foreign)).returncode == 0
    assert foreign.read("inner/made.toml").count("cd .. ") == 1


def _inner(project: Folder) -> str:
    project.write({"inner/sub/x": ""})
    return str(project.root / "inner")


def test_what_does_not_load_yet_is_written_and_told(foreign: Folder) -> None:
    foreign.write({"dvc.yaml": "stages: {a: {cmd: x, outs: [o]}, b: {cmd: y, outs: [o]}}"})
    done = foreign.cli("import", "dvc.yaml")
    assert done.returncode == 2
    assert "'o' is an output of both a and b" in done.stderr
    assert foreign.has(FILE)


@pytest.mark.parametrize("words", [["none.yaml"], ["params.yaml"], ["."], ["dvc.yaml", "-o", "no/x.toml"], []])
def test_what_cannot_be_imported(foreign: Folder, words: list[str]) -> None:
    done = foreign.cli("import", *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not foreign.has(FILE)


def test_without_its_extra_import_says_what_to_install(foreign: Folder) -> None:
    foreign.write({"ruamel/__init__.py": "raise ImportError('no')"})
    done = foreign.cli("import", "dvc.yaml", env={"PYTHONPATH": f"{foreign.root}:{':'.join(sys.path)}"})
    assert done.returncode == 2
    assert "reading YAML needs ruamel.yaml" in done.stderr
    assert "mlmake[import]" in done.stderr
