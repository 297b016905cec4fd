"""`mlmake restore RUN`."""

from __future__ import annotations

from collections import Counter

import click

from mlmake.cli.commands.show import find
from mlmake.cli.place import Place
from mlmake.cli.words import NUMBERS, Target
from mlmake.model.events import Event, Noticed
from mlmake.model.run import Ending, Returned

_COLORS = {Ending.RESTORED: "blue", Ending.MISSING: "red"}


@click.command("restore", context_settings=NUMBERS)
@click.argument("run", metavar="RUN")
@click.argument("steps", nargs=-1, type=Target(), metavar="[STEP]...")
@click.option("--force", is_flag=True, help="Even if what stands there now is not in the cache, and is lost.")
@click.option("-n", "--dry-run", is_flag=True, help="Tell what would come back; change nothing.")
@click.pass_context
def command(ctx: click.Context, run: str, steps: tuple[str, ...], force: bool, dry_run: bool) -> int:
    """Bring back the outputs as they stood when a run ended. RUN is a number, `latest`, or -1, -2 from the newest.

    They come out of the cache, all or those of the named steps. The file and the scripts stay as they are, so the next
    `mlmake` puts the present results back. Exits with 1 if an output could not be had.

    \b
    mlmake restore 12
    mlmake restore 12 fit         only what fit had written
    mlmake restore 12 -n          what would come back
    """
    from mlmake.engine.checks import check_not_inside
    from mlmake.engine.recovery import clear_up
    from mlmake.engine.travel import Traveller, past
    from mlmake.state.lock import held
    from mlmake.state.runs import Runs

    place: Place = ctx.obj
    project = place.project()
    check_not_inside(place.home)
    with place.state() as connection:
        number = find(Runs(connection), run)[0].number
    endings: Counter[Ending] = Counter()
    with (
        held(place.home, lambda who: click.echo(f"waiting for a build of this project: {who}")),
        place.state() as connection,
    ):
        clear_up(place.home, connection, _tell_noticed)
        then = past(project, Runs(connection), number, steps, place.folder)
        for each in Traveller(project, connection).restore(then, force=force, dry_run=dry_run):
            endings[each.ending] += 1
            _tell(place, project.shown(each.step), each, dry_run)
    _sum_up(number, endings, dry_run)
    return 1 if endings[Ending.MISSING] else 0


def _tell_noticed(event: Event) -> None:
    if isinstance(event, Noticed):
        click.secho(event.text, fg="yellow")


def _tell(place: Place, step: str, each: Returned, dry_run: bool) -> None:
    if each.ending is Ending.THERE:
        return
    word = "would be restored" if dry_run and each.ending is Ending.RESTORED else each.ending.value
    why = f": {each.problem}" if each.problem else ""
    click.echo(f"{each.text} of {step} {click.style(word, fg=_COLORS[each.ending])}{why}")


def _sum_up(number: int, endings: Counter[Ending], dry_run: bool) -> None:
    restored, there, missing = (endings[each] for each in (Ending.RESTORED, Ending.THERE, Ending.MISSING))
    click.echo(
        f"run {number}: {restored} {'would be restored' if dry_run else 'restored'}, {there} there already, "
        f"{missing} missing"
    )
    if restored and not dry_run:
        click.echo("the next `mlmake` puts the present results back")
