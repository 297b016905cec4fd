"""`mlmake runs`."""

from __future__ import annotations

from dataclasses import asdict

import click

from mlmake.cli.place import Place
from mlmake.cli.submitted import print_submitted
from mlmake.cli.words import as_json, duration, print_json, print_table, state_word, when
from mlmake.errors import UsageError


@click.command("runs")
@click.option("-n", "--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list.")
@click.option("--experiment", metavar="NAME", help="Compare what was submitted to an experiment in Python.")
@click.option("--sort", metavar="[-]NAME", help="By a metric or parameter; with a - the largest first.")
@click.option("--csv", is_flag=True, help="As CSV, with every parameter and metric.")
@as_json
@click.pass_context
def command(ctx: click.Context, last: int, experiment: str | None, sort: str | None, csv: bool, json_: bool) -> None:
    """List the builds in which something ran, newest first.

    \b
    mlmake runs
    mlmake runs -n 100 --json
    mlmake runs --experiment baseline --sort -accuracy
    """
    if experiment is not None:
        print_submitted(ctx.obj, experiment, last, json_=json_, csv=csv, sort=sort)
        return
    if sort or csv:
        raise UsageError("--sort and --csv compare the runs of an experiment", hint="name it with --experiment")
    from mlmake.state.runs import Runs

    place: Place = ctx.obj
    with place.state() as connection:
        runs = Runs(connection).last(last)
    if json_:
        print_json([{**asdict(run), "outcome": run.outcome.value} for run in runs])
        return
    if not runs:
        click.echo("no runs yet")
        return
    rows = [["run", "started", "took", "outcome", "ran", "fresh", "restored", "failed", "command"]]
    for run in runs:
        took = duration(run.started, run.ended)
        counts = [str(run.ran), str(run.fresh), str(run.restored), str(run.failed)]
        rows.append([str(run.number), when(run.started), took, state_word(run.outcome), *counts, run.command])
    print_table(rows, right=(0, 2, 4, 5, 6, 7))
