"""Runs side by side: the parameters in which they differ, and the metrics that stood when each had ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from mlmake.config.params import leaves
from mlmake.errors import UsageError, nearest
from mlmake.model.data import Value
from mlmake.model.run import Run, StepRun
from mlmake.state.runs import Runs

_PARAM = "param "
_PICK = "pick "


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What is known of one run; values go by the names of columns."""

    run: Run
    params: Mapping[str, Value]
    metrics: Mapping[str, Value]

    def value(self, column: str) -> Value:
        """None where the run has none."""
        return self.metrics.get(column, self.params.get(column))


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Rows, and the columns that are worth showing: of parameters only those that differ."""

    rows: tuple[Row, ...]
    params: tuple[str, ...]
    metrics: tuple[str, ...]

    def column(self, word: str) -> str:
        """The column that a word names: `run`, all of its name, or the end of it after a dot or blank.

        Raises UsageError.
        """
        columns = ("run", *self.params, *self.metrics)
        found = [word] if word in columns else [each for each in columns if each.endswith((f" {word}", f".{word}"))]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{word!r} may be {' or '.join(map(repr, found[:5]))}: write all of it")
        ends = [each.rpartition(mark)[2] for mark in (" ", ".") for each in columns]
        near = nearest(word, [*columns, *ends])
        hint = f"did you mean {near!r}?" if near else f"columns: {', '.join(columns)}"
        raise UsageError(f"there is no column {word!r}", hint=hint)

    def by(self, word: str, *, largest_first: bool) -> Comparison:
        """Sorted by a column; rows without a value come last. Raises UsageError."""
        column = self.column(word)

        def value(row: Row) -> Value:
            return row.run.number if column == "run" else last(row.value(column))

        known = [row for row in self.rows if value(row) is not None]
        unknown = [row for row in self.rows if value(row) is None]
        known.sort(key=lambda row: _rank(value(row)), reverse=largest_first)
        return Comparison(rows=(*known, *unknown), params=self.params, metrics=self.metrics)


def compare(
    runs: Runs, numbers: Iterable[int], steps: Collection[str] | None, shown: Callable[[str], str]
) -> Comparison:
    """Runs by their numbers; of `steps`, ids, or of all. `shown` words the id of a step."""
    found = [(run, _of(runs, number, steps)) for number in numbers if (run := runs.get(number))]
    measured = dict.fromkeys(each.step for _, good in found for each in good if _is_measured(each))
    is_one = len(measured) == 1

    def prefix(step: str) -> str:
        return "" if is_one else f"{shown(step)} "

    rows = tuple(
        Row(
            run=run,
            params=dict(pair for each in good for pair in _params(each)),
            metrics={
                f"{prefix(each.step)}{name}": value
                for each in good
                if _is_measured(each)
                for name, value in leaves(each.metrics)
            },
        )
        for run, good in found
    )
    params = dict.fromkeys(name for row in rows for name in row.params)
    return Comparison(
        rows=rows,
        params=tuple(name for name in params if len({repr(row.params.get(name)) for row in rows}) > 1),
        metrics=tuple(dict.fromkeys(name for row in rows for name in row.metrics)),
    )


def last(value: Value) -> Value:
    """Of a series, which a step has logged one by one, the last value."""
    return value[-1] if isinstance(value, list) and value else value


def is_number(value: Value) -> TypeGuard[int | float]:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _of(runs: Runs, number: int, steps: Collection[str] | None) -> list[StepRun]:
    return [each for each in runs.good_until(number).values() if steps is None or each.step in steps]


def _is_measured(step: StepRun) -> bool:
    return bool(step.metrics) and not _is_pick(step)


def _is_pick(step: StepRun) -> bool:
    return step.facts.get("kind", "").startswith(_PICK)


def _params(step: StepRun) -> Iterator[tuple[str, Value]]:
    """Parameters that are facts of a step, and those that were picked out of a file."""
    for name, fact in step.facts.items():
        if name.startswith(_PARAM):
            yield name.removeprefix(_PARAM), json.loads(fact)
    if _is_pick(step):
        yield from leaves({name: inner for values in step.metrics.values() for name, inner in values.items()})


def _rank(value: Value) -> tuple[bool, float, str]:
    """Numbers in their order, then texts in theirs."""
    return (False, float(value), "") if is_number(value) else (True, 0.0, str(value))
