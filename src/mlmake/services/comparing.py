"""What was submitted, side by side: parameters and metrics by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlmake import inside
from mlmake.config.params import leaves
from mlmake.errors import UsageError, nearest
from mlmake.home import Home
from mlmake.model.data import Scalar, Value
from mlmake.model.submission import Submission
from mlmake.services.submitted.place import Place
from mlmake.state.runs import Runs
from mlmake.state.submissions import Submissions


@dataclass(frozen=True, slots=True)
class Compared:
    """One submission with what it was given and what came out.

    Attributes:
        metrics: by name, with the step's before it where several steps have one of that name; of a list, the last.
    """

    submission: Submission
    params: Mapping[str, Scalar]
    metrics: Mapping[str, Scalar]

    def value(self, column: str) -> Scalar | None:
        """A metric or, where there is none of that name, a parameter."""
        return self.metrics.get(column, self.params.get(column))


def compared(home: Home, found: Iterable[Submission], submissions: Submissions, runs: Runs) -> list[Compared]:
    """Submissions with their parameters and metrics, their own and those of their steps. Raises StateError."""
    every = [(each, {**_metrics(each, submissions, runs), **_own(home, each)}) for each in found]
    of_steps = {key for _, metrics in every for key in metrics}
    count = Counter(name for _, name in of_steps)
    return [
        Compared(
            each,
            dict(_scalars(each.asked.params)),
            {name if count[name] == 1 else f"{step}.{name}": value for (step, name), value in metrics.items()},
        )
        for each, metrics in every
    ]


def columns(rows: Sequence[Compared]) -> tuple[list[str], list[str]]:
    """The parameters that are not the same in all rows, and the metrics."""
    params = dict.fromkeys(name for row in rows for name in row.params)
    differing = [name for name in params if len({row.params.get(name) for row in rows}) > 1]
    return differing, [*dict.fromkeys(name for row in rows for name in row.metrics)]


def in_order(rows: Sequence[Compared], by: str) -> list[Compared]:
    """Rows by a column, smallest first, or largest with a `-` before its name; those without it last.

    Raises UsageError for a column that no row has.
    """
    name = by.removeprefix("-")
    there = [row for row in rows if row.value(name) is not None]
    if not there:
        known = dict.fromkeys(each for row in rows for each in [*row.metrics, *row.params])
        near = nearest(name, known)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}"
        raise UsageError(f"no run has a metric or parameter {name!r}", hint=hint)
    ordered = sorted(there, key=lambda row: _rank(row.value(name)), reverse=by.startswith("-"))
    return [*ordered, *(row for row in rows if row.value(name) is None)]


def _rank(value: Scalar | None) -> tuple[bool, float, str]:
    """Numbers before texts."""
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if isinstance(value, int | float) else 0.0, str(value)


def _metrics(submission: Submission, submissions: Submissions, runs: Runs) -> dict[tuple[str, str], Scalar]:
    found: dict[tuple[str, str], Scalar] = {}
    for step in submissions.steps(submission.id):
        name = step.step.partition(".")[2]
        past = runs.of(step.run, step.step) if step.run is not None else None
        found.update(((name, metric), value) for metric, value in _scalars(past.metrics if past else {}))
    return found


def _own(home: Home, submission: Submission) -> dict[tuple[str, str], Scalar]:
    logged = inside.metrics(inside.entries(Place(home, submission.id).kept))
    return {("run", metric): value for metric, value in _scalars(logged)}


def _scalars(values: Mapping[str, Value]) -> Iterable[tuple[str, Scalar]]:
    """Single values by dotted names; of a list of them, the last."""
    for name, value in leaves(values, ""):
        last = value[-1] if isinstance(value, list) and value else value
        if isinstance(last, str | int | float | bool):
            yield name, last
