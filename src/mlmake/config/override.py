"""`-p key=value`: another value for a parameter in this build, typed as in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import tomli

from mlmake.config.params import every_key, find, replaced
from mlmake.config.problems import show
from mlmake.config.scope import Declared
from mlmake.errors import UsageError, nearest
from mlmake.model.data import Value

_WORDS = {"true": True, "false": False}


def override(pipelines: Mapping[str, Declared], texts: Sequence[str]) -> dict[str, Declared]:
    """`pipelines` with each `key=value` put into every pipeline that has the key. Raises UsageError."""
    result = dict(pipelines)
    for text in texts:
        key, equals, value = text.partition("=")
        said = f"-p {text if len(text) <= 60 else text[:57] + '...'}"
        if not equals:
            raise UsageError(f"{said}: expected key=value")
        holders = [name for name, each in result.items() if key in set(every_key(each.pipeline.params))]
        if not holders:
            legal = [each for declared in result.values() for each in every_key(declared.pipeline.params)]
            near = nearest(key[:100], legal)
            raise UsageError(
                f"{said}: unknown parameter {key!r}" + (f"; did you mean {near!r}?" if near else ""),
                hint=f"known: {', '.join(dict.fromkeys(legal)) or 'none: no pipeline has params'}",
            )
        for name in holders:
            pipeline = result[name].pipeline
            typed = convert(value, find(pipeline.params, key), said)
            pipeline = replace(pipeline, params=replaced(pipeline.params, key, typed))
            result[name] = replace(result[name], pipeline=pipeline)
    return result


def convert(text: str, old: Value, said: str) -> Value:
    """`text` as a value of the type of `old`. Raises UsageError that quotes `said`."""
    if isinstance(old, str):
        return text
    for kind, parse, name in _TYPES:
        if isinstance(old, kind):
            try:
                return parse(text)
            except (ValueError, KeyError):
                raise UsageError(f"{said}: expected {name}, as in the file ({show(old)})") from None
    return _same_type(text, old, said)


def _same_type(text: str, old: Value, said: str) -> Value:
    try:
        value = tomli.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = None
    if type(value) is not type(old):
        raise UsageError(f"{said}: expected a TOML value such as the file's {show(old)}")
    return value


_TYPES: tuple[tuple[type, Callable[[str], Value], str], ...] = (
    (bool, lambda text: _WORDS[text.lower()], "true or false"),
    (int, lambda text: int(text.replace("_", "")), "a whole number"),
    (float, float, "a number"),
)
