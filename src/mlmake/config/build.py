"""From a parsed table to its dataclass, every problem told with its path and the nearest legal word.

cattrs does the walking; here stand our rules for single values and the wording of what went wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, cast, get_args, get_origin

from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    Converter,
    ForbiddenExtraKeysError,
)

from mlmake.config import tables
from mlmake.config.problems import Wrong, Wrongs, at, below, show
from mlmake.errors import Problem, nearest
from mlmake.model.data import InputMode, Scalar
from mlmake.model.resources import Resources, parse_duration, parse_size
from mlmake.model.template import as_text, one_letter_off

T = TypeVar("T")
_NAMES = {str: "a text", int: "a whole number", bool: "true or false", dict: "a table"}
_SIZE = "a size such as '8GiB' or a number of bytes"
_DURATION = "a duration such as '90s', '2h' or '1h30m', or a number of seconds"
_LONGEST_VALUE = 200
_RESOURCE_SLIPS = {"cpu": "cpus", "cores": "cpus", "gpu": "gpus", "mem": "memory", "ram": "memory"}
_OTHER_TOOLS = {
    "cmd": "command",
    "run": "command",
    "shell": "command",
    "deps": "inputs",
    "outs": "outputs",
    "depends_on": "after",
    "needs": "after",
    "env": "environment",
    "foreach": "matrix",
}
_NOTES = {"args": "a command holds its arguments itself; 'args' go with a 'script'"}


def build(table: object, into: type[T], where: str, also: tuple[str, ...] = ()) -> T | list[Problem]:
    """`table` as the dataclass `into`, or all that is wrong with it; `also` are legal keys beside its own."""
    try:
        return CONVERTER.structure(_table(table), into)
    except Exception as error:
        return list(_problems(error, where, also))


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Wrong(f"expected {_NAMES[kind]}, got {show(value)}")
    if kind is int and abs(cast("int", value)) >= 2**63:
        raise Wrong("expected a whole number, got one too large for TOML")
    return value


def _table(value: object) -> dict[str, Any]:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        raise Wrong("expected a table, got a list of tables; a table's header has single brackets: [name]")
    return cast("dict[str, Any]", _expect(value, dict))


def _number(value: Any, _: object = None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -(2**63) < value < 2**63:
        raise Wrong(f"expected a number, got {show(value)}")
    return float(value)


def _amount(value: Any, _: object = None) -> float:
    if (number := _number(value)) < 0:
        raise Wrong(f"cannot be negative: {number:g}")
    return number


def _count(value: Any, _: object = None) -> int:
    number = cast("int", _expect(value, int))
    if number < 0:
        raise Wrong(f"cannot be negative: {number}")
    return number


def _paths(value: Any, _: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise Wrong(f"expected a path or a list of paths, got {show(value)}")
    return tuple(items)


def _reads(value: Any, _: object) -> tuple[tuple[str, ...], InputMode]:
    if not isinstance(value, dict):
        return _paths(value, None), InputMode.FETCH
    legal = ("path", "mode")
    if "path" not in value:
        raise Wrong(f"expected a path, a list of paths or a table with 'path', got {show(value)}")
    for key in value:
        if key not in legal:
            raise Wrong(f"unknown key {show(key)}", nearest(key[:20], legal))
    mode = value.get("mode", InputMode.FETCH.value)
    modes = [each.value for each in InputMode]
    if mode not in modes:
        raise Wrong(f"mode is 'fetch', 'path' or 'folder', got {show(mode)}", nearest(str(mode)[:20], modes))
    return _paths(value["path"], None), InputMode(mode)


def _words(value: Any, _: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Wrong(f"expected a list of texts, got {show(value)}")
    return tuple(value)


def _words_or_text(value: Any, _: object) -> str | tuple[str, ...]:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, list) and value and value[0] and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise Wrong(f"expected a text or a list of texts, got {show(value)}")


def _keys(value: Any, _: object) -> dict[str, str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {item: item for item in value}
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return dict(value)
    raise Wrong(f'expected a list of parameter keys or a table `own-name = "key"`, got {show(value)}')


def _axis(value: Any, _: object) -> tuple[Scalar, ...]:
    if not isinstance(value, list) or not value:
        raise Wrong(f"expected a list of one or more values, got {show(value)}")
    seen: set[str] = set()
    for item in value:
        if not isinstance(item, str | int | float | bool):
            raise Wrong(f"expected texts, numbers, true or false, got {show(item)}")
        text = as_text(item)
        if problem := _no_part(text):
            raise Wrong(f"{show(item)} cannot be part of a step's name", move=problem)
        if text in seen:
            raise Wrong(f"{show(item)} stands twice: the steps would have one name")
        seen.add(text)
    return tuple(value)


def _no_part(text: str) -> str:
    """Why a matrix value cannot stand in a step's name; "" if it can."""
    if not text or len(text) > _LONGEST_VALUE:
        return f"it is longer than {_LONGEST_VALUE} characters" if text else "it is empty"
    is_plain = text == text.strip() and text.isprintable() and not any(char in "[]=,*" for char in text)
    return "" if is_plain else "no [ ] = , * and no line breaks, no blanks around it"


def _parsed(parse: Callable[[str], float], wanted: str) -> Callable[[Any, object], float]:
    def structure(value: Any, _: object) -> float:
        try:
            return parse(value) if isinstance(value, str) else _amount(value)
        except ValueError:
            raise Wrong(f"expected {wanted}, got {show(value)}") from None

    return structure


