"""`mlmake status`."""

from __future__ import annotations

import click

from mlmake.cli.listing import counts, print_verdicts
from mlmake.cli.place import Place
from mlmake.cli.words import as_json, params, print_json, targets
from mlmake.model.project import Project
from mlmake.model.reason import State, Verdict
from mlmake.model.step import Step


@click.command("status")
@targets
@params
@as_json
@click.option("--check", is_flag=True, help="Exit with 3 if anything would run.")
@click.option("--expand", is_flag=True, help="List every combination of a matrix.")
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    overrides: tuple[str, ...],
    json_: bool,
    check: bool,
    expand: bool,
) -> int:
    """List steps as fresh, stale, maybe, restorable or blocked, with the first reason.

    \b
    mlmake status                 everything that `mlmake` would build
    mlmake status train --json    for programs
    mlmake status --check         for scripts: exits with 3 if something is stale
    """
    from mlmake.engine.look import judge
    from mlmake.engine.scope import open_scope

    place: Place = ctx.obj
    scope = open_scope(place.root, targets, place.folder, overrides)
    with place.state() as connection:
        verdicts = judge(scope, connection)
    project, steps = scope.everything()
    if json_:
        print_json([_as_json(project, step, verdicts[step.id]) for step in steps])
    else:
        print_verdicts(project, steps, verdicts, expand=expand, first_only=True)
        click.echo(counts(verdicts))
    is_fresh = all(verdict.state is State.FRESH for verdict in verdicts.values())
    return 3 if check and not is_fresh else 0


def _as_json(project: Project, step: Step, verdict: Verdict) -> dict[str, object]:
    return {
        "step": step.id,
        "name": project.shown(step.id),
        "state": verdict.state.value,
        "reasons": [reason.as_json() for reason in verdict.reasons],
        "outputs": [output.location.text for output in step.outputs],
    }
