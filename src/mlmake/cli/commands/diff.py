"""`mlmake diff RUN RUN`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import click

from mlmake.cli.commands.metrics import flat, shown
from mlmake.cli.commands.show import find
from mlmake.cli.place import Place
from mlmake.cli.words import as_json, print_json, print_table
from mlmake.model.data import Value
from mlmake.model.run import StepRun


class Difference(NamedTuple):
    """One thing that differs between two runs; None where one of them has it not."""

    step: str
    what: str
    old: Value
    new: Value


@click.command("diff")
@click.argument("old", metavar="[RUN]", default="-2")
@click.argument("new", metavar="[RUN]", default="-1")
@as_json
@click.pass_context
def command(ctx: click.Context, old: str, new: str, json_: bool) -> None:
    """Compare two runs: parameters and other facts, metrics, outputs. By default the last two.

    \b
    mlmake diff
    mlmake diff 11 12 --json
    """
    from mlmake.state.runs import Runs

    place: Place = ctx.obj
    with place.state() as connection:
        runs = Runs(connection)
        before, after = find(runs, old)[0].number, find(runs, new)[0].number
        found = list(differences(runs.good_until(before), runs.good_until(after)))
    if json_:
        print_json([each._asdict() for each in found])
    elif found:
        rows = [[each.step, each.what, _short(each.old), _short(each.new)] for each in found]
        print_table([["step", "what", f"run {before}", f"run {after}"], *rows])
    else:
        click.echo(f"runs {before} and {after} left the same facts, metrics and outputs")


def differences(old: Mapping[str, StepRun], new: Mapping[str, StepRun]) -> Iterator[Difference]:
    """What differs between two states of a project, step by step."""
    for step in dict.fromkeys([*old, *new]):
        before = dict(_known(old.get(step)))
        after = dict(_known(new.get(step)))
        for what in dict.fromkeys([*before, *after]):
            if before.get(what) != after.get(what):
                yield Difference(step, what, before.get(what), after.get(what))


def _known(step_run: StepRun | None) -> Iterator[tuple[str, Value]]:
    if step_run is None:
        return
    yield from step_run.facts.items()
    for name, value in flat(step_run.metrics):
        yield f"metric {name}", value
    for item in step_run.outputs:
        yield f"result {item.text}", item.digest


def _short(value: Value) -> str:
    text = "-" if value is None else shown(value)
    return text[:12] if len(text) == 32 and text.isalnum() else text[:60]
