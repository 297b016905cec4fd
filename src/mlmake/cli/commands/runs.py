"""`mlmake runs`."""

from __future__ import annotations

from dataclasses import asdict

import click

from mlmake.cli.place import Place
from mlmake.cli.words import as_json, duration, print_json, print_table, state_word, when


@click.command("runs")
@click.option("-n", "--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list.")
@as_json
@click.pass_context
def command(ctx: click.Context, last: int, json_: bool) -> None:
    """List the builds in which something ran, newest first.

    \b
    mlmake runs
    mlmake runs -n 100 --json
    """
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
