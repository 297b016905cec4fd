"""`mlmake`: finds the command, or takes the words as what to build; turns errors into lines and exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click
from click.shell_completion import CompletionItem

from mlmake import __version__
from mlmake.cli.place import Place, complete_targets, mute
from mlmake.cli.verbs import COMMANDS
from mlmake.errors import Interrupted, MlmakeError, nearest

_TAKES_VALUE = ("-C", "--directory")
_BUG = 70


class Commands(click.Group):
    """A group that loads a command when it is called, and reads anything else as `build`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = import_module(f"mlmake.cli.commands.{module}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_completing = ctx.resilient_parsing and not args
        return super().parse_args(ctx, args if is_completing else with_command(args))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and as `build` may be left out, what it takes."""
        return [*super().shell_complete(ctx, incomplete), *complete_targets(ctx, incomplete)]


def with_command(args: list[str]) -> list[str]:
    """`args` with the word `build` put in where no command is named: `-j 2 train` -> `build -j 2 train`."""
    position = 0
    while position < len(args):
        word = args[position]
        if word in _TAKES_VALUE:
            position += 2
        elif word.startswith("--directory=") or (word.startswith("-C") and word != "-C"):
            position += 1
        elif word in COMMANDS or word in ("--help", "-h", "--version"):
            return args
        else:
            break
    return [*args[:position], "build", *args[position:]]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mlmake")
@click.option("-C", "--directory", metavar="DIR", default=".", help="Work in the project of DIR.")
@click.pass_context
def cli(ctx: click.Context, directory: str) -> None:
    """make for machine-learning pipelines: runs exactly what changed.

    \b
    mlmake                       build the project's default
    mlmake train                 build a pipeline, a step or an output
    mlmake -n                    tell what would run, and why
    mlmake why fit               what changed since the last good run
    """
    ctx.obj = Place(os.path.abspath(directory))
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main(args: list[str] | None = None) -> None:
    """The console script; exits with 0 done, 1 a step failed, 2 usage or configuration, 3 stale, 130 interrupted."""
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: list[str]) -> int:
    """As `main`, giving the exit code."""
    try:
        return int(cli.main(args, prog_name="mlmake", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return 2
    except MlmakeError as error:
        _tell(error, args)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return Interrupted.exit_code
    except SystemExit:  # click's answer to a pipe whose reader has gone, as with `mlmake graph | head`
        mute()
        return 0
    except Exception as error:
        from mlmake.cli.crash import write_crash

        click.echo(write_crash(error, args), err=True)
        return _BUG


def _tell(error: MlmakeError, args: list[str]) -> None:
    color: Any = False if os.environ.get("NO_COLOR") else None
    mark = click.style("mlmake:", fg="red", bold=True)
    lines = error.message.splitlines() or [""]
    for line in lines:
        click.echo(f"{mark} {line}", err=True, color=color)
    hint = _command_meant(error, args) or error.hint
    if hint:
        click.echo(f"{' ' * 7} {hint}", err=True, color=color)


def _command_meant(error: MlmakeError, args: list[str]) -> str:
    """A hint for a word that was taken as what to build and is no step, but nearly a command."""
    if not error.message.startswith("no pipeline, step or output") or "did you mean" in error.message:
        return ""
    if with_command(args) == args:
        return ""
    near = next((near for word in args if (near := nearest(word, COMMANDS))), "")
    return f"did you mean the command `mlmake {near}`?" if near else ""
