"""`mlmake diff RUN RUN`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import click

from mlmake.cli.commands.show import find
from mlmake.cli.place import Place
from mlmake.cli.words import NUMBERS, as_json, print_json, print_table, shown
from mlmake.config.params import leaves
from mlmake.model.data import Value
from mlmake.model.run import StepRun, size_in_words
from mlmake.services.comparison import is_measurable

_KINDS = ("parameter", "fact", "metric", "output")
"""In the order in which they are told: what was put in, what came out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing that differs between two runs; None where one of them has it not.

    Attributes:
        kind: `parameter` or another `fact`, `metric`, `output`.
        what: `param seed`, `metric scores.mse`, `result build/x.csv`; an output's value is its digest.
        change: by how much a number grew.
        sizes: bytes of an output, then and now.
    """

    step: str
    kind: str
    what: str
    old: Value
    new: Value
    change: float | None = None
    sizes: tuple[int | None, int | None] | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A value that a run is known by."""

    kind: str
    value: Value
    size: int | None = None


@click.command("diff", context_settings=NUMBERS)
@click.argument("old", metavar="[RUN]", default="-2")
@click.argument("new", metavar="[RUN]", default="-1")
@as_json
@click.pass_context
def command(ctx: click.Context, old: str, new: str, json_: bool) -> None:
    """Compare what stood when two runs ended: parameters, other facts, metrics, outputs. By default the last two.

    RUN is a number, `latest`, or -1, -2 from the newest.

    \b
    mlmake diff
    mlmake diff 11 12 --json
    """
    from mlmake.state.runs import Runs

    place: Place = ctx.obj
    with place.state() as connection:
        runs = Runs(connection)
        before, after = find(runs, old)[0].number, find(runs, new)[0].number
        found = differences(runs.good_until(before), runs.good_until(after))
    if json_:
        print_json([_as_json(each) for each in found])
    elif found:
        print_table([["step", "what", f"run {before}", f"run {after}"], *map(_row, found)])
    else:
        click.echo(f"runs {before} and {after} left the same facts, metrics and outputs")


def differences(old: Mapping[str, StepRun], new: Mapping[str, StepRun]) -> list[Difference]:
    """What differs between two states of a project: by kind, and in that by step."""
    found = [each for step in dict.fromkeys([*old, *new]) for each in _of_step(step, old.get(step), new.get(step))]
    return sorted(found, key=lambda each: _KINDS.index(each.kind))


def _of_step(step: str, old: StepRun | None, new: StepRun | None) -> Iterator[Difference]:
    before, after = dict(_known(old)), dict(_known(new))
    for what in dict.fromkeys([*before, *after]):
        was, now = before.get(what), after.get(what)
        if was == now:
            continue
        kind = was.kind if was else now.kind if now else ""
        yield Difference(
            step=step,
            kind=kind,
            what=what,
            old=was.value if was else None,
            new=now.value if now else None,
            change=_change(was, now) if kind == "metric" else None,
            sizes=(was.size if was else None, now.size if now else None) if kind == "output" else None,
        )


def _known(step_run: StepRun | None) -> Iterator[tuple[str, _Known]]:
    if step_run is None:
        return
    for name, fact in step_run.facts.items():
        yield name, _Known("parameter" if name.startswith(("param ", "matrix ")) else "fact", fact)
    for name, value in leaves(step_run.metrics):
        yield f"metric {name}", _Known("metric", value)
    for item in step_run.outputs:
        yield f"result {item.text}", _Known("output", item.digest, item.size)


def _change(old: _Known | None, new: _Known | None) -> float | None:
    if old is None or new is None or not (is_measurable(old.value) and is_measurable(new.value)):
        return None
    return float(new.value - old.value)


def _as_json(each: Difference) -> dict[str, object]:
    told = {"step": each.step, "kind": each.kind, "what": each.what, "old": each.old, "new": each.new}
    return {**told, "change": each.change, "sizes": list(each.sizes) if each.sizes else None}


def _row(each: Difference) -> list[str]:
    old, new = (_short(value) for value in (each.old, each.new))
    if each.sizes:
        old, new = (f"{text}{_sized(size)}" for text, size in zip((old, new), each.sizes, strict=True))
    return [each.step, each.what, old, f"{new} ({each.change:+.3g})" if each.change else new]


def _sized(size: int | None) -> str:
    return "" if size is None else f" ({size_in_words(size)})"


def _short(value: Value) -> str:
    text = "-" if value is None else shown(value)
    return text[:12] if len(text) == 32 and text.isalnum() else text[:60]
