"""The runs of an experiment, side by side: for `mlmake runs --experiment`."""

from __future__ import annotations

import csv as csv_files
import io

import click

from mlmake.cli.place import Place
from mlmake.cli.words import duration, print_json, print_table, when
from mlmake.errors import UsageError, nearest
from mlmake.model.data import Scalar
from mlmake.services.comparing import Compared, columns, compared, in_order
from mlmake.state.runs import Runs
from mlmake.state.submissions import Submissions

_HEAD = ["id", "submitted", "took", "status", "run", "tags"]


def print_submitted(place: Place, experiment: str, last: int, *, json_: bool, csv: bool, sort: str | None) -> None:
    """Print the newest runs of an experiment. Raises UsageError for one that has none."""
    with place.state() as connection:
        submissions = Submissions(connection)
        found, known = submissions.all(experiment)[:last], submissions.experiments()
        rows = compared(place.home, found, submissions, Runs(connection))
    if not rows:
        near = nearest(experiment, known)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}"
        raise UsageError(f"nothing was submitted to an experiment {experiment!r}", hint=hint)
    rows = in_order(rows, sort) if sort else rows
    if json_:
        print_json([_as_json(row) for row in rows])
    elif csv:
        click.echo(_as_csv(rows), nl=False)
    else:
        params, metrics = columns(rows)
        print_table([[*_HEAD, *params, *metrics], *(_line(row, params, metrics) for row in rows)], right=(2, 4))


def _head(row: Compared) -> list[str]:
    each = row.submission
    took = duration(each.started, each.ended) if each.started else ""
    tags = ", ".join(key if value is None else f"{key}={value}" for key, value in each.tags.items())
    return [each.id, when(each.created), took, each.status.value, "" if each.run is None else str(each.run), tags]


def _line(row: Compared, params: list[str], metrics: list[str]) -> list[str]:
    values = [*map(row.params.get, params), *map(row.metrics.get, metrics)]
    return [*_head(row), *map(_shown, values)]


def _shown(value: Scalar | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _as_csv(rows: list[Compared]) -> str:
    params = [*dict.fromkeys(name for row in rows for name in row.params)]
    _, metrics = columns(rows)
    text = io.StringIO()
    writer = csv_files.writer(text, lineterminator="\n")
    writer.writerow([*_HEAD, *params, *metrics])
    for row in rows:
        writer.writerow([*_head(row), *map(row.params.get, params), *map(row.metrics.get, metrics)])
    return text.getvalue()


def _as_json(row: Compared) -> dict[str, object]:
    each = row.submission
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
