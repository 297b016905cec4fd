"""`mlmake cache push` and `mlmake cache pull`: results to the shared cache, and from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from mlmake.cli.moving import Moving
from mlmake.cli.place import Place
from mlmake.cli.words import Target, as_json, print_json
from mlmake.errors import UsageError
from mlmake.model.project import Project
from mlmake.model.run import counted, size_in_words

if TYPE_CHECKING:
    from mlmake.engine.bulk import Moved
    from mlmake.state.cache import Cache
    from mlmake.state.shared import Shared

_Tell = Callable[[str], None]


@click.command("push")
@click.argument("steps", nargs=-1, type=Target(), metavar="[STEP]...")
@as_json
@click.pass_context
def push_command(ctx: click.Context, steps: tuple[str, ...], json_: bool) -> int:
    """Send what is kept to the shared cache, as far as it is not there: all results, or those of the named steps.

    A build does so by itself; this is for results from before there was a shared cache, and for what an interrupted
    build still owes. Exits with 1 if a result could not be sent because it is damaged here.

    \b
    mlmake cache push
    mlmake cache push fit         only what fit has written
    """
    from mlmake.engine import bulk
    from mlmake.plan.selection import named

    place: Place = ctx.obj
    project = place.project()
    _check(project, writes=True)
    chosen = {step.id for step in named(project, steps, place.folder)} if steps else None
    with _opened(place, project, lambda _: None) as (connection, cache, shared), Moving("push", quiet=json_) as watch:
        moved = bulk.push(cache, connection, shared, chosen, watch)
    return _end(moved, "pushed", "to", project, [], json_)


@click.command("pull")
@click.argument("steps", nargs=-1, type=Target(), metavar="[STEP]...")
@as_json
@click.pass_context
def pull_command(ctx: click.Context, steps: tuple[str, ...], json_: bool) -> int:
    """Bring from the shared cache what the steps, or the named ones and all before them, would write now.

    Nothing runs and no output changes: the next `mlmake` restores them, also without a connection. Exits with 1 if a
    result is there but damaged.

    \b
    mlmake cache pull
    mlmake cache pull fit         what a build of fit takes
    """
    from mlmake.engine import bulk
    from mlmake.plan.selection import named, with_upstream

    place: Place = ctx.obj
    project = place.project()
    _check(project, writes=False)
    steps_wanted = with_upstream(project, named(project, steps, place.folder)) if steps else project.steps.values()
    told: list[str] = []
    with _opened(place, project, told.append) as (connection, _, shared), Moving("pull", quiet=json_) as watch:
        moved = bulk.pull(project, connection, shared, list(steps_wanted), project.cache.name, watch)
    return _end(moved, "pulled", "from", project, told, json_)


def _check(project: Project, *, writes: bool) -> None:
    """Raise UsageError where the project's file forbids it."""
    policy = project.cache
    if not policy.enabled:
        raise UsageError("the cache is off", hint="remove `enabled = false` under [cache]")
    if not policy.remote:
        raise UsageError("this project has no shared cache", hint='name one: [cache] remote = "s3://…", or any folder')
    if not (policy.mode.writes if writes else policy.mode.reads):
        what = "only reads" if writes else "only writes"
        raise UsageError(
            f"this project {what} its shared cache: [cache] mode = {policy.mode.value!r}",
            hint='mode = "read-write" allows both',
        )


@contextmanager
def _opened(place: Place, project: Project, notice: _Tell) -> Iterator[tuple[sqlite3.Connection, Cache, Shared]]:
    """The project's state and cache with its lock, and the shared cache."""
    from mlmake.engine.checks import check_not_inside
    from mlmake.engine.sharing import open_shared
    from mlmake.state.cache import Cache
    from mlmake.state.database import connect, explained
    from mlmake.state.lock import held
    from mlmake.state.shared import sweep

    home = place.home
    check_not_inside(home)
    with held(home, lambda who: click.echo(f"waiting for a build of this project: {who}", err=True)), explained(home):
        connection = connect(home, create=True)
        cache = Cache(home, project.cache, connection)
        sweep(cache.objects)
        shared = open_shared(project.cache, cache.objects, notice)
        try:
            yield connection, cache, shared
        finally:
            connection.close()
            with suppress(OSError):
                shared.store.close()


def _end(moved: Moved, verb: str, way: str, project: Project, told: list[str], json_: bool) -> int:
    problems = [*told, *moved.problems]
    if json_:
        numbers = {"results": moved.results, "objects": moved.objects, "size": moved.size}
        print_json({"remote": project.cache.name, **numbers, "problems": problems})
        return 1 if problems else 0
    for problem in problems:
        click.secho(problem, fg="yellow")
    counts = f"{counted(moved.results, 'result')}, {counted(moved.objects, 'object')}, {size_in_words(moved.size)}"
    click.echo(f"{verb} {counts} {way} {project.cache.name}")
    return 1 if problems else 0
