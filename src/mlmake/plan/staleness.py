"""Is a step fresh? A record, facts and outputs in; reasons out. Pure: no disk, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlmake.model.reason import Cause, Reason, State, Verdict
from mlmake.model.run import Record
from mlmake.state.fingerprint import EDITED, Fingerprint

Contents = Mapping[str, str | None]
"""Output text -> the digest of what is there now, None where nothing is."""


NEVER_RAN = Reason(cause=Cause.NEVER_RAN)


def differences(record: Record | None, fingerprint: Fingerprint, outputs: Contents) -> Iterator[Reason]:
    """Every way in which the world differs from the last good run."""
    if record is None:
        yield NEVER_RAN
        return
    old, new = record.facts, fingerprint.facts
    if old != new or fingerprint.waiting or fingerprint.unbuilt:
        yield from _changed(old, new, fingerprint)
    for item in record.outputs:
        now = outputs.get(item.text)
        if now is None and item.text in outputs:
            yield Reason(cause=Cause.OUTPUT_MISSING, subject=item.text)
        elif now is not None and now != item.digest:
            yield Reason(cause=Cause.OUTPUT_CHANGED, subject=item.text, old=item.digest, new=now)


def _changed(old: Mapping[str, str], new: Mapping[str, str], fingerprint: Fingerprint) -> Iterator[Reason]:
    for name, value in new.items():
        before = old.get(name)
        if before is None:
            yield Reason(cause=Cause.ADDED, subject=name, new=value)
        elif before == EDITED:
            yield Reason(cause=Cause.EDITED, subject=name, new=value)
        elif before != value:
            yield Reason(cause=Cause.CHANGED, subject=name, old=before, new=value)
    # Inputs that are not known yet neither came nor went, unless they were declared since or are so no more. Nor did
    # what is in an environment that is not built: if the record asked for the same, it stands.
    unknown = [f"input {name}" for name in fingerprint.waiting]
    yield from (Reason(cause=Cause.ADDED, subject=name) for name in unknown if name not in old)
    yield from (Reason(cause=Cause.NOT_BUILT, subject=name) for name in fingerprint.unbuilt if name not in old)
    for name in sorted(old.keys() - new.keys() - {*unknown, *fingerprint.unbuilt}):
        yield Reason(cause=Cause.REMOVED, subject=name, old=old[name])


def verdict(
    reasons: tuple[Reason, ...],
    fingerprint: Fingerprint,
    upstream: Mapping[str, State],
    after: Mapping[str, State],
) -> Verdict:
    """What follows from a step's own reasons and the states of the steps before it (by their shown names)."""
    if fingerprint.missing:
        return Verdict(state=State.BLOCKED, reasons=fingerprint.missing)
    blocked = [step for step, state in upstream.items() if state is State.BLOCKED]
    waiting = [step for step, state in upstream.items() if state is not State.FRESH]
    if reasons or waiting:
        blocked += [step for step, state in after.items() if state is State.BLOCKED]
    if blocked:
        causes = tuple(Reason(cause=Cause.UPSTREAM_BLOCKED, subject=step) for step in blocked)
        return Verdict(state=State.BLOCKED, reasons=causes)
    if reasons:
        return Verdict(state=State.STALE, reasons=reasons)
    if waiting:
        causes = tuple(Reason(cause=Cause.UPSTREAM, subject=step) for step in waiting)
        return Verdict(state=State.MAYBE, reasons=causes)
    return Verdict(state=State.FRESH)
