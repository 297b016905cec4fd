"""The ledger: judges a step before it runs, remembers it after. It stands where doit expects its own database."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

from mlmake.engine.staging import Stage
from mlmake.environments.base import Software
from mlmake.model.data import Value
from mlmake.model.project import Project
from mlmake.model.reason import Reason, Verdict
from mlmake.model.run import Item, Outcome, Record, StepRun
from mlmake.model.step import Step
from mlmake.plan.assess import Assessor
from mlmake.state.database import empty, transaction
from mlmake.state.digests import Digests
from mlmake.state.fingerprint import EDITED, Fingerprint, Fingerprints
from mlmake.state.records import Records
from mlmake.state.runs import Runs
from mlmake.state.stamps import TOP, entries

_METRICS_LIMIT = 1 << 20


class Moment(NamedTuple):
    """A step's facts at one moment, and by fact what `stat` said of the files behind it."""

    fingerprint: Fingerprint
    stamps: Mapping[str, tuple[tuple[int, ...], ...]]


class Contents(NamedTuple):
    """What a step's outputs hold, and what was learnt in looking if that was done apart."""

    outputs: tuple[Item, ...]
    learnt: Digests | None = None


class Ledger:
    """Everything known of a project's steps, and every write of it."""

    def __init__(
        self, project: Project, connection: sqlite3.Connection, software: Software, *, whole: bool = True
    ) -> None:
        """With `whole` false, what is known is read step by step: for a few steps of many."""
        self._root = project.root
        self._connection = connection
        self.digests = Digests(connection, whole=whole)
        self.records = Records(connection, whole=whole)
        self.runs = Runs(connection)
        self.fingerprints = Fingerprints(project, self.digests, connection, software)
        self._assessor = Assessor(project, self.records, self.digests, self.fingerprints)

    def assess(self, steps: Iterable[Step], forced: Collection[str] = ()) -> dict[str, Verdict]:
        """A verdict for each of `steps`, which stand in order."""
        return self._assessor.assess(steps, forced)

    def reasons(self, step: Step) -> tuple[Reason, ...]:
        """Why a step must run now that all before it are settled; () if it is fresh."""
        return self._assessor.reasons(step)

    def look(self, step: Step) -> Moment:
        """A step's facts right now, to be taken just before it starts and when it has ended."""
        self.fingerprints.look_again()
        fingerprint = self.fingerprints.of(step)
        stamps = {f"input {name}": tuple(map(_stamp, paths)) for name, paths in fingerprint.paths.items()}
        code = [name for name in fingerprint.facts if name.startswith("code ")]
        stamps |= {name: (_stamp(os.path.join(self._root, name.removeprefix("code "))),) for name in code}
        return Moment(fingerprint, stamps)

    def started(self, step_run: StepRun) -> None:
        """Write that a step runs."""
        with transaction(self._connection):
            self.runs.put(step_run)

    def hash(self, stage: Stage) -> Contents:
        """The contents of what a step wrote, still in its private places. Raises OSError."""
        return Contents(tuple(_items(stage, self.digests)))

    @staticmethod
    def hash_apart(stage: Stage) -> Contents:
        """As `hash`, for another thread: nothing that is ours is touched before `settle` takes it over."""
        with closing(empty()) as connection:
            digests = Digests(connection, whole=False)
            return Contents(tuple(_items(stage, digests)), digests)

    def settle(
        self, stage: Stage, before: Moment, contents: Contents, step_run: StepRun
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Make a step's outputs real and remember its run, in one transaction.

        Gives the facts that were edited while it ran, and the metrics that could not be read.
        """
        if contents.learnt is not None:
            self.digests.adopt(contents.learnt)
        stage.commit(self.digests)
        facts, edited = self._facts_read(stage.step, before)
        metrics, unreadable = _metrics(stage.step)
        ended = time.time()
        record = Record(
            step=stage.step.id,
            run=stage.run,
            facts=facts,
            inputs=before.fingerprint.inputs,
            outputs=contents.outputs,
            finished=ended,
            seconds=ended - step_run.started,
        )
        done = replace(
            step_run,
            outcome=Outcome.DONE,
            ended=ended,
            exit_code=0,
            facts=facts,
            outputs=contents.outputs,
            metrics=metrics,
        )
        with transaction(self._connection):
            self.records.put(record)
            self.records.keep_texts(before.fingerprint.code)
            self.runs.put(done)
            self._save_memo()
        stage.finish()
        return edited, unreadable

    def failed(self, step_run: StepRun) -> None:
        """Remember a run that gave nothing; the last good record stays."""
        with transaction(self._connection):
            self.runs.put(step_run)

    def save(self) -> None:
        """Write what was learnt by looking, if anything was."""
        if self.digests.learnt:
            with transaction(self._connection):
                self._save_memo()

    def _save_memo(self) -> None:
        self.digests.save()
        self.fingerprints.save()

    def _facts_read(self, step: Step, before: Moment) -> tuple[Mapping[str, str], tuple[str, ...]]:
        """The facts for the record: what was read, or a mark where a file was written under the running step."""
        after = self.look(step)
        old, new = before.fingerprint.facts, after.fingerprint.facts
        edited = tuple(
            name
            for name, value in old.items()
            if name.startswith(("input ", "code "))
            and (new.get(name) != value or not _is_untouched(before.stamps[name], after.stamps.get(name, ())))
        )
        return {**old, **dict.fromkeys(edited, EDITED)}, edited


def _items(stage: Stage, digests: Digests) -> Iterator[Item]:
    for output in stage.step.outputs:
        path = stage.outputs[output.name]
        digest = digests.of(path)
        if digest is None:
            raise FileNotFoundError(errno.ENOENT, "it is no readable file or folder", path)
        yield Item(output.location.text, digest.digest, digest.size)


def _stamp(path: str) -> tuple[int, ...]:
    """What `stat` says of a file, or of all files in a folder: an edit that was taken back leaves the same content."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    if not stat.S_ISDIR(status.st_mode):
        return (*_told(status), status.st_nlink, status.st_ctime_ns)
    total, waiting = 0, [TOP]
    while waiting:
        place = waiting.pop()
        for name, inside, folder in entries(path, place, in_order=False):
            total += hash((place[0], name, *_told(inside))) if inside else 0
            waiting += [folder] if folder else []
    return (total,)


def _told(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _is_untouched(before: tuple[tuple[int, ...], ...], after: tuple[tuple[int, ...], ...]) -> bool:
    """Nothing was written meanwhile. A link more to a file changes its last time too, and does no harm."""
    return len(before) == len(after) and all(
        old[:3] == new[:3] and (old[3:4] != new[3:4] or old[4:] == new[4:])
        for old, new in zip(before, after, strict=True)
    )


def _metrics(step: Step) -> tuple[dict[str, Value], tuple[str, ...]]:
    found: dict[str, Value] = {}
    unreadable = []
    for output in step.outputs:
        if output.is_metrics:
            try:
                if os.path.getsize(output.location.path) > _METRICS_LIMIT:
                    raise ValueError(f"larger than {_METRICS_LIMIT} bytes")
                with open(output.location.path, encoding="utf-8") as file:
                    found[output.name] = json.load(file)
            except (OSError, ValueError) as error:
                unreadable.append(f"metrics {output.location.text} cannot be read as JSON: {error}")
    return found, tuple(unreadable)
