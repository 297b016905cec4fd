"""`mlmake build`, or just `mlmake`."""

from __future__ import annotations

import sys

import click

from mlmake.cli.place import Place
from mlmake.cli.words import jobs, on, params, quiet_or_verbose, targets


@click.command("build")
@targets
@params
@jobs
@click.option("-k", "--keep-going", is_flag=True, help="After a failure go on with what does not depend on it.")
@click.option("-n", "--dry-run", is_flag=True, help="Tell what would run and why; run nothing.")
@click.option("-f", "--force", is_flag=True, help="Run the named steps even if they are fresh.")
@on
@quiet_or_verbose
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    overrides: tuple[str, ...],
    jobs: int | None,
    keep_going: bool,
    dry_run: bool,
    force: bool,
    on: str,
    quiet: bool,
    verbose: bool,
) -> int:
    """Build what changed. The word `build` may be left out.

    \b
    mlmake                        the project's default
    mlmake train -j 4             a pipeline, on four CPUs
    mlmake 'fit[fold=0]'          one step and what comes before it
    mlmake build/report.html      what makes this file
    mlmake -p model.depth=9       with another parameter, this time
    mlmake fit --on gpubox        on another compute target, this time
    """
    from mlmake.cli.console import Console
    from mlmake.engine.run import Request, build
    from mlmake.engine.scope import open_scope

    place: Place = ctx.obj
    scope = open_scope(place.root, targets, place.folder, overrides, narrow=not force)
    request = Request(
        targets=targets,
        jobs=jobs,
        keep_going=keep_going,
        dry_run=dry_run,
        force=force,
        command=" ".join(["mlmake", *sys.argv[1:]]),
        folder=place.folder,
        on=on,
    )
    with Console(scope.project, place, quiet=quiet, verbose=verbose, color=ctx.color) as console:
        summary = build(scope.project, request, console, scope)
    return summary.exit_code
