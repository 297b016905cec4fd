"""`mlmake runs`."""

from __future__ import annotations

from dataclasses import asdict

import click

from mlmake.cli.place import Place
from mlmake.cli.words import as_json, duration, print_json, print_table, state_word, when
from mlmake.errors import UsageError, nearest
from mlmake.model.submission import Submission


@click.command("runs")
@click.option("-n", "--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list.")
@click.option("--experiment", metavar="NAME", help="List what was submitted to an experiment in Python instead.")
@as_json
@click.pass_context
def command(ctx: click.Context, last: int, experiment: str | None, json_: bool) -> None:
    """List the builds in which something ran, newest first.

    \b
    mlmake runs
    mlmake runs -n 100 --json
    mlmake runs --experiment baseline
    """
    if experiment is not None:
        _print_submitted(ctx.obj, experiment, last, json_)
        return
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


def _print_submitted(place: Place, experiment: str, last: int, json_: bool) -> None:
    from mlmake.state.submissions import Submissions

    with place.state() as connection:
        submissions = Submissions(connection)
        found, known = submissions.all(experiment)[:last], submissions.experiments()
    if not found:
        near = nearest(experiment, known)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}"
        raise UsageError(f"nothing was submitted to an experiment {experiment!r}", hint=hint)
    if json_:
        print_json([_as_json(each) for each in found])
        return
    rows = [["id", "submitted", "took", "status", "run", "tags"]]
    for each in found:
        took = duration(each.started, each.ended) if each.started else ""
        tags = ", ".join(key if value is None else f"{key}={value}" for key, value in each.tags.items())
        run = "" if each.run is None else str(each.run)
        rows.append([each.id, when(each.created), took, each.status.value, run, tags])
    print_table(rows, right=(2, 4))


def _as_json(each: Submission) -> dict[str, object]:
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
        "params": dict(each.asked.params),
    }
