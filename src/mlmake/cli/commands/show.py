"""`mlmake show RUN`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from mlmake.cli.place import Place
from mlmake.cli.words import NUMBERS, as_json, duration, print_json, print_table, run_number, state_word, when
from mlmake.errors import UsageError
from mlmake.model.run import Item, Run, StepRun, size_in_words, version_in_words
from mlmake.state.runs import Runs


@click.command("show", context_settings=NUMBERS)
@click.argument("run", metavar="[RUN]", default="latest")
@click.option("--data", "with_data", is_flag=True, help="With what each step read and wrote, by version.")
@as_json
@click.pass_context
def command(ctx: click.Context, run: str, with_data: bool, json_: bool) -> None:
    """Show one run: its steps, why they ran, how they ended. RUN is a number, `latest`, or -1, -2 from the newest.

    \b
    mlmake show
    mlmake show 12 --data         with what went into each step and came out
    mlmake show 12 --json
    """
    place: Place = ctx.obj
    with place.state() as connection:
        found, steps = find(Runs(connection), run)
    if json_:
        print_json(
            {**asdict(found), "outcome": found.outcome.value, "step_runs": [step_run_as_json(each) for each in steps]}
        )
        return
    click.echo(f"run {found.number} {state_word(found.outcome)}: {found.command}")
    ended = f", took {duration(found.started, found.ended)}" if found.ended else ""
    click.echo(f"started {when(found.started)} on {found.host} (pid {found.pid}){ended}")
    click.echo(
        f"{found.ran} ran, {found.fresh} fresh, {found.restored} restored, {found.failed} failed of {found.steps}"
    )
    names = [each.step for each in steps]
    rows = [_row(each, _prefix(names)) for each in steps]
    if not with_data:
        print_table(rows, right=(2, 3))
        return
    for each, row in zip(steps, rows, strict=True):
        print_table([row])
        print_table(list(_data(each)))


def find(runs: Runs, word: str) -> tuple[Run, list[StepRun]]:
    """The run that `word` names, with its steps. Raises UsageError."""
    newest = next(iter(runs.last(1)), None)
    if newest is None:
        raise UsageError("no runs yet", hint="`mlmake` builds, and remembers")
    number = run_number(word, newest.number)
    found = runs.get(number)
    if found is None:
        raise UsageError(f"there is no run {word}", hint=f"the newest is {newest.number}; `mlmake runs` lists them")
    return found, runs.steps_of(number)


def step_run_as_json(each: StepRun) -> dict[str, object]:
    return {
        **asdict(each),
        "outcome": each.outcome.value,
        "reasons": [reason.as_json() for reason in each.reasons],
    }


def _data(each: StepRun) -> Iterator[list[str]]:
    """A row for each file or folder that a step read or wrote."""
    for name, items in each.inputs.items():
        yield from (_item(f"input {name}", item) for item in items)
    names = {text: fact for fact, text in each.facts.items() if fact.startswith("output ")}
    yield from (_item(names.get(item.text, "output"), item) for item in each.outputs)


def _item(what: str, item: Item) -> list[str]:
    return ["", what, item.text, version_in_words(item.digest), size_in_words(item.size)]


def _prefix(names: list[str]) -> str:
    """The pipeline, if all steps are of one."""
    pipelines = {name.partition(".")[0] for name in names}
    return f"{pipelines.pop()}." if len(pipelines) == 1 else ""


def _row(each: StepRun, prefix: str) -> list[str]:
    told = each.message or "; ".join(map(str, each.reasons))
    attempt = f" (attempt {each.attempt})" if each.attempt > 1 else ""
    target = f" on {each.target}" if each.target not in ("", "local") else ""
    took = duration(each.started, each.ended)
    return [state_word(each.outcome), each.step.removeprefix(prefix) + attempt + target, took, _used(each), told]


def _used(each: StepRun) -> str:
    """The memory, the CPU time and the memory of GPUs that a step used, as far as they are known."""
    peak = size_in_words(each.peak_memory) if each.peak_memory else ""
    cpu = f"cpu {each.cpu_seconds:.0f} s" if each.cpu_seconds >= 1 else ""
    gpu = f"gpu {size_in_words(each.gpu_memory)}" if each.gpu_memory else ""
    return ", ".join(filter(None, [peak, cpu, gpu]))
