"""`mlmake watch`."""

from __future__ import annotations

import sys

import click

from mlmake.cli.place import Place
from mlmake.cli.words import targets


@click.command("watch")
@targets
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="CPUs to use at once. By default all.")
@click.option("--on", default="", metavar="TARGET", help="Run every step on this compute target.")
@click.option("--once", is_flag=True, help="Wait for one change, build, and end with the build's exit code.")
@click.option("-q", "--quiet", is_flag=True, help="Print failures only.")
@click.option("-v", "--verbose", is_flag=True, help="Print every step's command line and reasons.")
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    jobs: int | None,
    on: str,
    once: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Build, and build again whatever changes.

    \b
    mlmake watch                  the project's default, until Ctrl-C
    mlmake watch report           a step and what comes before it
    mlmake watch --once           end after one change was built
    """
    from queue import SimpleQueue

    from mlmake.cli.watching import Lines
    from mlmake.engine.run import Request
    from mlmake.services.watch.loop import Message, Options, Watch
    from mlmake.services.watch.selection import Selection

    place: Place = ctx.obj
    request = Request(
        targets=targets, jobs=jobs, on=on, folder=place.folder, command=" ".join(["mlmake", *sys.argv[1:]])
    )
    face = Lines(place, quiet=quiet, verbose=verbose, color=ctx.color)
    inbox: SimpleQueue[Message] = SimpleQueue()
    return Watch(Selection(place.root, request, face), Options(once=once), face, inbox).run()
