"""`mlmake graph`."""

from __future__ import annotations

import click

from mlmake.cli.place import Place
from mlmake.cli.words import as_json, print_json, targets


@click.command("graph")
@targets
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "mermaid", "dot", "svg"]),
    default="text",
    show_default=True,
    help="How to draw it.",
)
@click.option("--expand", is_flag=True, help="One node per combination of a matrix.")
@click.option("--data", is_flag=True, help="Show source files too.")
@as_json
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], format_: str, expand: bool, data: bool, json_: bool) -> None:
    """Draw how steps hang together and which are stale.

    \b
    mlmake graph
    mlmake graph train --format svg > train.svg
    mlmake graph --format mermaid --expand
    """
    from dataclasses import asdict

    from mlmake.engine.look import look
    from mlmake.plan.draw import FORMATS
    from mlmake.plan.outline import outline
    from mlmake.plan.selection import named, with_upstream

    place: Place = ctx.obj
    project = place.project()
    steps = with_upstream(project, named(project, targets, place.folder))
    with place.state() as connection:
        verdicts = look(project, connection).assess(steps)
    graph = outline(project, steps, verdicts, expand=expand, data=data)
    if json_:
        print_json(asdict(graph))
    else:
        click.echo(FORMATS[format_](graph).rstrip("\n"))
