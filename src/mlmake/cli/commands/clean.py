"""`mlmake clean`."""

from __future__ import annotations

import os

import click

from mlmake.cli.place import Place
from mlmake.cli.words import targets
from mlmake.config.problems import in_a_line
from mlmake.errors import UsageError


@click.command("clean")
@targets
@click.option("--all", "everything", is_flag=True, help="The outputs of every step.")
@click.option("-n", "--dry-run", is_flag=True, help="Tell what would be removed; remove nothing.")
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], everything: bool, dry_run: bool) -> None:
    """Remove the outputs of the named steps. What no step declares as an output is never removed.

    \b
    mlmake clean fit -n           what would go
    mlmake clean train            the outputs of a pipeline
    mlmake clean --all
    """
    from mlmake.engine.ledger import Ledger
    from mlmake.engine.staging import remove
    from mlmake.plan.selection import named
    from mlmake.state.lock import held

    if not targets and not everything:
        raise UsageError("clean what? Name steps, pipelines or outputs, or say --all")
    place: Place = ctx.obj
    project = place.project()
    steps = list(project.steps.values()) if everything else named(project, targets, place.folder)
    paths = [output.location.path for step in steps for output in step.outputs if not output.location.is_remote]
    there = [path for path in paths if os.path.lexists(path)]
    with place.state() as connection:
        away = {each.path: each.target for each in Ledger(project, connection, whole=False).away(paths)}
        for path in [*there, *away]:
            where = f", which is on {away[path]}" if path in away else ""
            click.echo(
                f"{'would remove' if dry_run else 'removing'} {in_a_line(os.path.relpath(path, place.folder))}{where}"
            )
        if not dry_run and (there or away):
            with held(place.home, lambda who: click.echo(f"waiting for a build of this project: {who}")):
                for path in there:
                    remove(path)
                Ledger(project, connection, whole=False).came(away)
    click.echo(f"{len(there) + len(away)} {'would be removed' if dry_run else 'removed'}")
