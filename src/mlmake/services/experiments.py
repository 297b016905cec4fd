"""What was submitted to an experiment, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from mlmake import inside
from mlmake.config.params import leaves
from mlmake.home import Home
from mlmake.model.data import Scalar, Value
from mlmake.model.submission import Submission
from mlmake.services.comparison import Comparison, Row, last
from mlmake.services.submitted.place import Place
from mlmake.state.runs import Runs
from mlmake.state.submissions import Submissions


def compare_submitted(
    home: Home, found: Iterable[Submission], submissions: Submissions, runs: Runs
) -> Comparison[Submission]:
    """Submissions by what they were given and what came out, of lists the last. Raises StateError.

    A metric goes by its name, with the step's before it where several steps, or a step and the run itself, have one of
    that name.
    """
    every = [(each, {**_metrics(each, submissions, runs), **_own(home, each)}) for each in found]
    count = Counter(name for _, name in {key for _, metrics in every for key in metrics})
    return Comparison.of(
        Row(
            subject=each,
            run=each.run,
            params=dict(_scalars(each.asked.params)),
            metrics={name if count[name] == 1 else f"{step}.{name}": value for (step, name), value in metrics.items()},
        )
        for each, metrics in every
    )


def _metrics(submission: Submission, submissions: Submissions, runs: Runs) -> dict[tuple[str, str], Scalar]:
    """By the names of step and metric."""
    found: dict[tuple[str, str], Scalar] = {}
    for step in submissions.steps(submission.id):
        name = step.step.partition(".")[2]
        past = runs.of(step.run, step.step) if step.run is not None else None
        found.update(((name, metric), value) for metric, value in _scalars(past.metrics if past else {}))
    return found


def _own(home: Home, submission: Submission) -> dict[tuple[str, str], Scalar]:
    """What was logged of the run itself."""
    logged = inside.metrics(inside.entries(Place(home, submission.id).kept))
    return {("run", metric): value for metric, value in _scalars(logged)}


def _scalars(values: Mapping[str, Value]) -> Iterator[tuple[str, Scalar]]:
    """Single values by dotted names; of a list of them, the last."""
    for name, value in leaves(values):
        if isinstance(single := last(value), str | int | float | bool):
            yield name, single
