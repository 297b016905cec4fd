"""The runs of an experiment, side by side: for `mlmake runs --experiment`."""

from __future__ import annotations

from mlmake.cli.place import Place
from mlmake.cli.words import duration, print_csv, print_json, print_table, shown, when
from mlmake.errors import UsageError, nearest
from mlmake.model.data import Value
from mlmake.model.submission import Submission
from mlmake.services.comparison import Comparison, Row
from mlmake.services.experiments import compare_submitted
from mlmake.state.runs import Runs
from mlmake.state.submissions import Submissions

_HEAD = ["id", "submitted", "took", "status", "run", "tags"]


def print_submitted(place: Place, experiment: str, last: int, *, json_: bool, csv: bool, sort: str | None) -> None:
    """Print the newest runs of an experiment. Raises UsageError for one that has none."""
    with place.state() as connection:
        submissions = Submissions(connection)
        found, known = submissions.all(experiment)[:last], submissions.experiments()
        comparison = compare_submitted(place.home, found, submissions, Runs(connection))
    if not found:
        near = nearest(experiment, known)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}"
        raise UsageError(f"nothing was submitted to an experiment {experiment!r}", hint=hint)
    comparison = comparison.by(sort) if sort else comparison
    if json_:
        print_json([_as_json(row) for row in comparison.rows])
    elif csv:
        print_csv(_lines(comparison, comparison.every_param))
    else:
        lines = _lines(comparison, comparison.params)
        print_table([[_cell(value) for value in line] for line in lines], right=(2, 4))


def _lines(comparison: Comparison[Submission], params: tuple[str, ...]) -> list[list[Value]]:
    """A line for each run below the names of the columns."""
    lines = [
        [*_head(row), *map(row.params.get, params), *map(row.metrics.get, comparison.metrics)]
        for row in comparison.rows
    ]
    return [[*_HEAD, *params, *comparison.metrics], *lines]


def _head(row: Row[Submission]) -> list[str]:
    each = row.subject
    took = duration(each.started, each.ended) if each.started else ""
    tags = ", ".join(key if value is None else f"{key}={value}" for key, value in each.tags.items())
    return [each.id, when(each.created), took, each.status.value, "" if each.run is None else str(each.run), tags]


def _cell(value: Value) -> str:
    return "" if value is None else shown(value)


def _as_json(row: Row[Submission]) -> dict[str, object]:
    each = row.subject
    return {
        "id": each.id,
        "experiment": each.experiment,
        "pipeline": each.asked.pipeline,
        "status": each.status.value,
        "run": each.run,
        "created": each.created,
        "started": each.started,
        "ended": each.ended,
        "message": each.message,
        "tags": dict(each.tags),
        "params": dict(row.params),
        "metrics": dict(row.metrics),
    }
