"""Parameters: nested tables looked up by dotted keys (`model.depth`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlmake.model.data import Value


def find(params: Mapping[str, Value], key: str) -> Value:
    """The value at a dotted key. Raises KeyError."""
    value: Value = params
    for part in key.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(key)
        value = value[part]
    return value


def leaves(value: Value, prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Every (dotted key, value) that is no table, at or below `value`."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, value


def every_key(params: Mapping[str, Value], prefix: str = "") -> Iterator[str]:
    """Every dotted key, of tables and of values."""
    for name, value in params.items():
        key = f"{prefix}.{name}" if prefix else name
        yield key
        if isinstance(value, Mapping):
            yield from every_key(value, key)


def replaced(params: Mapping[str, Value], key: str, value: Value) -> dict[str, Value]:
    """A copy of `params` with another value at a dotted key that it has."""
    head, _, rest = key.partition(".")
    return {**params, head: replaced(params[head], rest, value) if rest else value}
