"""`foreach` and `matrix`: a stage as one step with a matrix where that can say it, else as a step for each item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from mlmake.errors import UsageError
from mlmake.model.data import Value
from mlmake.services.importing.draft import as_name
from mlmake.services.importing.dvc.templates import Axis, Context, is_plain, word
from mlmake.services.importing.shapes import table


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One step that a stage becomes: `name` is DVC's, `matrix` that of mlmake."""

    name: str
    body: Mapping[str, Value]
    context: Context
    matrix: Mapping[str, list[Value]] = field(default_factory=dict)


def variants(name: str, stage: Mapping[str, Value], context: Context) -> Iterator[Variant]:
    """The steps of a stage. Raises UsageError."""
    if "foreach" in stage:
        yield from _of_items(name, table(stage.get("do"), "do"), _items(stage["foreach"], context), context)
    elif "matrix" in stage:
        body = {key: each for key, each in stage.items() if key != "matrix"}
        yield from _of_matrix(name, body, _axes(stage["matrix"], context), context)
    else:
        yield Variant(name=name, body=stage, context=context)


def _items(said: Value, context: Context) -> Value:
    items = context.resolved(said)
    if not isinstance(items, list | Mapping):
        raise UsageError(f"foreach: expected a list or a table, got {said!r}")
    return items


def _axes(said: Value, context: Context) -> dict[str, list[Value]]:
    axes = context.resolved(said)
    if not isinstance(axes, Mapping) or not all(isinstance(each, list) and each for each in axes.values()):
        raise UsageError("matrix: expected a table of lists")
    return dict(axes)


def _of_items(name: str, body: Mapping[str, Value], items: Value, context: Context) -> Iterator[Variant]:
    if isinstance(items, list) and _is_axis(items):
        axes = {"item": Axis(placeholder="{matrix.item}", value=items[0])}
        yield Variant(name=name, body=body, context=context.with_axes(axes), matrix={"item": items})
        return
    pairs = items.items() if isinstance(items, Mapping) else ((number, each) for number, each in enumerate(items))
    for key, item in pairs:
        is_told = isinstance(items, Mapping) or isinstance(item, list | Mapping)
        suffix = key if is_told else word(item, "item")
        fixed = {"item": item, **({"key": key} if isinstance(items, Mapping) else {})}
        yield Variant(name=f"{name}@{suffix}", body=body, context=context.with_fixed(fixed))


def _of_matrix(
    name: str, body: Mapping[str, Value], axes: Mapping[str, list[Value]], context: Context
) -> Iterator[Variant]:
    if all(_is_axis(values) and as_name(axis) == axis for axis, values in axes.items()):
        placed = {f"item.{axis}": Axis(placeholder=f"{{matrix.{axis}}}", value=axes[axis][0]) for axis in axes}
        whole = Axis(
            placeholder="-".join(f"{{matrix.{axis}}}" for axis in axes),
            value="-".join(word(values[0], axis) for axis, values in axes.items()),
        )
        yield Variant(name=name, body=body, context=context.with_axes({**placed, "key": whole}), matrix=axes)
        return
    for combination in product(*(enumerate(values) for values in axes.values())):
        item = {axis: value for axis, (_, value) in zip(axes, combination, strict=True)}
        key = "-".join(_part(axis, *each) for axis, each in zip(axes, combination, strict=True))
        yield Variant(name=f"{name}@{key}", body=body, context=context.with_fixed({"item": item, "key": key}))


def _part(axis: str, number: int, value: Value) -> str:
    return f"{axis}{number}" if isinstance(value, list | Mapping) else word(value, axis)


def _is_axis(values: list[Value]) -> bool:
    """Whether a matrix can hold these values, and a command line says each as it is."""
    words = [word(each, "item") for each in values if isinstance(each, str | int | float | bool)]
    is_whole = bool(values) and len({*words}) == len(values)
    return is_whole and all(is_plain(each) and not {*each} & {*",="} for each in words)
