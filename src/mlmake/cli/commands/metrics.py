"""`mlmake metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from mlmake.cli.commands.show import find
from mlmake.cli.comparing import numbers_of, plot, print_comparison
from mlmake.cli.place import Place
from mlmake.cli.words import as_json, print_csv, print_json, print_table, shown, targets
from mlmake.config.params import leaves
from mlmake.errors import UsageError
from mlmake.model.run import StepRun
from mlmake.services.comparison import compare
from mlmake.state.runs import Runs


@click.command("metrics")
@targets
@click.option("--run", "run", metavar="RUN", help="As they stood after that run.")
@click.option("--runs", "runs", metavar="RUNS", help="Compare runs: `3..9`, `-5..`, `3,5,8`, or `all`.")
@click.option("--sort", metavar="COLUMN", help="With runs: the smallest first; the largest, with a - in front.")
@click.option("--csv", "csv_", is_flag=True, help="Print CSV.")
@click.option("--plot", "plot_", is_flag=True, help="Draw them over runs, by default all.")
@click.option("-o", "--output", metavar="FILE", help="Draw them into a .png, .svg or .pdf; needs the extra `plot`.")
@as_json
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    run: str | None,
    runs: str | None,
    sort: str | None,
    csv_: bool,
    plot_: bool,
    output: str | None,
    json_: bool,
) -> None:
    """List the numbers that steps declared as metrics, as of each step's last good run; or compare runs by them.

    A comparison has a line for each run, with what stood when it ended, and of parameters those that differ.

    \b
    mlmake metrics
    mlmake metrics fit --run 12 --json
    mlmake metrics --runs 3..9 --sort -accuracy
    mlmake metrics --runs all --csv > runs.csv
    mlmake metrics fit --plot
    mlmake metrics --runs -20.. -o metrics.svg
    """
    from mlmake.plan.selection import named

    if run and (runs or sort or plot_ or output):
        raise UsageError("--run is for one run; --runs compares several")
    place: Place = ctx.obj
    project = place.project()
    steps = [each.id for each in named(project, targets, place.folder)] if targets else list(project.steps)
    with place.state() as connection:
        known = Runs(connection)
        if not (runs or sort or plot_ or output):
            _print_list(_good(known, run, steps), project.shown, json_, csv_)
            return
        comparison = compare(known, numbers_of(known, runs or "all"), steps, project.shown)
    if sort:
        comparison = comparison.by(sort)
    if plot_ or output:
        plot(comparison, output, place.folder)
    else:
        print_comparison(comparison, json_, csv_)


def _good(runs: Runs, run: str | None, steps: Iterable[str]) -> list[StepRun]:
    """The steps with metrics, as they stood after a run; by default after the newest."""
    good = runs.good_until(find(runs, run or "latest")[0].number) if run or runs.last(1) else {}
    return [good[step] for step in steps if step in good and good[step].metrics]


def _print_list(found: list[StepRun], step_words: Callable[[str], str], json_: bool, csv_: bool) -> None:
    rows = [(step_words(each.step), name, value, each.run) for each in found for name, value in leaves(each.metrics)]
    if json_:
        print_json({each.step: dict(each.metrics) for each in found})
    elif csv_:
        print_csv([("step", "metric", "value", "run"), *rows])
    elif found:
        lines = [[step, name, shown(value), str(number)] for step, name, value, number in rows]
        print_table([["step", "metric", "value", "run"], *lines])
    else:
        click.echo("no metrics yet: declare a JSON output under a step's `metrics`")
