"""Files of other tools: YAML, JSON, TOML, and the constants of a Python module."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import tomli

from mlmake.errors import UsageError
from mlmake.model.data import Value


def read(path: str) -> Value:
    """What a file holds, by its suffix; one of no known suffix is YAML. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    parse = _PARSERS.get(os.path.splitext(path)[1].lower(), _yaml)
    try:
        return parse(content.decode("utf-8-sig"))
    except (ValueError, SyntaxError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _yaml(text: str) -> Value:
    """YAML 1.2, in which `on` is a text and `1e-3` a number. Raises ValueError, UsageError."""
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError
    except ImportError:
        raise UsageError("reading YAML needs ruamel.yaml", hint="pip install 'mlmake[import]'") from None
    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{error.problem}") from None
    except YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from None


def _python(text: str) -> Value:
    """The names that a module, and the classes in it, give to constants."""
    return _constants(ast.parse(text).body)


def _constants(body: Iterable[ast.stmt]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner):
                found[name] = _constants(inner)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                with suppress(ValueError):
                    found[name] = ast.literal_eval(value)
    return found


_PARSERS: Mapping[str, Callable[[str], Any]] = {".json": json.loads, ".toml": tomli.loads, ".py": _python}
