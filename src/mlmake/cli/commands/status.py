"""`mlmake status`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import click

from mlmake.cli.place import Place
from mlmake.cli.words import as_json, params, print_json, print_table, state_word, targets
from mlmake.model.project import Project
from mlmake.model.reason import State, Verdict
from mlmake.model.step import Step


@click.command("status")
@targets
@params
@as_json
@click.option("--check", is_flag=True, help="Exit with 3 if anything would run.")
@click.option("--expand", is_flag=True, help="List every combination of a matrix.")
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    overrides: tuple[str, ...],
    json_: bool,
    check: bool,
    expand: bool,
) -> int:
    """List steps as fresh, stale, maybe or blocked, with the first reason.

    \b
    mlmake status                 everything that `mlmake` would build
    mlmake status train --json    for programs
    mlmake status --check         for scripts: exits with 3 if something is stale
    """
    from mlmake.engine.look import look
    from mlmake.plan.selection import named, with_upstream

    place: Place = ctx.obj
    project = place.project(overrides)
    steps = with_upstream(project, named(project, targets, place.folder))
    with place.state() as connection:
        verdicts = look(project, connection).assess(steps)
    if json_:
        print_json([_as_json(project, step, verdicts[step.id]) for step in steps])
    else:
        _print(project, steps, verdicts, expand)
    is_fresh = all(verdict.state is State.FRESH for verdict in verdicts.values())
    return 3 if check and not is_fresh else 0


def _as_json(project: Project, step: Step, verdict: Verdict) -> dict[str, object]:
    return {
        "step": step.id,
        "name": project.shown(step.id),
        "state": verdict.state.value,
        "reasons": [reason.as_json() for reason in verdict.reasons],
        "outputs": [output.location.text for output in step.outputs],
    }


def _print(project: Project, steps: list[Step], verdicts: Mapping[str, Verdict], expand: bool) -> None:
    rows = []
    for _, members in groupby(steps, key=lambda step: (step.pipeline, step.group)):
        group = list(members)
        if not expand and len(group) > 1 and len({verdicts[step.id] for step in group}) == 1:
            rows.append(_row(f"{_folded(project, group[0])}  ({len(group)} steps)", verdicts[group[0].id]))
        else:
            rows += [_row(project.shown(step.id), verdicts[step.id]) for step in group]
    print_table(rows)
    counts = {state: sum(verdict.state is state for verdict in verdicts.values()) for state in State}
    click.echo(", ".join(f"{count} {state_word(state)}" for state, count in counts.items() if count) or "no steps")


def _folded(project: Project, step: Step) -> str:
    return project.shown(step.id).partition("[")[0]


def _row(name: str, verdict: Verdict) -> list[str]:
    reasons = verdict.reasons
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return [state_word(verdict.state), name, f"{reasons[0]}{more}" if reasons else ""]
