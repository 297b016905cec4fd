"""`mlmake why STEP`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from mlmake.cli.place import Place
from mlmake.cli.words import as_json, params, print_json, state_word, targets, when
from mlmake.errors import UsageError
from mlmake.model.project import Project
from mlmake.model.reason import Reason, State
from mlmake.plan.explain import Explanation

_NAMES = 6
_DIFF_COLORS = {"+": "green", "-": "red", "@": "cyan"}


@click.command("why")
@targets
@params
@as_json
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], overrides: tuple[str, ...], json_: bool) -> None:
    """Tell what changed since a step's last good run, as a diff, down to the root cause.

    \b
    mlmake why fit
    mlmake why 'fit[fold=0]' --json
    mlmake why build/report.html
    """
    from mlmake.engine.look import look
    from mlmake.plan.explain import Explainer
    from mlmake.plan.selection import named, with_upstream

    if not targets:
        raise UsageError("why what? Name a step, a pipeline or an output", hint="`mlmake status` lists the steps")
    place: Place = ctx.obj
    project = place.project(overrides)
    steps = named(project, targets, place.folder)
    with place.state() as connection:
        ledger = look(project, connection)
        verdicts = ledger.assess(with_upstream(project, steps))
        explainer = Explainer(project, ledger.records, ledger.runs, ledger.fingerprints.remotes)
        explanations = [explainer.explain(step, verdicts, ledger.fingerprints.of(step)) for step in steps]
    if json_:
        print_json([_as_json(each) for each in explanations])
        return
    for alike in _alike(explanations):
        _print(project, alike)


def _as_json(each: Explanation) -> dict[str, object]:
    return {
        "step": each.step,
        "state": each.state.value,
        "since_run": each.record.run if each.record else None,
        "reasons": [detail.as_json() for detail in each.details],
        "roots": {step: [reason.as_json() for reason in reasons] for step, reasons in each.roots.items()},
        "notes": list(each.notes),
    }


def _alike(explanations: list[Explanation]) -> list[list[Explanation]]:
    """Explanations that say the same of several steps, as the combinations of a matrix often do, put together."""
    groups: dict[str, list[Explanation]] = {}
    for each in explanations:
        same = repr((each.state, each.details, each.roots, each.notes, each.record and each.record.run))
        groups.setdefault(same, []).append(each)
    return list(groups.values())


def _print(project: Project, alike: list[Explanation]) -> None:
    each = alike[0]
    names = [click.style(project.shown(other.step), bold=True) for other in alike[:_NAMES]]
    names += [f"{len(alike) - _NAMES} more"] if len(alike) > _NAMES else []
    click.echo(f"{', '.join(names)} {'are' if len(alike) > 1 else 'is'} {state_word(each.state)}{_since(each)}")
    for detail in each.details:
        click.echo(f"  {detail.reason}")
        for line in detail.lines:
            click.echo(f"    {click.style(line, fg=_DIFF_COLORS.get(line[:1]))}")
    for reasons, steps in _by_reasons(each.roots).items():
        more = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
        click.echo(f"  root cause: {project.shown(steps[0])}{more}: {'; '.join(map(str, reasons))}")
    for note in each.notes:
        click.echo(f"  {note}")


def _by_reasons(roots: Mapping[str, tuple[Reason, ...]]) -> dict[tuple[Reason, ...], list[str]]:
    groups: dict[tuple[Reason, ...], list[str]] = {}
    for step, reasons in roots.items():
        groups.setdefault(reasons, []).append(step)
    return groups


def _since(each: Explanation) -> str:
    record = each.record
    if record is None:
        return ""
    if each.state is not State.FRESH:
        return f"; the last good run was {record.run}, of {when(record.finished)}"
    facts, outputs = len(record.facts), len(record.outputs)
    told = f"{facts} facts and {outputs} output{'' if outputs == 1 else 's'} unchanged"
    return f" since run {record.run} of {when(record.finished)}: {told}"
