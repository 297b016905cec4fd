"""`mlmake watch`."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from typing import Any

import click

from mlmake.cli.place import Place
from mlmake.cli.words import jobs, on, quiet_or_verbose, targets


class Seconds(click.ParamType[float]):
    """A duration such as `200ms`, `2s`, `1h30m`, or a number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from mlmake.model.resources import parse_duration

        try:
            seconds = float(value) if str(value).replace(".", "", 1).isdigit() else parse_duration(str(value))
        except ValueError:
            self.fail(f"{value!r} is no duration such as '200ms', '2s' or '1h30m'", param, ctx)
        if seconds <= 0:
            self.fail("it must be more than nothing", param, ctx)
        return seconds


@click.command("watch")
@targets
@jobs
@on
@click.option("--once", is_flag=True, help="Wait for one change, build it, and end with the build's exit code.")
@click.option("--restart", is_flag=True, help="A change ends running steps that it has made pointless.")
@click.option(
    "--settle",
    type=Seconds(),
    default="0.2s",
    show_default=True,
    metavar="TIME",
    help="How long nothing may change before what has changed is built.",
)
@click.option("--poll", type=Seconds(), metavar="TIME", help="Look at all files this often instead of listening.")
@click.option(
    "--every",
    type=Seconds(),
    default="60s",
    show_default=True,
    metavar="TIME",
    help="How often to ask datastores that are not on this machine.",
)
@click.option("--exec", "always", default="", metavar="COMMAND", help="Run this after every build.")
@click.option("--on-success", default="", metavar="COMMAND|URL", help="Run or tell this after a good build.")
@click.option("--on-failure", default="", metavar="COMMAND|URL", help="Run or tell this after one that failed.")
@quiet_or_verbose
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    jobs: int | None,
    on: str,
    once: bool,
    restart: bool,
    settle: float,
    poll: float | None,
    every: float,
    always: str,
    on_success: str,
    on_failure: str,
    quiet: bool,
    verbose: bool,
) -> int:
    """Build, and build again whatever changes; serve the triggers of pipelines.

    \b
    mlmake watch                        the project's default, until Ctrl-C
    mlmake watch report                 a step and what comes before it
    mlmake watch --once                 end after one change was built
    mlmake watch --poll 2s              where the file system tells nothing, as over NFS
    mlmake watch --exec 'make page'     do something after every build
    """
    from queue import SimpleQueue

    from mlmake.cli.keys import pressed
    from mlmake.cli.watching import Lines, Screen, is_screen
    from mlmake.engine.run import Request
    from mlmake.services.watch.hooks import Hooks
    from mlmake.services.watch.loop import Watch
    from mlmake.services.watch.options import POLL, Key, Message, Options
    from mlmake.services.watch.selection import Selection

    place: Place = ctx.obj
    hooks = Hooks(always=always, on_success=on_success, on_failure=on_failure)
    hooks.check()
    has_screen = is_screen(quiet)
    options = Options(
        settle=settle,
        poll=poll or POLL,
        only_looks=poll is not None,
        every=every,
        once=once,
        restarts=restart,
        has_keys=has_screen,
        hooks=hooks,
    )
    request = Request(
        targets=targets, jobs=jobs, on=on, folder=place.folder, command=" ".join(["mlmake", *sys.argv[1:]])
    )
    inbox: SimpleQueue[Message] = SimpleQueue()

    def press(letter: str) -> None:
        if letter in {key.value for key in Key}:
            inbox.put(Key(letter))

    with ExitStack() as stack:
        if has_screen:
            face: Lines = stack.enter_context(closing(Screen(place, verbose=verbose, color=ctx.color)))
            stack.enter_context(pressed(press))
        else:
            face = Lines(place, quiet=quiet, verbose=verbose, color=ctx.color)
        return Watch(Selection(place.root, request, face), options, face, inbox).run()
