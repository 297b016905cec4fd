"""`mlmake logs STEP`."""

from __future__ import annotations

import os
import shlex
import sys
import time

import click

from mlmake.cli.place import Place
from mlmake.cli.words import Target, run_number
from mlmake.errors import UsageError
from mlmake.model.run import Outcome, StepRun

_POLL = 0.1


@click.command("logs")
@click.argument("step", type=Target())
@click.option("-f", "--follow", is_flag=True, help="Go on while the step runs.")
@click.option("--run", "run", metavar="RUN", help="The log of that run instead of the step's last.")
@click.option("--path", "only_path", is_flag=True, help="Print where the log is instead.")
@click.pass_context
def command(ctx: click.Context, step: str, follow: bool, run: str | None, only_path: bool) -> None:
    """Print what a step wrote to stdout and stderr in its last run.

    \b
    mlmake logs fit
    mlmake logs 'fit[fold=0]' -f
    mlmake logs fit --run 12
    """
    from mlmake.plan.selection import named

    place: Place = ctx.obj
    project = place.project()
    steps = [each.id for each in named(project, [step], place.folder)]
    found = [last for each in steps if (last := _find(place, each, run))]
    if not found:
        raise UsageError(f"{step} has no log: it did not run" + (f" in run {run}" if run else " yet"))
    for last in found:
        if only_path:
            click.echo(place.shown(last.log))
            continue
        if len(found) > 1:
            click.echo(click.style(f"==> {project.shown(last.step)} <==", bold=True))
        _print(place, last, follow)


def _find(place: Place, step: str, run: str | None) -> StepRun | None:
    from mlmake.state.runs import Runs

    with place.state() as connection:
        runs = Runs(connection)
        if run is None:
            return runs.last_of(step)
        newest = next(iter(runs.last(1)), None)
        number = run_number(run, newest.number if newest else 0)
        return next((each for each in runs.steps_of(number) if each.step == step), None)


def _print(place: Place, last: StepRun, follow: bool) -> None:
    try:
        with open(os.path.join(place.root, last.log), "rb") as file:
            while True:
                block = file.read(1 << 16)
                if block:
                    sys.stdout.buffer.write(block)
                    sys.stdout.buffer.flush()
                elif not follow or not _is_running(place, last):
                    break
                else:
                    time.sleep(_POLL)
            sys.stdout.buffer.write(file.read())
            sys.stdout.buffer.flush()
    except FileNotFoundError:
        what = f"the log {place.shown(last.log)} is gone"
        raise UsageError(what, hint=f"`mlmake -f {shlex.quote(last.step)}` runs the step again") from None


def _is_running(place: Place, last: StepRun) -> bool:
    now = _find(place, last.step, str(last.run))
    return now is not None and now.outcome is Outcome.RUNNING and now.attempt == last.attempt
