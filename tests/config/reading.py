"""Reading a pipelines.toml from text in tests, and writing one from values (Python's library has no TOML writer)."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping
from textwrap import dedent

import pytest

from mlmake.config.load import parse
from mlmake.errors import ConfigError
from mlmake.model.project import Project
from mlmake.model.step import Step

ROOT = "/project"
_HEADER = re.compile(r"^\[([\w-]+)\]$", re.MULTILINE)
_SECTIONS = ("project", "datastores", "cache", "environments", "compute", "pipelines")


def steps(text: str, pipeline: str = "p") -> str:
    """A file of one pipeline: `[NAME]` starts a step, `[params]` the pipeline's parameters."""

    def header(match: re.Match[str]) -> str:
        name = match[1]
        if name in _SECTIONS:
            return match[0]
        return f"[pipelines.{pipeline}.{name}]" if name == "params" else f"[pipelines.{pipeline}.steps.{name}]"

    return _HEADER.sub(header, dedent(text))


def read(text: str, *overrides: str, root: str = ROOT) -> Project:
    """The project of a file, as `load` makes it; `[NAME]` starts a step as in `steps`."""
    return parse(steps(text).encode(), root, overrides)


def step(text: str, name: str = "s") -> Step:
    """One step of a file by its name."""
    project = read(text)
    return next(each for each in project.steps.values() if each.name == name)


def told(text: str | bytes) -> list[str]:
    """The lines of the ConfigError that a file gives, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        parse(text if isinstance(text, bytes) else steps(text).encode(), ROOT)
    lines = caught.value.message.splitlines()
    assert len(lines) == len(caught.value.problems), "a problem is one line"
    assert all(line.startswith("pipelines.toml: ") for line in lines)
    return [line.removeprefix("pipelines.toml: ") for line in lines]


def toml(document: Mapping[str, object]) -> str:
    """A document as TOML: its tables inline below the first level, which every reader understands."""
    return "".join(f"{_key(name)} = {_value(value)}\n" for name, value in document.items())


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)} = {_value(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
