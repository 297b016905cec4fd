"""`mlmake import FILE`."""

from __future__ import annotations

import os

import click

from mlmake.cli.place import Place
from mlmake.errors import ConfigError, UsageError
from mlmake.model.project import FILE


@click.command("import")
@click.argument("file", type=click.Path())
@click.option("-o", "--output", metavar="PATH", help="Where to write; `-` prints. By default beside FILE.")
@click.option("-f", "--force", is_flag=True, help="Write over a file that is there.")
@click.pass_context
def command(ctx: click.Context, file: str, output: str | None, force: bool) -> None:
    """Make a pipelines.toml from the pipeline of another tool: a dvc.yaml, or the YAML of an Azure ML pipeline (v1).

    What has no counterpart is told, and stands in the file as a comment. Needs the extra `import`.

    \b
    mlmake import dvc.yaml
    mlmake import pipeline.yml -o -         print it, and write nothing
    mlmake import dvc.yaml --force          write over pipelines.toml
    """
    from mlmake.services.importing.project import imported

    place: Place = ctx.obj
    source = os.path.normpath(os.path.join(place.folder, file))
    target = _target(place, source, output)
    if target and os.path.exists(target) and not force:
        raise UsageError(f"{os.path.relpath(target, place.folder)} is there already", hint="--force writes over it")
    done = imported(source, os.path.dirname(target) if target else os.path.dirname(source))
    if target:
        _write(target, done.text)
        click.echo(
            f"wrote {os.path.relpath(target, place.folder)}: {_counted(done.steps)}; look at it, then: mlmake -n"
        )
    else:
        click.echo(done.text, nl=False)
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    if done.problems:
        raise ConfigError(FILE, done.problems)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _counted(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"


def _target(place: Place, source: str, output: str | None) -> str:
    """The path to write to; "" to print."""
    if output == "-":
        return ""
    return os.path.normpath(os.path.join(place.folder, output or os.path.join(os.path.dirname(source), FILE)))
