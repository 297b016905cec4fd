"""A document as the text of a `pipelines.toml`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time

from mlmake.model.data import Value

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TABLES = ("environments", "compute", "pipelines")
"""Sections whose tables stand under headers of their own."""


def dump(document: Mapping[str, Value]) -> str:
    """The text, which reads back as the same document."""
    parts: list[str] = []
    for name, section in document.items():
        if name in _TABLES:
            for inner, table in section.items():
                parts += _pipeline(inner, table) if name == "pipelines" else [_table((name, inner), table)]
        else:
            parts.append(_table((name,), section))
    return "\n".join(parts)


def _pipeline(name: str, table: Mapping[str, Value]) -> Iterator[str]:
    yield _table(("pipelines", name), {key: value for key, value in table.items() if key != "steps"})
    for step, inner in table.get("steps", {}).items():
        yield _table(("pipelines", name, "steps", step), inner)


def _table(path: tuple[str, ...], table: Mapping[str, Value]) -> str:
    lines = [f"[{'.'.join(map(_key, path))}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())]
    return "".join(f"{line}\n" for line in lines)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return _number(value)


def _number(value: int | float) -> str:
    """A number as TOML spells it: a float has a dot or an exponent."""
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _text(value: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
