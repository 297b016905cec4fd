"""Every selected step judged at once, each after those before it: what `status` lists and `build` starts from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial

from mlmake.model.project import Project
from mlmake.model.reason import Cause, Reason, State, Verdict
from mlmake.model.run import Outcome, Record
from mlmake.model.step import Step
from mlmake.plan.packages import worded
from mlmake.plan.staleness import NEVER_RAN, Contents, differences, verdict
from mlmake.state.cache import Action, Cache
from mlmake.state.digests import Digest, Digests
from mlmake.state.fingerprint import Fingerprint, Fingerprints
from mlmake.state.records import Records
from mlmake.state.runs import Runs

FRESH = Verdict(state=State.FRESH)


class Assessor:
    """Judges steps by the state and by what is on disk.

    Attributes:
        is_patient: a step that has failed is not tried again while its facts are those that it failed on.
    """

    def __init__(
        self,
        project: Project,
        records: Records,
        digests: Digests,
        fingerprints: Fingerprints,
        cache: Cache,
        runs: Runs,
    ) -> None:
        self._project = project
        self._cache = cache
        self._records = records
        self._digests = digests
        self._fingerprints = fingerprints
        self._runs = runs
        self.is_patient = False

    def assess(self, steps: Iterable[Step], forced: Collection[str] = ()) -> dict[str, Verdict]:
        """A verdict per step; `steps` in an order in which each stands after all before it."""
        verdicts: dict[str, Verdict] = {}
        foreseen: set[str] = set()

        def is_final(step: str) -> bool:
            return verdicts.get(step, FRESH).state is State.FRESH

        for step in steps:
            judged = self._judge(step, step.id in forced, is_final, verdicts)
            if judged.state in (State.STALE, State.MAYBE) and step.id not in forced:
                judged = self._foresee(step, judged, verdicts, foreseen)
            verdicts[step.id] = judged
        self._fingerprints.expect_nothing()
        return verdicts

    def _foresee(self, step: Step, judged: Verdict, verdicts: Mapping[str, Verdict], foreseen: set[str]) -> Verdict:
        """Restorable, if the cache has what a step would write; what it reads may be restorable too.

        `foreseen` are steps whose outputs are known beforehand: restorable ones, and those that will be fresh then.
        """
        is_known = all(verdicts.get(each, FRESH).state is State.FRESH or each in foreseen for each in step.upstream)
        if self._cache.is_empty or not is_known:
            return judged
        fingerprint = self._fingerprints.of(step)
        if not self.own_reasons(step, fingerprint):
            foreseen.add(step.id)
            return judged
        action = self.restorable(step, fingerprint)
        if action is None:
            return judged
        if any(output.location.is_remote for output in step.outputs):
            return replace(judged, state=State.RESTORABLE)  # which version it will get there, nobody knows
        foreseen.add(step.id)
        places = {output.name: output.location.path for output in step.outputs}
        for kept in action.outputs:
            self._fingerprints.expect(places[kept.name], Digest(kept.digest, kept.size))
        return replace(judged, state=State.RESTORABLE)

    def reasons(self, step: Step) -> tuple[Reason, ...]:
        """Why a step must run, now that all before it are settled; () if it is fresh."""
        if self._records.get(step.id) is None:
            return (NEVER_RAN,)  # its facts are looked at when it starts
        return self.own_reasons(step, self._fingerprints.of(step))

    def is_held(self, step: Step) -> bool:
        """Whether a step that must run would only fail again; to be asked when all before it are settled."""
        return self.is_patient and self._would_fail(step, self._fingerprints.of(step))

    def _would_fail(self, step: Step, fingerprint: Fingerprint) -> bool:
        last = self._runs.last_of(step.id) if self.is_patient else None
        return last is not None and last.outcome is Outcome.FAILED and last.facts == fingerprint.facts

    def own_reasons(self, step: Step, fingerprint: Fingerprint) -> tuple[Reason, ...]:
        """The reasons that lie in the step itself."""
        record = self._records.get(step.id)
        found = tuple(
            worded(reason, partial(self._text, fingerprint))
            for reason in differences(record, fingerprint, self.contents(step, record))
        )
        if not found and not step.spec.reuse:
            return (Reason(cause=Cause.ALWAYS),)
        return found

    def _text(self, fingerprint: Fingerprint, digest: str) -> str | None:
        """What a fact of a step stands for, now or in its record."""
        return fingerprint.texts.get(digest) or self._records.text(digest)

    def contents(self, step: Step, record: Record | None) -> Contents:
        """What stands where the step's outputs belong; empty where it never ran, as nobody asks."""
        if record is None:
            return {}
        remotes = self._fingerprints.remotes
        found = (
            (location, remotes.version(location) if location.is_remote else self._digests.of(location.path))
            for location in (output.location for output in step.outputs)
        )
        return {location.text: digest.digest if digest else None for location, digest in found}

    def _judge(
        self, step: Step, forced: bool, is_final: Callable[[str], bool], verdicts: dict[str, Verdict]
    ) -> Verdict:
        fingerprint = self._fingerprints.of(step, is_final)
        reasons = self.own_reasons(step, fingerprint)
        if forced:
            reasons = (Reason(cause=Cause.FORCED), *reasons)
        if not reasons and not fingerprint.pending and not fingerprint.missing:
            return FRESH
        if not forced and not fingerprint.missing and self._would_fail(step, fingerprint):
            return Verdict(state=State.BLOCKED, reasons=(Reason(cause=Cause.HELD),))
        shown = self._project.shown
        upstream = {shown(each): verdicts.get(each, FRESH).state for each in step.producers}
        after = {shown(each): verdicts.get(each, FRESH).state for each in step.after}
        return verdict(reasons, fingerprint, upstream, after)

    def restorable(self, step: Step, fingerprint: Fingerprint) -> Action | None:
        """What the cache has for the facts of a step."""
        return self._cache.find(step, fingerprint, self._digests.of)
