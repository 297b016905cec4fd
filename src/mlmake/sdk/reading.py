"""How tables are read: words that count for a step, and that it is handed; `mlmake.table` goes by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlmake.errors import NotYetError

How = Mapping[str, Any]


def delimited(
    *,
    separator: str = ",",
    header: object = True,
    infer_column_types: bool = True,
    empty_as_string: bool = False,
    encoding: str = "utf8",
    **about: Any,
) -> dict[str, Any]:
    """Text files; `about` as in `told`."""
    how = told("delimited", **about)
    how |= {"sep": separator} if separator != "," else {}
    how |= {"encoding": encoding} if encoding != "utf8" else {}
    how |= {"header": None} if header is False else {}
    how |= {"dtype": "str"} if not infer_column_types else {}
    how |= {"keep_default_na": False} if empty_as_string else {}
    return how


def told(
    format: str,
    *,
    include_path: bool = False,
    partition_format: str | None = None,
    set_column_types: object = None,
    extension: str | None = None,
) -> dict[str, Any]:
    """What goes for files of every format. Raises NotYetError for types of columns."""
    if set_column_types:
        raise NotYetError("set_column_types: a table has the types that pandas finds", hint="convert in the script")
    how: dict[str, Any] = {"format": format}
    how |= {"extension": extension} if extension is not None else {}
    how |= {"partition_format": partition_format} if partition_format else {}
    how |= {"include_path": True} if include_path else {}
    return how


def kept(how: How, columns: str | Sequence[str]) -> dict[str, Any]:
    """Without all other columns, those among them that were to be dropped."""
    return {**{key: value for key, value in how.items() if key != "drop"}, "keep": _names(columns)}


def dropped(how: How, columns: str | Sequence[str]) -> dict[str, Any]:
    """Without these columns."""
    return {**how, "drop": [*how.get("drop", ()), *_names(columns)]}


def taken(how: How, count: int) -> dict[str, Any]:
    """The first rows alone."""
    return {**how, "take": min(count, how.get("take", count))}


def skipped(how: How, count: int) -> dict[str, Any]:
    """Without the first rows."""
    left = {"take": max(how["take"] - count, 0)} if "take" in how else {}
    return {**how, **left, "skip": how.get("skip", 0) + count}


def _names(columns: str | Sequence[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)
