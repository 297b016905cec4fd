"""What must stay in the cache: what the steps last wrote, what the newest runs left, what is linked or owed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from mlmake.config.places import locate
from mlmake.config.problems import Wrong
from mlmake.home import Home
from mlmake.model.project import Project
from mlmake.model.run import Record, StepRun
from mlmake.state.cache import Actions, key_of_facts
from mlmake.state.records import Records
from mlmake.state.remotes import newest_contents
from mlmake.state.runs import Runs


@dataclass(frozen=True, slots=True)
class Needs:
    """What nothing may take out of the cache: actions by their key, contents by their digest."""

    keys: frozenset[str]
    digests: frozenset[str]


def needs_of(project: Project, connection: sqlite3.Connection, runs: int) -> Needs:
    """What a project (whole, not narrowed) needs, and what stood at the end of each of its `runs` newest runs."""
    records = Records(connection)
    last = [record for step in project.steps if (record := records.get(step))]
    kept = list(_kept(project, Runs(connection), runs))
    written: list[Record | StepRun] = [*last, *kept]
    keys = {key for each in written if (key := key_of_facts(each.facts))}
    keys.update(action.key for action in Actions(connection).all(owed=True))
    digests = {item.digest for each in written for item in each.outputs}
    digests.update(item.digest for record in last for items in record.inputs.values() for item in items)
    digests |= newest_contents(connection)
    digests.update(_linked(project, (record for step in records.steps() if (record := records.get(step)))))
    return Needs(frozenset(keys), frozenset(digests))


def _kept(project: Project, runs: Runs, count: int) -> Iterator[StepRun]:
    """What stood at the end of the newest runs. Of a step that the project has no more, what these runs wrote."""
    numbers = [run.number for run in runs.last(count)] if count else []
    if numbers:
        yield from (each for step, each in runs.good_until(numbers[-1]).items() if step in project.steps)
        yield from runs.good_since(numbers[-1])


def _linked(project: Project, records: Iterable[Record]) -> Iterator[str]:
    """Digests of the objects that the places of outputs link to: without these an output would hold nothing."""
    cache = os.path.realpath(Home(project.root).cache)
    texts = {item.text for record in records for item in record.outputs}
    texts |= {output.location.text for step in project.steps.values() for output in step.outputs}
    for text in texts:
        with suppress(Wrong):
            location = locate(text, project.root, project.datastores)
            if not location.is_remote:
                yield from (_digest(target) for target in _targets(location.path) if target.startswith(f"{cache}/"))


def _targets(path: str) -> Iterator[str]:
    """Where the links at a place lead: the place itself, or what is in its folder."""
    if os.path.islink(path):
        yield os.path.realpath(path)
    elif os.path.isdir(path):
        for folder, _, names in os.walk(path):
            inside = (os.path.join(folder, name) for name in names)
            yield from (os.path.realpath(each) for each in inside if os.path.islink(each))


def _digest(target: str) -> str:
    """The digest of the object in a file of the cache."""
    folder, rest = os.path.split(target)
    return os.path.basename(folder) + rest
