"""What a file of another tool should hold at a key; anything else is told by its place."""

from __future__ import annotations

from collections.abc import Mapping

from mlmake.config.problems import show
from mlmake.errors import UsageError
from mlmake.model.data import Value


def table(value: Value, where: str) -> Mapping[str, Value]:
    """A table, its keys as texts; nothing counts as an empty one. Raises UsageError."""
    if value is None or isinstance(value, Mapping):
        return {str(key): each for key, each in (value or {}).items()}
    raise UsageError(f"{where}: expected a table, got {show(value)}")


def tables(value: Value, where: str) -> dict[str, Mapping[str, Value]]:
    """A table of tables. Raises UsageError."""
    return {name: table(each, f"{where}.{name}") for name, each in table(value, where).items()}


def items(value: Value, where: str) -> list[Value]:
    """A list; nothing counts as an empty one. Raises UsageError."""
    if value is None or isinstance(value, list):
        return value or []
    raise UsageError(f"{where}: expected a list, got {show(value)}")


def text(value: Value, where: str, default: str = "") -> str:
    """A text, or a number as one. Raises UsageError."""
    if value is None:
        return default
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{where}: expected a text, got {show(value)}")
