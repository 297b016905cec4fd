"""Steps with their states and reasons as a table: what `status` and a dry run print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import click

from mlmake.cli.words import print_table, state_word
from mlmake.model.project import Project
from mlmake.model.reason import State, Verdict
from mlmake.model.step import Step


def print_verdicts(
    project: Project, steps: Sequence[Step], verdicts: Mapping[str, Verdict], *, expand: bool, first_only: bool
) -> None:
    """A line per step; the combinations of a matrix that say the same are one line unless `expand`ed."""
    rows = [
        [state_word(verdict.state), name, _reasons(verdict, first_only)]
        for name, verdict in _lines(project, steps, verdicts, expand)
    ]
    print_table(rows)


def counts(verdicts: Mapping[str, Verdict], others: int = 0) -> str:
    """`3 fresh, 1 stale`; `others` are fresh too."""
    numbers = {state: sum(verdict.state is state for verdict in verdicts.values()) for state in State}
    numbers[State.FRESH] += others
    words = (f"{count} {state_word(state)}" for state, count in numbers.items() if count)
    return ", ".join(words) or "no steps"


def _lines(
    project: Project, steps: Sequence[Step], verdicts: Mapping[str, Verdict], expand: bool
) -> Iterator[tuple[str, Verdict]]:
    for _, members in groupby(steps, key=lambda step: (step.pipeline, step.group)):
        group = list(members)
        if expand or len(group) == 1 or len({verdicts[step.id] for step in group}) > 1:
            yield from ((project.shown(step.id), verdicts[step.id]) for step in group)
        else:
            name = project.shown(group[0].id).partition("[")[0]
            yield f"{name} {click.style(f'({len(group)} steps)', dim=True)}", verdicts[group[0].id]


def _reasons(verdict: Verdict, first_only: bool) -> str:
    words = [str(reason) for reason in verdict.reasons]
    if first_only and len(words) > 1:
        return f"{words[0]} (and {len(words) - 1} more)"
    return "; ".join(words)
