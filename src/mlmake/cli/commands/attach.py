"""`mlmake attach`: take up what a mlmake that has died left running on hosts."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click

from mlmake.cli.commands.compute import TargetName
from mlmake.cli.place import Place
from mlmake.cli.words import params, targets
from mlmake.model.project import Project

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlmake.services.attach import Sought

_SHOWN = 8
"""Steps that are named of those left alone for one reason."""


@click.command("attach")
@targets
@params
@click.option("--on", default="", type=TargetName(), metavar="TARGET", help="Look on this compute target only.")
@click.option("-q", "--quiet", is_flag=True, help="Print failures only: no logs.")
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], overrides: tuple[str, ...], on: str, quiet: bool) -> int:
    """Find the jobs that a mlmake which was killed left on hosts, follow their logs and take their results.

    Nothing new is started, and nothing is ended: a step that has no job there is left alone, and Ctrl-C leaves the
    jobs where they are. (A plain `mlmake` takes them up as well, and runs all else that it has to.) Exits with 1 if a
    job has failed, a host cannot be asked, or a step that is named has no job and is not fresh.

    \b
    mlmake attach                 whatever is there of the project's default
    mlmake attach 'fit[fold=0]'   one step, and what comes before it
    mlmake attach --on gpubox     as after `mlmake --on gpubox`
    """
    from mlmake.cli.console import Console
    from mlmake.cli.following import Following
    from mlmake.engine.run import Request, build
    from mlmake.engine.scope import open_scope
    from mlmake.services.attach import scope_of, seek

    place: Place = ctx.obj
    scope = open_scope(place.root, targets, place.folder, overrides, narrow=False)
    project = scope.project
    with place.state() as connection:
        sought = seek(project, scope.steps, on, connection)
    code = _tell(place, project, targets, sought)
    if not sought.found:
        return code
    request = Request(
        targets=targets,
        keep_going=True,
        command=" ".join(["mlmake", *sys.argv[1:]]),
        folder=place.folder,
        attached=sought.found,
    )
    made = Console(project, place, quiet=quiet, color=ctx.color, is_attached=True)
    with made as console, Following(console, project) as sink:
        summary = build(project, request, sink, scope_of(project, scope.steps, sought))
    if summary.interrupted or summary.failed or summary.cancelled:
        return summary.exit_code
    return code


def _tell(place: Place, project: Project, targets: tuple[str, ...], sought: Sought) -> int:
    """Say what is not taken up; 1 if it was asked for."""
    from mlmake.plan.selection import named

    for target, why in sought.away.items():
        click.secho(f"{target} cannot be asked: {why}", fg="yellow")
    for why, steps in _by_reason(sought.left).items():
        more = f" and {len(steps) - _SHOWN} more" if len(steps) > _SHOWN else ""
        click.echo(f"left alone: {', '.join(map(project.shown, steps[:_SHOWN]))}{more} ({why})")
    if not sought.found:
        click.echo("nothing to attach to")
    asked = {step.id for step in named(project, targets, place.folder)} if targets else set()
    return int(bool(sought.away) or not asked.isdisjoint(sought.left))


def _by_reason(left: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for step, why in left.items():
        found.setdefault(why, []).append(step)
    return found
