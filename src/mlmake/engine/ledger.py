"""The ledger: judges a step before it runs, remembers it after. It stands where doit expects its own database."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

from mlmake.engine.inside import carry_over, logged
from mlmake.engine.keeping import bring, keep
from mlmake.engine.sending import Outgoing, Sent, outgoing, send
from mlmake.engine.staging import Stage
from mlmake.errors import StoreError
from mlmake.home import Home
from mlmake.model.data import Value
from mlmake.model.project import Project
from mlmake.model.reason import Reason, Verdict
from mlmake.model.run import Item, Outcome, Record, StepRun
from mlmake.model.step import Step
from mlmake.plan.assess import Assessor
from mlmake.state import snapshot
from mlmake.state.cache import Action, Cache, Kept, key_of, key_of_facts
from mlmake.state.database import empty, transaction
from mlmake.state.digests import Digest, Digests
from mlmake.state.elsewhere import Away, Elsewhere
from mlmake.state.fingerprint import EDITED, Fingerprint, Fingerprints
from mlmake.state.mirror import Brought, Fetcher, Need, needs
from mlmake.state.records import Records
from mlmake.state.runs import Runs
from mlmake.stores.base import Progress, unseen

_METRICS_LIMIT = 1 << 20


class Moment(NamedTuple):
    """A step's facts at one moment, and by fact what `stat` said of the files behind it."""

    fingerprint: Fingerprint
    stamps: Mapping[str, tuple[tuple[int, ...], ...]]


class Lookup(NamedTuple):
    """A step's facts at one moment, their digest, and what the cache has for them."""

    before: Moment
    key: str
    action: Action | None


class Settled(NamedTuple):
    """What there is to tell of a step that was settled: what is remembered of its run, facts that were edited while it
    ran, metrics that could not be read, and the action that is new in the cache."""

    done: StepRun
    edited: tuple[str, ...]
    unreadable: tuple[str, ...]
    action: Action | None


class Contents(NamedTuple):
    """What a step's outputs hold, and what was learnt in looking if that was done apart.

    `kept` is what of it the cache has now, None where it takes nothing; `problem` is why it could not. `sent` is
    what stands in a datastore now, by output.
    """

    outputs: tuple[Item, ...]
    learnt: Digests | None = None
    kept: tuple[Kept, ...] | None = None
    problem: str = ""
    sent: Mapping[str, Sent] = {}


