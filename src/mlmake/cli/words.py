"""What the commands have in common on the command line, and how they word times, sizes and states."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from mlmake.cli.place import complete_targets
from mlmake.config.problems import in_a_line
from mlmake.errors import UsageError
from mlmake.model.data import Value
from mlmake.model.reason import State
from mlmake.model.run import Outcome, seconds_in_words

F = TypeVar("F", bound=Callable[..., Any])

COLORS: dict[State | Outcome, str] = {
    State.FRESH: "green",
    State.STALE: "yellow",
    State.MAYBE: "cyan",
    State.RESTORABLE: "blue",
    State.BLOCKED: "red",
    Outcome.DONE: "green",
    Outcome.RESTORED: "blue",
    Outcome.RUNNING: "cyan",
    Outcome.FAILED: "red",
    Outcome.CANCELLED: "yellow",
    Outcome.LOST: "red",
}


_COLOR = re.compile(r"(\x1b\[[0-9;]*m)")

NUMBERS = {"ignore_unknown_options": True}
"""Settings of a command that takes runs: -1 is the newest one and no option."""


class Target(click.ParamType[str]):
    """A pipeline, step or output, completed by the shell from the project."""

    name = "target"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return complete_targets(ctx, incomplete)


def targets(command: F) -> F:
    """The arguments of a command that works on pipelines, steps and outputs."""
    return click.argument("targets", nargs=-1, type=Target(), metavar="[PIPELINE|STEP|OUTPUT]...")(command)


def params(command: F) -> F:
    """`-p key=value`."""
    return click.option(
        "-p",
        "--param",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Another value for a parameter, typed as in the file. May be given several times.",
    )(command)


def jobs(command: F) -> F:
    """`-j N`."""
    return click.option(
        "-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="CPUs to use at once. By default all."
    )(command)


def on(command: F) -> F:
    """`--on TARGET`."""
    return click.option("--on", default="", metavar="TARGET", help="Run every step on this compute target.")(command)


def quiet_or_verbose(command: F) -> F:
    """`-q` and `-v`."""
    quiet = click.option("-q", "--quiet", is_flag=True, help="Print failures only.")
    verbose = click.option("-v", "--verbose", is_flag=True, help="Print every step's command line and reasons.")
    return quiet(verbose(command))


def as_json(command: F) -> F:
    """`--json`."""
    return click.option("--json", "json_", is_flag=True, help="Print JSON for programs.")(command)


def print_json(value: object) -> None:
    """A value as JSON, which knows no NaN and nothing endless: they are null."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(value), indent=2, ensure_ascii=False, default=str)
    click.echo(text)


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_csv(rows: Iterable[Sequence[object]]) -> None:
    """Rows as CSV; a list or table in a cell is JSON."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for row in rows:
        writer.writerow(json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in row)


def print_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Rows as aligned columns, a line each; the last one is not padded. Columns in `right` are aligned to the right."""
    rows = [[_flat(cell) for cell in row] for row in rows]
    widths = [max(len(click.unstyle(row[column])) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        cells = [_padded(cell, widths[column], column in right) for column, cell in enumerate(row)]
        click.echo("  ".join(cells).rstrip())


def _flat(cell: str) -> str:
    """A cell that stays in its line, whatever a file or a metric is called; its colours stay."""
    return "".join(part if _COLOR.fullmatch(part) else in_a_line(part) for part in _COLOR.split(cell))


def _padded(cell: str, width: int, to_right: bool) -> str:
    space = " " * (width - len(click.unstyle(cell)))
    return space + cell if to_right else cell + space


def state_word(state: State | Outcome) -> str:
    return click.style(state.value, fg=COLORS[state])


def shown(value: Value) -> str:
    """A number in at most six digits; of a series its last value; anything else as it is."""
    if isinstance(value, list) and value:
        return f"{shown(value[-1])} (of {len(value)})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def when(moment: float | None) -> str:
    """Seconds since the epoch as local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if moment else "-"


def duration(started: float, ended: float | None) -> str:
    return seconds_in_words(ended - started) if ended else "-"


def run_number(word: str, newest: int) -> int:
    """A run named on the command line: its number, or `latest`, or `-1`, `-2` from the newest back."""
    if word == "latest":
        return newest
    try:
        number = int(word)
    except ValueError:
        raise UsageError(f"{word!r} is no run", hint="`mlmake runs` lists them by number") from None
    return newest + 1 + number if number < 0 else number
