"""Runs side by side on the command line: which ones, as a table, as CSV, as JSON, drawn."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import click

from mlmake.cli.chart import chart
from mlmake.cli.figure import Curves, check_format, draw
from mlmake.cli.words import print_csv, print_json, print_table, run_number, shown, when
from mlmake.config.problems import in_a_line
from mlmake.errors import UsageError
from mlmake.model.run import Run
from mlmake.services.comparison import Comparison, is_measurable
from mlmake.state.runs import Runs

_RANGE = re.compile(r"(?P<first>-?\d+|latest)?\.\.(?P<last>-?\d+|latest)?")


def numbers_of(runs: Runs, words: str) -> list[int]:
    """The runs that `3..9`, `-5..`, `3,5,8` or `all` stand for, each once. Raises UsageError."""
    newest = next(iter(runs.last(1)), None)
    if newest is None:
        raise UsageError("no runs yet", hint="`mlmake` builds, and remembers")
    found: dict[int, None] = {}
    for word in words.split(","):
        span = _RANGE.fullmatch(".." if word == "all" else word.strip())
        first = run_number((span["first"] or "1") if span else word.strip(), newest.number)
        last = run_number(span["last"] or "latest", newest.number) if span else first
        known = [number for number in range(max(first, 1), min(last, newest.number) + 1) if runs.get(number)]
        if not known:
            raise UsageError(f"there is no run in {word!r}", hint=f"the newest is {newest.number}")
        found.update(dict.fromkeys(known))
    return list(found)


def print_comparison(comparison: Comparison[Run], json_: bool, csv_: bool) -> None:
    """A line for each run."""
    columns = (*comparison.params, *comparison.metrics)
    if json_:
        print_json(list(_as_json(comparison)))
    elif csv_:
        rows = [[row.subject.number, when(row.subject.started), *map(row.value, columns)] for row in comparison.rows]
        print_csv([["run", "started", *columns], *rows])
    elif not comparison.metrics:
        click.echo("no metrics in these runs")
    else:
        cells = [[_cell(row.value(column)) for column in columns] for row in comparison.rows]
        lines = [[str(row.subject.number), *line] for row, line in zip(comparison.rows, cells, strict=True)]
        print_table([["run", *columns], *lines], right=range(len(columns) + 1))


def plot(comparison: Comparison[Run], path: str | None, folder: str) -> None:
    """Draw every metric over the runs; a series over its own places, a curve for each run. Raises UsageError.

    `path` is that of a picture, as seen from `folder`; None draws in the terminal.
    """
    panels = {name: panel for name in comparison.metrics if (panel := _panel(comparison, name))[1]}
    if not panels:
        raise UsageError("there are no numbers to draw in these runs")
    if path is not None:
        check_format(path)
        draw(panels, os.path.join(folder, path))
        click.echo(f"wrote {path}")
        return
    for title, (name, curves) in panels.items():
        for label, points in curves.items():
            click.echo(click.style(in_a_line(f"{title}, {label}" if label else title), bold=True))
            click.echo("\n".join([*chart(points, name), ""]))


def _panel(comparison: Comparison[Run], name: str) -> tuple[str, Curves]:
    rows = sorted(comparison.rows, key=lambda row: row.subject.number)
    values = {row.subject.number: row.metrics.get(name) for row in rows}
    series = {
        f"run {run}": [(float(place), float(each)) for place, each in enumerate(value) if is_measurable(each)]
        for run, value in values.items()
        if isinstance(value, list)
    }
    if any(series.values()):
        return "value", {label: points for label, points in series.items() if points}
    points = [(float(run), float(value)) for run, value in values.items() if is_measurable(value)]
    return "run", {"": points} if points else {}


def _as_json(comparison: Comparison[Run]) -> Iterator[dict[str, object]]:
    for row in comparison.rows:
        yield {
            "run": row.subject.number,
            "started": row.subject.started,
            "outcome": row.subject.outcome.value,
            "params": {name: row.params.get(name) for name in comparison.params},
            "metrics": {name: row.metrics.get(name) for name in comparison.metrics},
        }


def _cell(value: object) -> str:
    return "-" if value is None else shown(value)
