"""`mlmake data`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import click

from mlmake.cli.commands.show import find
from mlmake.cli.items import Items, Selected, select
from mlmake.cli.lineage import print_history, print_item, print_way
from mlmake.cli.place import Place
from mlmake.cli.versions import Teller
from mlmake.cli.words import as_json, print_json, print_table, when
from mlmake.errors import UsageError
from mlmake.model.lineage import Version
from mlmake.model.project import Project
from mlmake.model.run import size_in_words, version_in_words

_LEVELS = 4
_HEADS = ["data", "version", "content", "size", "made by", "when", "used last by"]
_CONTENT = 2


@click.command("data")
@click.argument("what", required=False, metavar="[PATH|DATASTORE://PATH|STEP]", type=Items())
@click.option(
    "--versions", "all_versions", is_flag=True, help="All versions, newest first, with who made and used each."
)
@click.option("--up", "only_up", is_flag=True, help="Only what it was made from.")
@click.option("--down", "only_down", is_flag=True, help="Only what was made of it.")
@click.option(
    "--depth", type=click.IntRange(min=1), metavar="N", help=f"How many steps away; {_LEVELS} in a tree, all in JSON."
)
@click.option("--run", "run", metavar="RUN", help="The versions as they stood when that run ended.")
@as_json
@click.pass_context
def command(
    ctx: click.Context,
    what: str | None,
    all_versions: bool,
    only_up: bool,
    only_down: bool,
    depth: int | None,
    run: str | None,
    json_: bool,
) -> None:
    """List the data that runs made or used, each in its present version; or show what one item comes from and went to.

    A file or folder is shown with its lineage: which step and run made it, from which versions of what, and which steps
    and runs used it. A folder that is no item itself, a datastore or a step lists what belongs to it.

    \b
    mlmake data
    mlmake data build/table.csv
    mlmake data build/table.csv --versions
    mlmake data raw:// --json
    mlmake data fit
    """
    from mlmake.services.history import lineage
    from mlmake.state.history import contents
    from mlmake.state.runs import Runs

    place: Place = ctx.obj
    project = place.project()
    with place.state() as connection:
        until = find(Runs(connection), run)[0].number if run else math.inf
        graph = lineage(project, connection)
        teller = Teller(graph, contents(connection))
    selected = select(project, graph, what, place.folder, until)
    if all_versions:
        _tell_versions(project, teller, [each for key in selected.keys for each in graph.versions(key)], json_)
    elif selected.is_one:
        is_up, is_down = only_up or not only_down, only_down or not only_up
        _tell_one(project, teller, selected, (is_up, is_down), depth, json_)
    elif only_up or only_down or depth:
        raise UsageError("--up, --down and --depth tell of one item: name one", hint="`mlmake data` lists them")
    else:
        _tell_all(project, teller, selected.versions, json_)


def _tell_all(project: Project, teller: Teller, versions: Sequence[Version], json_: bool) -> None:
    if json_:
        print_json([teller.version(each) for each in versions])
    elif versions:
        _print_rows([_row(project, teller, each) for each in versions])
    else:
        click.echo("no data yet: no step has run")


def _tell_versions(project: Project, teller: Teller, versions: Sequence[Version], json_: bool) -> None:
    if json_:
        print_json([teller.history(each) for each in versions])
    else:
        print_history(project, teller, versions)


def _tell_one(
    project: Project, teller: Teller, selected: Selected, ways: tuple[bool, bool], depth: int | None, json_: bool
) -> None:
    (version,) = selected.versions
    graph, (is_up, is_down) = teller.lineage, ways
    if json_:
        deep = depth or math.inf
        up = {"up": teller.levels(graph.up(version, deep))} if is_up else {}
        down = {"down": teller.levels(graph.down(version, deep))} if is_down else {}
        print_json({**teller.version(version), **up, **down})
        return
    print_item(project, teller, version, len(graph.versions(version.where.key)))
    if is_up:
        print_way(project, graph, version, depth or _LEVELS, is_up=True)
    if is_down:
        print_way(project, graph, version, depth or _LEVELS, is_up=False)


def _print_rows(rows: list[list[str]]) -> None:
    """A table; contents stand in it where they are not the versions."""
    tells_content = any(row[_CONTENT] for row in rows)
    shown = [_HEADS, *rows] if tells_content else [_without(row) for row in [_HEADS, *rows]]
    print_table(shown, right=(3 if tells_content else 2,))


def _without(row: list[str]) -> list[str]:
    return row[:_CONTENT] + row[_CONTENT + 1 :]


def _row(project: Project, teller: Teller, version: Version) -> list[str]:
    item, used = version.item, version.used
    origin = teller.lineage.maker(version)
    maker = origin.activity if origin else None
    content = (teller.content(version) or "-")[:12] if version.where.is_remote else ""
    return [
        item.text,
        version_in_words(item.digest),
        content,
        size_in_words(item.size),
        f"{project.shown(maker.step)}, run {maker.run}" if maker else "-",
        when(maker.ended) if maker else "-",
        f"{project.shown(used[-1].activity.step)}, run {used[-1].activity.run}" if used else "-",
    ]