class Ledger:
    """Everything known of a project's steps, and every write of it."""

    def __init__(self, project: Project, connection: sqlite3.Connection, *, whole: bool = True) -> None:
        """With `whole` false, what is known is read step by step: for a few steps of many."""
        self._root = project.root
        self._home = Home(project.root)
        self._connection = connection
        self._elsewhere = Elsewhere(connection, project)
        self.digests = Digests(connection, whole=whole, elsewhere=self._elsewhere)
        self.records = Records(connection, whole=whole)
        self.runs = Runs(connection)
        self.fingerprints = Fingerprints(project, self.digests, connection, self._ran_at)
        self.softwares = self.fingerprints.softwares
        self._remotes = self.fingerprints.remotes
        self.cache = Cache(self._home, project.cache, connection)
        self._fetcher = Fetcher(self.cache.objects)
        self._started: list[StepRun] = []
        self._assessor = Assessor(project, self.records, self.digests, self.fingerprints, self.cache, self.runs)

    def assess(self, steps: Iterable[Step], forced: Collection[str] = ()) -> dict[str, Verdict]:
        """A verdict for each of `steps`, which stand in order."""
        return self._assessor.assess(steps, forced)

    def reasons(self, step: Step) -> tuple[Reason, ...]:
        """Why a step must run now that all before it are settled; () if it is fresh."""
        return self._assessor.reasons(step)

    def be_patient(self) -> None:
        """From now on judge a step as blocked that failed on the facts that it still has."""
        self._assessor.is_patient = True

    def is_held(self, step: Step) -> bool:
        """Whether a step must run but would only fail again, so that a patient build leaves it alone."""
        return self._assessor.is_held(step)

    def facts(self, step: Step) -> Mapping[str, str]:
        """A step's facts as they were last seen; {} if its datastore does not tell."""
        try:
            return self.fingerprints.of(step).facts
        except StoreError:
            return {}

    def look(self, step: Step, target: str = "") -> Moment:
        """A step's facts right now, to be taken just before it starts on a target and when it has ended there."""
        self.fingerprints.look_again()
        fingerprint = self.fingerprints.of(step, target=target)
        stamps = {f"input {name}": tuple(map(self._stamp, paths)) for name, paths in fingerprint.paths.items()}
        code = [name for name in fingerprint.facts if name.startswith("code ")]
        stamps |= {name: (self._stamp(os.path.join(self._root, name.removeprefix("code "))),) for name in code}
        return Moment(fingerprint, stamps)

    def _ran_at(self, step: str) -> str:
        record = self.records.get(step)
        return record.target if record else ""

    def _stamp(self, path: str) -> tuple[int, ...]:
        """What `stat` says of a file, or of all in a folder: an edit that was taken back leaves the same content."""
        try:
            status = os.stat(path)
        except OSError:
            return ()
        if stat.S_ISDIR(status.st_mode):
            return (self.digests.written(path),)
        return status.st_size, status.st_mtime_ns, status.st_ino, status.st_nlink, status.st_ctime_ns

    def started(self, step_run: StepRun) -> None:
        """Remember that a step runs: written with the next that is, or by `save`."""
        self._started.append(step_run)

    def look_up(self, step: Step, *, is_shared: bool) -> Lookup | None:
        """What the cache has for a step whose facts are all known now; None if nobody could have anything."""
        if not self.cache.policy.enabled or (self.cache.actions.is_empty and not is_shared):
            return None
        moment = self.look(step)
        key = key_of(step, moment.fingerprint)
        return Lookup(moment, key, self._assessor.restorable(step, moment.fingerprint)) if key else None

    def adopt(self, step: Step, action: Action) -> Action | None:
        """Take over what the shared cache has for a step; None if it cannot be restored from that."""
        with transaction(self._connection):
            self.cache.actions.put(action)
        return action if self.cache.is_restorable(action, step, self.digests.of) else None

    def pushed(self, keys: Iterable[str]) -> None:
        """Note what the shared cache has now."""
        with transaction(self._connection):
            for key in keys:
                self.cache.actions.pushed(key)

    def hash(self, stage: Stage, restored: Action | None = None) -> Contents:
        """The contents of what a step wrote, still in its private places, and kept now. Raises OSError."""
        self.digests.look_again()
        return self._contents(stage, self.digests, restored)

    def hash_apart(
        self,
        stage: Stage,
        restored: Action | None = None,
        going: Sequence[Outgoing] = (),
        progress: Progress = unseen,
    ) -> Contents:
        """As `hash`, for another thread: nothing that is ours is touched before `settle` takes it over.

        What goes to a datastore is sent. Raises StoreError too.
        """
        with closing(empty()) as connection:
            digests = Digests(connection, whole=False)
            contents = self._contents(stage, digests, restored)
            items = {output.name: item for output, item in zip(stage.step.outputs, contents.outputs, strict=True)}
            sent = {each.output.name: send(each, stage, items[each.output.name], digests, progress) for each in going}
            return contents._replace(learnt=digests, sent=sent)

    # Outputs that are away.

    def strays(self, step: Step, target: str) -> list[Away]:
        """What a step that is to run on a target reads, and neither that nor this machine has."""
        return self._elsewhere.strays(step, target)

    def away(self, paths: Iterable[str]) -> list[Away]:
        """Which outputs are away, of those with these absolute paths."""
        return [away for away in map(self._elsewhere.at, paths) if away]

    def lose(self, step: Step) -> None:
        """Note that what a step reads is no more where it was left."""
        self.came(source.location.path for each in step.inputs for source in each.sources)

    def came(self, paths: Iterable[str]) -> None:
        """Note that outputs are away no more: they are here, or lost."""
        self.digests.look_again()
        snapshot.forget(snapshot.folder_of(self._root))
        with transaction(self._connection):
            self._elsewhere.drop(paths)

    def outgoing(self, step: Step) -> tuple[Outgoing, ...]:
        """What a step writes for a datastore. Raises StoreError."""
        return outgoing(step, self._remotes)

    # Inputs in datastores.

    def needs(self, step: Step) -> list[Need]:
        """What a step reads from datastores and this machine does not have. Raises StoreError."""
        if not any(source.location.is_remote for each in step.inputs for source in each.sources):
            return []
        return needs(self._home, self._remotes, step, self.digests.of)

    def bring(self, needed: Sequence[Need], progress: Progress = unseen) -> Brought:
        """Fetch; for any thread."""
        return self._fetcher.bring(needed, progress)

    def brought(self, brought: Brought) -> None:
        """Remember what was learnt in fetching."""
        self._learn(brought.contents)
        with transaction(self._connection):
            self._save_memo()

    def _learn(self, contents: Mapping[tuple[str, str], Digest]) -> None:
        for (url, version), content in contents.items():
            self._remotes.learn(url, version, content)

    def _contents(self, stage: Stage, digests: Digests, restored: Action | None) -> Contents:
        if restored:
            bring(self.cache, stage, restored)
        items = tuple(_items(stage, digests))
        if restored or stage.away or not self.cache.policy.enabled or not stage.step.spec.reuse:
            return Contents(items)
        try:
            return Contents(items, kept=keep(self.cache, stage, items, digests))
        except OSError as error:
            return Contents(items, problem=f"{error.strerror or error} ({error.filename})")

    def settle(
        self, stage: Stage, before: Moment, contents: Contents, step_run: StepRun, restored: Action | None = None
    ) -> Settled:
        """Make a step's outputs real and remember its run, or that it was spared one, in one transaction."""
        if contents.learnt is not None:
            self.digests.adopt(contents.learnt)
        outputs = contents.outputs
        if contents.sent:
            sent = contents.sent
            names = [output.name for output in stage.step.outputs]
            outputs = tuple(sent[n].item if n in sent else item for n, item in zip(names, outputs, strict=True))
            for each in sent.values():
                self._learn(each.contents)
        stage.commit(self.digests)
        facts, edited = self._facts_read(stage.step, before)
        declared, unreadable = _metrics(stage.step)
        if restored:
            carry_over(self._home, restored.run, restored.step, step_run)
        ended = time.time()
        seconds = restored.seconds if restored else ended - step_run.started
        record = Record(
            step=stage.step.id,
            run=stage.run,
            facts=facts,
            inputs=before.fingerprint.inputs,
            outputs=outputs,
            finished=ended,
            seconds=seconds,
            target=before.fingerprint.target,
        )
        done = replace(
            step_run,
            outcome=Outcome.RESTORED if restored else Outcome.DONE,
            ended=ended,
            exit_code=0,
            facts=facts,
            inputs=dict(before.fingerprint.inputs),
            outputs=outputs,
            metrics={**logged(self._home, stage.run, stage.step.id), **declared},
        )
        with transaction(self._connection):
            self._put_started()
            self.records.put(record)
            self.records.keep_texts({**before.fingerprint.code, **before.fingerprint.sources})
            self.records.keep(before.fingerprint.texts)
            self.runs.put(done)
            self._note_away(stage)
            action = self._put_action(done, contents, seconds, restored)
            self._save_memo()
        stage.finish()
        return Settled(done, edited, unreadable, action)

    def _note_away(self, stage: Stage) -> None:
        self._elsewhere.drop(output.location.path for output in stage.step.outputs)
        for away in stage.away.values():
            self._elsewhere.put(away)
            self.digests.forget(away.path)

    def failed(self, step_run: StepRun) -> None:
        """Remember a run that gave nothing; the last good record stays."""
        step_run = replace(step_run, metrics=logged(self._home, step_run.run, step_run.step))
        with transaction(self._connection):
            self._put_started()
            self.runs.put(step_run)

    def save(self) -> None:
        """Write what was learnt by looking and which steps have started, if there is any."""
        if self.digests.learnt or self._started:
            with transaction(self._connection):
                self._put_started()
                self._save_memo()

    def close(self) -> None:
        """End the connections to datastores."""
        self._remotes.close()

    def _put_action(self, done: StepRun, contents: Contents, seconds: float, restored: Action | None) -> Action | None:
        if restored:
            self.cache.actions.touch(restored.key)
            return None
        key = key_of_facts(done.facts) if contents.kept else ""
        if not key or contents.kept is None:
            return None
        action = Action(key=key, step=done.step, outputs=contents.kept, run=done.run, seconds=seconds, log=done.log)
        policy = self.cache.policy
        self.cache.actions.put(action, owed=bool(policy.remote) and policy.mode.writes)
        return action

    def _put_started(self) -> None:
        for step_run in self._started:
            self.runs.put(step_run)
        self._started.clear()

    def _save_memo(self) -> None:
        self.digests.save()
        self.fingerprints.save()

    def _facts_read(self, step: Step, before: Moment) -> tuple[Mapping[str, str], tuple[str, ...]]:
        """The facts for the record: what was read, or a mark where a file was written under the running step."""
        self.digests.look_again()
        after = self.look(step, before.fingerprint.target)
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
        if stage.delivers(output):
            yield Item(output.location.text, "", 0)  # until `send` has looked at what stands there
            continue
        if output.name in stage.away:
            away = stage.away[output.name]
            yield Item(output.location.text, away.digest, away.size)
            continue
        digest = digests.of(path)
        if digest is None:
            raise FileNotFoundError(errno.ENOENT, "it is no readable file or folder", path)
        yield Item(output.location.text, digest.digest, digest.size)


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
