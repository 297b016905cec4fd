"""The reference is what the code says: generated pages are up to date, exit codes and JSON are as described."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from pages import ROOT, Reader

from mlmake import errors
from mlmake.model.reason import Cause

DOCS = ROOT / "docs"
_JSON = DOCS / "reference" / "json.md"
_COMMAND = re.compile(r"^## `mlmake (.*)`$", re.MULTILINE)
_ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
_FREE = ("facts", "inputs", "metrics", "roots", "offers", "options")
"""Keys whose own keys are names that a project chose."""
_ANY = ("diff --json[].old", "diff --json[].new")
"""Values that are a number, a text or anything else that a metric may be."""


def generated() -> Mapping[str, str]:
    pages = cast("Callable[[], Mapping[str, str]]", runpy.run_path(str(DOCS / "generate.py"))["pages"])
    return pages()


@pytest.mark.parametrize("path", ["reference/file.md", "reference/commands.md", "images/graph.svg"])
def test_generated_pages_are_up_to_date(path: str) -> None:
    is_same = (DOCS / path).read_text(encoding="utf-8") == generated()[path]
    assert is_same, f"docs/{path} is not what the code says: run `python docs/generate.py`"


def test_all_that_is_generated_is_tested() -> None:
    assert set(generated()) == {"reference/file.md", "reference/commands.md", "images/graph.svg"}


def test_exit_codes() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    codes = {each.exit_code for each in classes if issubclass(each, errors.MlmakeError)}
    page = (DOCS / "reference" / "exit-codes.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes | {0, 70}


def test_causes() -> None:
    table = sections()["Causes"]
    assert set(_ROW.findall(table)) == {cause.name.lower() for cause in Cause}


# JSON.


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A project with two runs, in which something is stale and something waits."""
    reader = Reader(tmp_path_factory.mktemp("json").resolve())
    reader.run(
        "mlmake init hello && cd hello && mlmake -q && sed s/2000/2001/ steps/fit.py > new && mv new steps/fit.py"
    )
    reader.run("mlmake -q && echo 1.00,0.02 >> data/points.csv")
    return reader


@pytest.mark.parametrize("command", _COMMAND.findall(_JSON.read_text()))
def test_json(command: str, hello: Reader) -> None:
    """The example has the shape of what is really printed, and the table names the keys."""
    section = sections()[command]
    example = example_in(section)
    told = json.loads(hello.run(f"mlmake {command}"))
    assert not list(differences(example, told, command))
    keys = _ROW.findall(section)
    first = told[0] if isinstance(told, list) else told
    if command not in ("metrics --json", "show --json", "compute check --json"):
        assert keys == list(first)


def test_reason() -> None:
    section = sections()["Reason"]
    assert _ROW.findall(section) == list(example_in(section))


def example_in(section: str) -> Any:
    return json.loads(section.partition("```json\n")[2].partition("```")[0])


def sections() -> dict[str, str]:
    """The text below each heading, by the command or the word in it."""
    parts = [part.partition("\n") for part in _JSON.read_text().split("\n## ")[1:]]
    return {heading.strip("`").removeprefix("mlmake "): text for heading, _, text in parts}


def differences(one: Any, other: Any, where: str) -> Any:
    """Where two JSON values differ in shape; null and an empty list are of any shape."""
    if where in _ANY:
        return
    if isinstance(one, list) and isinstance(other, list):
        for each in other if one else []:
            yield from differences(one[0], each, f"{where}[]")
    elif isinstance(one, dict) and isinstance(other, dict):
        is_free = where.endswith(_FREE) or where.startswith(("metrics", "compute check"))
        if not is_free and one.keys() != other.keys():
            yield f"{where}: {sorted(one)} is not {sorted(other)}"
        for key in one.keys() & other.keys():
            yield from differences(one[key], other[key], f"{where}.{key}")
    elif one is not None and other is not None and kind(one) != kind(other):
        yield f"{where}: {one!r} is not like {other!r}"


def kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
