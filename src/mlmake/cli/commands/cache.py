"""`mlmake cache`: a command for each thing to do with what is kept of results."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from mlmake.cli.commands.cache_share import pull_command, push_command
from mlmake.cli.place import Place
from mlmake.cli.words import as_json, print_json, print_table
from mlmake.errors import UsageError
from mlmake.home import Home
from mlmake.model.project import Project
from mlmake.model.resources import parse_size
from mlmake.model.run import size_in_words
from mlmake.state.cache import Cache


class Bytes(click.ParamType[int]):
    """A size such as `8GiB`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group("cache")
def command() -> None:
    """Look after the kept results, from which a step is restored instead of run again.

    \b
    mlmake cache stats            what is kept, and how much of it is needed
    mlmake cache gc -n            what is not needed and would go
    mlmake cache verify           read everything, and find what is damaged
    mlmake cache push             send results to the shared cache
    mlmake cache pull             bring from there what a build would restore
    """


command.add_command(push_command)
command.add_command(pull_command)


@command.command("stats")
@as_json
@click.pass_context
def stats_command(ctx: click.Context, json_: bool) -> None:
    """Tell what is kept, how large it is, and how much of it is needed.

    \b
    mlmake cache stats
    mlmake cache stats --json     for programs
    """
    from mlmake.state.needs import needs_of
    from mlmake.state.upkeep import Stats, stats

    place: Place = ctx.obj
    project = place.project()
    policy = project.cache
    with place.state() as connection:
        found: Stats = stats(_cache(project, connection), needs_of(project, connection, policy.runs))
    if json_:
        told = {"folder": place.home.cache, "results": found.results, "files": found.files, "folders": found.folders}
        sizes = {"size": found.size, "needed": found.needed, "spare": found.size - found.needed}
        settings = {"limit": policy.size or None, "runs": policy.runs, "link": policy.link.value}
        shared = {"remote": policy.name or None, "mode": policy.mode.value if policy.name else None}
        print_json({**told, **sizes, "damaged": found.damaged, "enabled": policy.enabled, **settings, **shared})
        return
    rows = [
        ["results", f"{found.results}, in {_count(found.files, 'file')} and {_count(found.folders, 'folder')}"],
        ["size", size_in_words(found.size)],
        ["needed", f"{size_in_words(found.needed)}, by the steps as they are and by {_newest(policy.runs)}"],
        ["spare", size_in_words(found.size - found.needed) + _move(found.size - found.needed, policy.size)],
        ["limit", size_in_words(policy.size) if policy.size else "none"],
        ["shared", f"{policy.name} ({policy.mode.value})" if policy.name else "with nobody"],
    ]
    rows += [["damaged", f"{found.damaged} set aside; `mlmake cache gc` removes them"]] if found.damaged else []
    rows += [] if policy.enabled else [["off", "enabled = false: nothing is kept or restored"]]
    print_table(rows)


@command.command("verify")
@as_json
@click.pass_context
def verify_command(ctx: click.Context, json_: bool) -> int:
    """Read all that is kept. What is damaged is set aside, so that its steps run when they must; exits with 1 then.

    \b
    mlmake cache verify
    mlmake cache verify --json    for programs
    """
    from mlmake.state.upkeep import verify

    place: Place = ctx.obj
    project = place.project()
    with _held(place, project) as (cache, _):
        found = verify(cache)
    damaged = [{"digest": each.digest, "place": each.place, "steps": list(each.steps)} for each in found.damaged]
    if json_:
        print_json({"objects": found.objects, "size": found.size, "damaged": damaged})
    else:
        for each in found.damaged:
            steps = ", ".join(map(project.shown, each.steps)) or "nothing that is known"
            click.echo(f"{click.style('damaged', fg='red')} {each.digest}, written by {steps}: set aside")
        told = f"{len(damaged)} damaged" if damaged else "all as they were written"
        click.echo(f"{_count(found.objects, 'object')}, {size_in_words(found.size)}: {told}")
    return 1 if damaged else 0


@command.command("gc")
@click.option("--runs", type=click.IntRange(min=0), metavar="N", help="Keep what the newest N runs left.")
@click.option("--all", "everything", is_flag=True, help="Keep only what the steps as they are have written.")
@click.option("--size", type=Bytes(), help="Stop when the rest fits: least recently used first.")
@click.option("-n", "--dry-run", is_flag=True, help="Tell what would be removed; remove nothing.")
@click.pass_context
def gc_command(ctx: click.Context, runs: int | None, everything: bool, size: int | None, dry_run: bool) -> None:
    """Remove what is kept and not needed: neither by the steps as they are, nor to bring back one of the newest runs.

    How many runs that are is `runs` under [cache]. What was damaged or never finished goes too. So does every
    environment that pipelines.toml asks for no more, unless a step last ran in one like it.

    \b
    mlmake cache gc -n            what would go
    mlmake cache gc --size 50GiB  only as much as has to
    mlmake cache gc --all         the past, too
    """
    from mlmake.state.disused import clear
    from mlmake.state.needs import needs_of
    from mlmake.state.upkeep import collect

    if everything and runs is not None:
        raise UsageError("--all keeps no runs and --runs keeps some: say one of them")
    place: Place = ctx.obj
    project = place.project()
    kept = 0 if everything else project.cache.runs if runs is None else runs
    with _held(place, project) as (cache, connection):
        needs = needs_of(project, connection, kept)
        done = collect(cache, needs, connection, limit=size, dry_run=dry_run)
        environments = clear(project, connection, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    what = f"{_count(done.results, 'result')} and {_count(done.objects, 'object')}"
    click.echo(f"{verb} {what}: {size_in_words(done.freed)} freed, {size_in_words(done.left)} kept")
    if environments:
        gone = _count(len(environments), "environment")
        click.echo(f"{verb} {gone}: {size_in_words(sum(environments.values()))} freed")
    if size is not None and done.left > size:
        click.echo(f"the rest is needed: by the steps as they are, or by {_newest(kept)}; --runs N keeps fewer runs")


@contextmanager
def _held(place: Place, project: Project) -> Iterator[tuple[Cache, sqlite3.Connection]]:
    """The project's cache and state, with the project's lock."""
    from mlmake.engine.checks import check_not_inside
    from mlmake.state.lock import held

    check_not_inside(place.home)
    with (
        held(place.home, lambda who: click.echo(f"waiting for a build of this project: {who}", err=True)),
        place.state() as connection,
    ):
        yield _cache(project, connection), connection


def _cache(project: Project, connection: sqlite3.Connection) -> Cache:
    return Cache(Home(project.root), project.cache, connection)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _newest(runs: int) -> str:
    return "no run" if not runs else "the newest run" if runs == 1 else f"the newest {runs} runs"


def _move(spare: int, limit: int) -> str:
    if not spare:
        return ""
    return "; it goes when the limit is reached" if limit else "; `mlmake cache gc` removes it"
