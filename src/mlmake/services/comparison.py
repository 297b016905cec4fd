"""Runs or submissions side by side: the parameters in which they differ, and the metrics that came out."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeGuard, TypeVar

from mlmake.config.params import leaves
from mlmake.errors import UsageError, nearest
from mlmake.model.data import Value
from mlmake.model.run import Run, StepRun
from mlmake.model.submission import Submission
from mlmake.state.runs import Runs

_PARAM = "param "
_PICK = "pick "
_LARGEST = 1e300
"""Beyond it, the difference of two numbers may be none."""
S = TypeVar("S", bound=Run | Submission)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row(Generic[S]):
    """What is known of one run or submission; values go by the names of columns.

    Attributes:
        run: the number of its build; None where there was none.
    """

    subject: S
    run: int | None
    params: Mapping[str, Value]
    metrics: Mapping[str, Value]

    def value(self, column: str) -> Value:
        """A metric or, where there is none of that name, a parameter; None where there is neither."""
        return self.metrics.get(column, self.params.get(column))


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(Generic[S]):
    """Rows, and the names of columns: of parameters all, and those that differ, which are worth showing."""

    rows: tuple[Row[S], ...]
    every_param: tuple[str, ...]
    params: tuple[str, ...]
    metrics: tuple[str, ...]

    @classmethod
    def of(cls, rows: Iterable[Row[S]]) -> Comparison[S]:
        """Rows in this order."""
        rows = tuple(rows)
        every = tuple(dict.fromkeys(name for row in rows for name in row.params))
        return cls(
            rows=rows,
            every_param=every,
            params=tuple(name for name in every if len({repr(row.params.get(name)) for row in rows}) > 1),
            metrics=tuple(dict.fromkeys(name for row in rows for name in row.metrics)),
        )

    def column(self, word: str) -> str:
        """The column that a word names: `run`, all of its name, or the end of it after a dot or blank.

        Raises UsageError.
        """
        columns = ("run", *self.params, *self.metrics)
        if word in columns or word in self.every_param:
            return word
        found = [each for each in columns if each.endswith((f" {word}", f".{word}"))]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{word!r} may be {' or '.join(map(repr, found[:5]))}: write all of it")
        ends = [each.rpartition(mark)[2] for mark in (" ", ".") for each in columns]
        near = nearest(word, [*columns, *ends])
        hint = f"did you mean {near!r}?" if near else f"columns: {', '.join(columns)}"
        raise UsageError(f"there is no column {word!r}", hint=hint)

    def by(self, word: str) -> Comparison[S]:
        """Sorted by a column, smallest first, or largest with a `-` before its name; rows without a value come last.

        Raises UsageError.
        """
        column = self.column(word.removeprefix("-"))

        def value(row: Row[S]) -> Value:
            return row.run if column == "run" else last(row.value(column))

        known = [row for row in self.rows if _has_place(value(row))]
        unknown = [row for row in self.rows if not _has_place(value(row))]
        known.sort(key=lambda row: _rank(value(row)), reverse=word.startswith("-"))
        return replace(self, rows=(*known, *unknown))


def compare(
    runs: Runs, numbers: Iterable[int], steps: Collection[str] | None, shown: Callable[[str], str]
) -> Comparison[Run]:
    """Runs by their numbers; of `steps`, ids, or of all. `shown` words the id of a step."""
    found = [(run, _of(runs, number, steps)) for number in numbers if (run := runs.get(number))]
    measured = dict.fromkeys(each.step for _, good in found for each in good if _is_measured(each))
    is_one = len(measured) == 1

    def prefix(step: str) -> str:
        return "" if is_one else f"{shown(step)} "

    return Comparison.of(
        Row(
            subject=run,
            run=run.number,
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


def last(value: Value) -> Value:
    """Of a series, which a step has logged one by one, the last value."""
    return value[-1] if isinstance(value, list) and value else value


def is_measurable(value: Value) -> TypeGuard[int | float]:
    """Whether a value is a number that can be drawn and subtracted: true and false are none, and NaN is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


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


def _has_place(value: Value) -> bool:
    """Whether a value stands somewhere in an order; NaN, alone unlike itself, does not."""
    return value is not None and value == value


def _rank(value: Value) -> tuple[bool, float, str]:
    """Numbers in their order, then texts in theirs."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (False, value, "") if is_number else (True, 0.0, str(value))
