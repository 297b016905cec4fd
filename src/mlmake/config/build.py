"""From a parsed table to its dataclass, every problem told with its path and the nearest legal word.

cattrs does the walking; here stand our rules for single values and the wording of what went wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin

from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

from mlmake.config import tables
from mlmake.errors import Problem, nearest
from mlmake.model.resources import Resources, parse_duration, parse_size

T = TypeVar("T")
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}


class Wrong(ValueError):
    """One value that cannot be: what, and the nearest legal word."""

    def __init__(self, what: str, near: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.near = near


def build(table: object, into: type[T], where: str, also: tuple[str, ...] = ()) -> T | list[Problem]:
    """`table` as the dataclass `into`, or all that is wrong with it; `also` are legal keys beside its own."""
    try:
        return CONVERTER.structure(_expect(table, dict), into)
    except Exception as error:
        return list(_problems(error, where, also))


def show(value: object) -> str:
    """A TOML value in an error message: short, and in TOML's spelling where it differs from Python's."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _expect(value: Any, kind: type) -> Any:
    good = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not good:
        raise Wrong(f"expected {_NAMES[kind]}, got {show(value)}")
    return value


def _paths(value: Any, _: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise Wrong(f"expected a path or a list of paths, got {show(value)}")
    return tuple(items)


def _words(value: Any, _: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Wrong(f"expected a list of texts, got {show(value)}")
    return tuple(value)


def _words_or_text(value: Any, _: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise Wrong(f"expected a text or a list of texts, got {show(value)}")


def _keys(value: Any, _: Any) -> dict[str, str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {item: item for item in value}
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return dict(value)
    raise Wrong(f'expected a list of parameter keys or a table `own-name = "key"`, got {show(value)}')


def _axis(value: Any, _: Any) -> tuple[Any, ...]:
    if not isinstance(value, list) or not value:
        raise Wrong(f"expected a list of one or more values, got {show(value)}")
    for item in value:
        if not isinstance(item, str | int | float | bool):
            raise Wrong(f"expected texts, numbers, true or false, got {show(item)}")
        if isinstance(item, str) and (not item or any(char in "[]=,*" or ord(char) < 32 for char in item)):
            raise Wrong(
                f"{show(item)} cannot be part of a step's name: it is empty or holds one of [ ] = , *"
            )
    if len(set(map(str, value))) < len(value):
        raise Wrong(f"a value stands twice in {show(value)}")
    return tuple(value)


def _parsed(parse: Callable[[str], float]) -> Callable[[Any, Any], float]:
    def structure(value: Any, _: Any) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return value
        try:
            return parse(_expect(value, str))
        except Wrong:
            raise
        except ValueError as error:
            raise Wrong(str(error)) from None

    return structure


def _salt(value: Any, _: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Wrong(f"expected a text or a number, got {show(value)}")
    return str(value)


def _resources(value: Any, _: Any) -> Resources:
    amounts = dict(_expect(value, dict))
    known = {
        "cpus": _expect(amounts.pop("cpus", 1), float),
        "memory": int(_parsed(parse_size)(amounts.pop("memory", 0), None)),
        "gpus": _expect(amounts.pop("gpus", 0), int),
    }
    for name, amount in amounts.items():
        near = nearest(name, known)
        if near or isinstance(amount, bool) or not isinstance(amount, int | float):
            raise Wrong(f"{name}: expected a number of the named resource, got {show(amount)}", near)
    if any(amount < 0 for amount in [*known.values(), *amounts.values()]):
        raise Wrong(f"amounts cannot be negative: {show(value)}")
    return Resources(named={name: float(amount) for name, amount in amounts.items()}, **known)


def _maybe_size(value: Any, _: Any) -> int:
    return int(_parsed(parse_size)(value, None))


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, lambda value, to: _expect(value, to))
    exact: dict[Any, Callable[[Any, Any], Any]] = {
        tables.Paths: _paths,
        tables.Keys: _keys,
        tables.Axis: _axis,
        tables.Duration: _parsed(parse_duration),
        tables.Salt: _salt,
        Resources: _resources,
        float | None: lambda value, _: _expect(value, float),
        tables.Size | None: _maybe_size,
        str | tuple[str, ...]: _words_or_text,
        tuple[str, ...] | None: _words,
        tuple[str, ...]: _words,
    }
    for to, hook in exact.items():
        converter.register_structure_hook_func(lambda candidate, to=to: candidate == to, hook)
    # Any other table of values keeps what TOML gave, so that a wrong shape is told by us and not by Python.
    converter.register_structure_hook_func(
        lambda to: get_origin(to) is dict and get_args(to)[1] is Any, lambda value, _: _expect(value, dict)
    )
    return converter


CONVERTER = _converter()


def _problems(error: BaseException, where: str, also: tuple[str, ...]) -> list[Problem]:
    if isinstance(error, BaseValidationError):
        return [
            problem
            for inner in error.exceptions
            for problem in _problems(inner, _path(inner, where), also if _path(inner, where) == where else ())
        ]
    if isinstance(error, ForbiddenExtraKeysError):
        legal = (*_legal(error.cl), *also)
        return [
            Problem(where, f"unknown key {key!r}", nearest(key, legal)) for key in sorted(error.extra_fields)
        ]
    if isinstance(error, KeyError):
        table, _, missing = where.rpartition(".")
        return [Problem(table, f"key {missing!r} is missing")]
    if isinstance(error, Wrong):
        return [Problem(where, error.what, error.near)]
    if isinstance(error, AttributeError | TypeError | ValueError):
        return [Problem(where, "expected a table")]
    raise error


def _path(error: BaseException, where: str) -> str:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f"{where}.{note.name}" if where else note.name
        if isinstance(note, IterableValidationNote):
            return f"{where}.{note.index}"
    return where


def _legal(of: type) -> list[str]:
    return [each.name for each in fields(of)] if is_dataclass(of) else []


def keys_of(table: type) -> Mapping[str, str]:
    """The keys of a table with their lines in the reference."""
    return {each.name: each.metadata.get("doc", "") for each in fields(table)}