_duration = _parsed(parse_duration, _DURATION)
_parsed_size = _parsed(parse_size, _SIZE)


def _size(value: Any, _: object = None) -> int:
    return int(_parsed_size(value, None))


def _salt(value: Any, _: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Wrong(f"expected a text or a number, got {show(value)}")
    return str(value)


def _fetch(value: Any, _: object) -> str:
    legal = ("always", "needed")
    if value not in legal:
        raise Wrong(f"expected 'always' or 'needed', got {show(value)}", nearest(str(value)[:20], legal))
    return cast("str", value)


def _caching(value: Any, _: object) -> bool | dict[str, bool]:
    if isinstance(value, dict):
        return _each(value, lambda _, item: _expect(item, bool))
    if not isinstance(value, bool):
        raise Wrong(f"expected true, false or a table of them by output, got {show(value)}")
    return value


def _word(value: Any, kind: type[Enum]) -> Enum:
    legal = [each.value for each in kind]
    if value not in legal:
        near = nearest(str(value)[:20], legal)
        raise Wrong(f"expected {' or '.join(map(repr, legal))}, got {show(value)}", near)
    return kind(value)


def _resources(value: Any, _: object) -> Resources:
    read: dict[str, Callable[[Any], Any]] = {"cpus": _amount, "memory": _size, "gpus": _count}

    def amount(name: str, said: Any) -> Any:
        near = _RESOURCE_SLIPS.get(name) or next((each for each in read if one_letter_off(name, each)), "")
        if near and name not in read:
            raise Wrong(f"unknown resource {name!r}", near)
        return read[name](said) if name in read else _amount(said)

    amounts = _each(_table(value), amount)
    known = {name: amounts.pop(name) for name in read if name in amounts}
    return Resources(named=amounts, **known)


def _each(table: Mapping[str, Any], read: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Every value of a table as `read` makes it. Raises Wrongs with all that cannot be."""
    made: dict[str, Any] = {}
    wrong: dict[str, Wrong] = {}
    for name, value in table.items():
        try:
            made[name] = read(name, value)
        except Wrong as error:
            wrong[name] = error
    if wrong:
        raise Wrongs(wrong)
    return made


def _items(value: Any, to: Any) -> dict[str, Any]:
    inner = get_args(to)[1]
    if inner is Any:
        return _table(value)
    hook = CONVERTER.get_structure_hook(inner)
    return _each(_table(value), lambda _, item: hook(item, inner))


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _expect)
    converter.register_structure_hook(float, _number)
    exact: dict[Any, Callable[[Any, Any], Any]] = {
        tables.Paths: _paths,
        tables.Reads: _reads,
        tables.Keys: _keys,
        tables.Axis: _axis,
        tables.Duration: _duration,
        tables.Salt: _salt,
        tables.Amount: _amount,
        tables.Count: _count,
        tables.Fetch: _fetch,
        tables.Caching: _caching,
        tables.Size: _size,
        tables.Amount | None: _amount,
        tables.Size | None: _size,
        Resources: _resources,
        str | tuple[str, ...]: _words_or_text,
        tuple[str, ...] | None: _words,
        tuple[str, ...]: _words,
    }
    for to, hook in exact.items():
        converter.register_structure_hook_func(_is(to), hook)
    converter.register_structure_hook_func(lambda to: cast("object", get_origin(to)) is dict, _items)
    converter.register_structure_hook_func(lambda to: isinstance(to, type) and issubclass(to, Enum), _word)
    return converter


def _is(to: object) -> Callable[[object], bool]:
    return lambda candidate: candidate == to


CONVERTER = _converter()


def _problems(error: BaseException, where: str, also: tuple[str, ...]) -> Iterator[Problem]:
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            path = _path(inner, where)
            yield from _problems(inner, path, also if path == where else ())
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields):
            yield unknown_key(key, [*_legal(error.cl), *also], where)
    elif isinstance(error, KeyError):
        table, _, missing = where.rpartition(".")
        yield Problem(table, f"key {missing!r} is missing")
    elif isinstance(error, Wrong):
        yield Problem(where, error.what, error.near)
    elif isinstance(error, Wrongs):
        for name, wrong in error.of.items():
            yield Problem(below(where, name), wrong.what, wrong.near)
    elif isinstance(error, RecursionError):
        raise error
    else:  # from types of other packages' kinds
        yield Problem(where, f"cannot be used here: {error}")


def unknown_key(key: str, legal: list[str], where: str) -> Problem:
    """The problem of a key that a table does not know."""
    if key in _NOTES and key not in legal:
        return Problem(where, f"unknown key {show(key)}: {_NOTES[key]}")
    meant = _OTHER_TOOLS.get(key, "")
    near = nearest(key[:50], legal) or (meant if meant in legal else "")
    known = f"; known: {', '.join(legal)}" if not near and len(legal) <= 12 else ""
    return Problem(where, f"unknown key {show(key)}{known}", near)


def _path(error: BaseException, where: str) -> str:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f"{where}.{at(note.name)}"
    return where


def _legal(of: type) -> list[str]:
    return [each.name for each in fields(of)] if is_dataclass(of) else []


def keys_of(table: type) -> Mapping[str, str]:
    """The keys of a table with their lines in the reference."""
    return {each.name: each.metadata.get("doc", "") for each in fields(table)}
