"""`why`: a step's reasons with what is behind each: old and new value, a diff of the code, the root cause."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlmake.model.project import Project
from mlmake.model.reason import Cause, Reason, State, Verdict
from mlmake.model.run import Item, Record, version_in_words
from mlmake.model.step import Step
from mlmake.plan.identity import identities
from mlmake.plan.packages import changes
from mlmake.state.fingerprint import Fingerprint
from mlmake.state.records import Records
from mlmake.state.remotes import Remotes
from mlmake.state.runs import Runs

_DIFF_LINES = 80
_TEXT_LIMIT = 1 << 18
_SHOWN = (Cause.CHANGED, Cause.ADDED, Cause.REMOVED, Cause.OUTPUT_CHANGED, Cause.SOFTWARE)
"""Causes behind which there is more to see."""
_FILES = ("code", "requirements", "conda", "dockerfile", "package")
"""How the facts begin whose value is the digest of a file of the project."""
_WORDED = ("param", "matrix", "environment", "python", "packages", "image", "kind", "version", "output", "mode")
"""How the facts begin whose value says something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Detail:
    """One reason with lines that show it; a diff's lines start as in a unified diff."""

    reason: Reason
    lines: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        return {**self.reason.as_json(), "lines": list(self.lines)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why a step is in its state.

    Attributes:
        record: the last good run, if there is one.
        roots: for a step that waits, or whose input another step changed: the first causes, by step.
        notes: by what its inputs in datastores are told from other contents.
    """

    step: str
    state: State
    details: tuple[Detail, ...]
    record: Record | None
    roots: Mapping[str, tuple[Reason, ...]]
    notes: tuple[str, ...] = ()


class Explainer:
    """Explains verdicts with what the state remembers."""

    def __init__(self, project: Project, records: Records, runs: Runs, remotes: Remotes) -> None:
        self._project = project
        self._records = records
        self._runs = runs
        self._remotes = remotes

    def explain(self, step: Step, verdicts: Mapping[str, Verdict], fingerprint: Fingerprint) -> Explanation:
        """`verdicts` hold the step and all before it; `fingerprint` is what the step would read now.

        Raises StoreError.
        """
        verdict = verdicts[step.id]
        record = self._records.get(step.id)
        details = tuple(
            Detail(reason=reason, lines=tuple(self._lines(reason, step, record, fingerprint)))
            for reason in verdict.reasons
        )
        return Explanation(
            step=step.id,
            state=verdict.state,
            details=details,
            record=record,
            roots=self._roots(step, verdicts, record),
            notes=tuple(identities(step, self._remotes)),
        )

    def _lines(self, reason: Reason, step: Step, record: Record | None, fingerprint: Fingerprint) -> Iterator[str]:
        space, _, name = reason.subject.partition(" ")
        if record is None or reason.cause not in _SHOWN:
            return
        if reason.cause is Cause.OUTPUT_CHANGED:
            yield f"was {reason.old}, is {reason.new}"
        elif reason.cause is Cause.SOFTWARE:
            yield from self._packages(reason, record, fingerprint)
        elif space in _FILES and reason.cause is Cause.CHANGED:
            yield from self._code_diff(name, reason)
        elif space == "input":
            yield from self._input_changes(step, name, record, fingerprint)
        elif reason.subject == "args":
            yield from (f"was {_command(reason.old)}", f"is  {_command(reason.new)}")
        elif space in _WORDED:
            yield from (f"was {reason.old}",) if reason.old is not None else ()
            yield from (f"is  {reason.new}",) if reason.new is not None else ()

    def _packages(self, reason: Reason, record: Record, fingerprint: Fingerprint) -> Iterator[str]:
        """Every package that changed, where the reason does not name all."""
        old, new = record.facts.get(reason.subject), fingerprint.facts.get(reason.subject)
        found = list(changes(old, new, lambda digest: fingerprint.texts.get(digest) or self._records.text(digest)))
        if ", ".join(found) != reason.new:
            yield from found

    def _code_diff(self, path: str, reason: Reason) -> Iterator[str]:
        old = self._records.text(reason.old or "")
        new = _read(os.path.join(self._project.root, path))
        if old is None or new is None:
            yield f"was {reason.old}, is {reason.new} (no text kept to compare)"
            return
        diff = list(difflib.unified_diff(old.splitlines(), new.splitlines(), "last good run", "now", lineterm="", n=2))
        yield from diff[:_DIFF_LINES]
        if len(diff) > _DIFF_LINES:
            yield f"... and {len(diff) - _DIFF_LINES} more lines"

    def _input_changes(self, step: Step, name: str, record: Record, fingerprint: Fingerprint) -> Iterator[str]:
        old = {item.text: item for item in record.inputs.get(name, ())}
        new = {item.text: item for item in fingerprint.inputs.get(name, ())}
        for text in [*old, *(text for text in new if text not in old)]:
            before, after = old.get(text), new.get(text)
            if before != after:
                yield f"{text}: {_content(before)} -> {_content(after)}{self._maker(text)}"
        if list(old) != list(new) and set(old) == set(new):
            yield "the same files in another order"

    def _maker(self, text: str) -> str:
        for step in self._project.steps.values():
            if any(output.location.text == text for output in step.outputs):
                record = self._records.get(step.id)
                run = f" in run {record.run}" if record else ""
                return f", made by {self._project.shown(step.id)}{run}"
        return ""

    def _roots(
        self, step: Step, verdicts: Mapping[str, Verdict], record: Record | None
    ) -> dict[str, tuple[Reason, ...]]:
        """First causes: of steps before this one that will run, or that have run since this one's last good run."""
        roots: dict[str, tuple[Reason, ...]] = {}
        waiting, seen = list(step.producers), set(step.producers)
        while waiting:
            above = waiting.pop(0)
            reasons = self._reasons_of(above, verdicts, record)
            own = tuple(reason for reason in reasons if not self._comes_from_above(above, reason))
            if own:
                roots[above] = own
            if reasons:
                further = [each for each in self._project.steps[above].producers if each not in seen]
                seen.update(further)
                waiting += further
        return roots

    def _reasons_of(self, step: str, verdicts: Mapping[str, Verdict], record: Record | None) -> tuple[Reason, ...]:
        verdict = verdicts.get(step)
        if verdict is not None and verdict.state is not State.FRESH:
            return verdict.reasons
        last = self._records.get(step)
        if record is None or last is None or last.run <= record.run:
            return ()
        step_run = self._runs.last_of(step)
        return step_run.reasons if step_run else ()

    def _comes_from_above(self, step: str, reason: Reason) -> bool:
        if reason.cause in (Cause.UPSTREAM, Cause.UPSTREAM_BLOCKED, Cause.UPSTREAM_FAILED):
            return True
        space, _, name = reason.subject.partition(" ")
        made = {each.name for each in self._project.steps[step].inputs for s in each.sources if s.producers}
        return space == "input" and name in made


def _content(item: Item | None) -> str:
    return f"{version_in_words(item.digest)} ({item.size} bytes)" if item else "nothing"


def _command(words: str | None) -> str:
    return " ".join(json.loads(words)) if words else "nothing"


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_TEXT_LIMIT)
    except OSError:
        return None
