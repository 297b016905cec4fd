"""`mlmake init`."""

from __future__ import annotations

import os

import click

from mlmake.cli.place import Place
from mlmake.errors import UsageError
from mlmake.model.project import FILE


@click.command("init")
@click.argument("folder", default=".", type=click.Path(file_okay=False))
@click.pass_context
def command(ctx: click.Context, folder: str) -> None:
    """Make a small project that builds, with the standard library only.

    \b
    mlmake init hello && cd hello && mlmake
    """
    from mlmake.cli.starter import FILES

    place: Place = ctx.obj
    target = os.path.normpath(os.path.join(place.folder, folder))
    taken = [name for name in FILES if os.path.exists(os.path.join(target, name))]
    if taken:
        raise UsageError(f"{os.path.join(target, taken[0])} is there already: nothing was written")
    for name, text in FILES.items():
        path = os.path.join(target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    inside = "" if target == place.folder else f"cd {os.path.relpath(target, place.folder)} && "
    click.echo(f"wrote {FILE} and {len(FILES) - 1} files beside it; now: {inside}mlmake")
