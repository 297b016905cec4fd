"""The ledger: judges a step before it runs, remembers it after. It stands where doit expects its own database."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import time
from collections.abc import Collection, Iterable, Mapping
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
from mlmake.state.database import transaction
from mlmake.state.digests import Digests
from mlmake.state.fingerprint import EDITED, Fingerprint, Fingerprints
from mlmake.state.records import Records
from mlmake.state.runs import Runs

_METRICS_LIMIT = 1 << 20


class Look(NamedTuple):
    """A step's facts at one moment, and by fact what `stat` said of the files behind it."""

    fingerprint: Fingerprint
    stamps: Mapping[str, tuple[tuple[int, ...], ...]]


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

    def look(self, step: Step) -> Look:
        """A step's facts right now, to be taken just before it starts and when it has ended."""
        self.fingerprints.look_again()
        fingerprint = self.fingerprints.of(step)
        stamps = {f"input {name}": tuple(map(_stamp, paths)) for name, paths in fingerprint.paths.items()}
        code = [name for name in fingerprint.facts if name.startswith("code ")]
        stamps |= {name: (_stamp(os.path.join(self._root, name.removeprefix("code "))),) for name in code}
        return Look(fingerprint, stamps)

    def started(self, step_run: StepRun) -> None:
        """Write that a step runs."""
        with transaction(self._connection):
            self.runs.put(step_run)

    def hash(self, stage: Stage) -> tuple[Item, ...]:
        """The contents of what a step wrote, still in its private places."""
        items = []
        for output in stage.step.outputs:
            digest = self.digests.of(stage.outputs[output.name])
            if digest is None:
                raise FileNotFoundError(stage.outputs[output.name])
            items.append(Item(output.location.text, digest.digest, digest.size))
        return tuple(items)

    def settle(
        self, stage: Stage, before: Look, outputs: tuple[Item, ...], step_run: StepRun
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Make a step's outputs real and remember its run, in one transaction.

        Gives the facts that were edited while it ran, and the metrics that could not be read.
        """
        stage.commit(self.digests)
        facts, edited = self._facts_read(stage.step, before)
        metrics, unreadable = _metrics(stage.step)
        ended = time.time()
        record = Record(
            step=stage.step.id,
            run=stage.run,
            facts=facts,
            inputs=before.fingerprint.inputs,
            outputs=outputs,
            finished=ended,
            seconds=ended - step_run.started,
        )
        done = replace(
            step_run,
            outcome=Outcome.DONE,
            ended=ended,
            exit_code=0,
            facts=facts,
            outputs=outputs,
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

    def _facts_read(self, step: Step, before: Look) -> tuple[Mapping[str, str], tuple[str, ...]]:
        """The facts for the record: what was read, or a mark where a file was written under the running step."""
        after = self.look(step)
        old, new = before.fingerprint.facts, after.fingerprint.facts
        edited = tuple(
            name
            for name, value in old.items()
            if name.startswith(("input ", "code "))
            and (new.get(name) != value or after.stamps.get(name) != before.stamps.get(name))
        )
        return {**old, **dict.fromkeys(edited, EDITED)}, edited


def _stamp(path: str) -> tuple[int, ...]:
    """What `stat` says of a file, or of all files in a folder: an edit that was taken back leaves the same content.

    The time of the last change of status is left out, as a step may well link its input somewhere; that of folders,
    as one may make a lock beside it.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            inside = [entry for entry in os.scandir(path) if not (entry.is_symlink() and entry.is_dir())]
            return (sum(hash((entry.name, _stamp(entry.path))) for entry in inside),)
        return status.st_size, status.st_mtime_ns, status.st_ino
    except OSError:
        return ()


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
