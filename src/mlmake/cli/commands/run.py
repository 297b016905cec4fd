"""`mlmake run`."""

from __future__ import annotations

import signal
import sys

import click

from mlmake.cli.commands.compute import TargetName
from mlmake.cli.place import Place, mute
from mlmake.errors import UsageError


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--on", default="local", type=TargetName(), metavar="TARGET", help="The compute target.")
@click.option("-o", "--out", "outputs", multiple=True, metavar="PATH", help="What it writes and is to come back.")
@click.option("-e", "--environment", default="", metavar="NAME", help="The image, on a target with containers.")
@click.argument("words", nargs=-1, metavar="-- COMMAND [ARGUMENT]...", type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, on: str, outputs: tuple[str, ...], environment: str, words: tuple[str, ...]) -> int:
    """Run one command on a compute target, with the project's files; nothing of it is remembered.

    It runs in the project's folder or, elsewhere, in a copy of it: what git ignores stays here. What it writes is
    thrown away but for what `--out` names. Its exit code is that of the command.

    \b
    mlmake run --on gpubox -- nvidia-smi
    mlmake run --on gpubox --out model.pkl -- python steps/fit.py --model model.pkl
    mlmake run --on box --environment torch -- pip list
    """
    from mlmake.services.adhoc import Errand, run

    if not words:
        raise UsageError("run what? Give a command after --", hint="mlmake run --on TARGET -- COMMAND")
    place: Place = ctx.obj
    try:
        return run(place.project(), Errand(argv=words, on=on, environment=environment, outputs=outputs), _say)
    except BrokenPipeError:
        mute()
        return 128 + signal.SIGPIPE
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        raise UsageError(f"cannot run {words[0]}: {about}{error.strerror or error}") from None


def _say(block: bytes) -> None:
    sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
