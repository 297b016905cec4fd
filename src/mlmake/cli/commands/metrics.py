"""`mlmake metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

from mlmake.cli.commands.show import find
from mlmake.cli.place import Place
from mlmake.cli.words import as_json, print_json, print_table, targets
from mlmake.model.data import Value
from mlmake.model.project import Project
from mlmake.model.run import StepRun


@click.command("metrics")
@targets
@click.option("--run", "run", metavar="RUN", help="As they stood after that run.")
@as_json
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], run: str | None, json_: bool) -> None:
    """List the numbers that steps declared as metrics, as of each step's last good run.

    \b
    mlmake metrics
    mlmake metrics fit --run 12 --json
    """
    from mlmake.plan.selection import named
    from mlmake.state.runs import Runs

    place: Place = ctx.obj
    project = place.project()
    steps = named(project, targets, place.folder) if targets else list(project.steps.values())
    with place.state() as connection:
        runs = Runs(connection)
        good = runs.good_until(find(runs, run or "latest")[0].number) if run or runs.last(1) else {}
    found = [good[step.id] for step in steps if step.id in good and good[step.id].metrics]
    if json_:
        print_json({each.step: dict(each.metrics) for each in found})
    elif found:
        print_table([["step", "metric", "value", "run"], *_rows(project, found)])
    else:
        click.echo("no metrics yet: declare a JSON output under a step's `metrics`")


def flat(value: Value, prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Nested metrics by dotted names."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat(inner, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def shown(value: Value) -> str:
    """A number in at most six digits; anything else as it is."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rows(project: Project, found: list[StepRun]) -> Iterator[list[str]]:
    for each in found:
        for name, value in flat(each.metrics):
            yield [project.shown(each.step), name, shown(value), str(each.run)]
