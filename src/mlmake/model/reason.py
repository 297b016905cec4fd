"""Why a step is fresh, stale, maybe or blocked: made on the line that decides, shown everywhere as it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_SHORT = ("param ", "matrix ", "environment ", "python", "image")
"""How the names of facts begin whose values are short enough to be told."""


class State(Enum):
    """What a build would do with a step."""

    FRESH = "fresh"  # every fact equals that of the last good run: nothing to do
    STALE = "stale"  # it will run
    MAYBE = "maybe"  # something upstream will run; equal bytes would leave this step fresh
    RESTORABLE = "restorable"  # stale, but its outputs are in the cache
    BLOCKED = "blocked"  # it cannot run: an input is missing, or a step before it cannot run

    @property
    def may_run(self) -> bool:
        """A build has something to do here, though it may turn out to be little."""
        return self in (State.STALE, State.MAYBE, State.RESTORABLE)


class Cause(Enum):
    """The kinds of reason; the value is the sentence, filled from a reason's fields."""

    NEVER_RAN = "never ran"
    CHANGED = "{subject} changed"
    ADDED = "{subject} is new"
    REMOVED = "{subject} is gone"
    OUTPUT_MISSING = "output {subject} is missing"
    OUTPUT_CHANGED = "output {subject} is not what the last run wrote"
    ALWAYS = "reuse = false: it always runs"
    FORCED = "forced"
    SOFTWARE = "{subject}: {new}"
    NOT_BUILT = "{subject} is not built yet"
    EDITED = "{subject} was edited while the last run read it"
    UPSTREAM = "waits for {subject}"
    INPUT_MISSING = "input {subject} is missing: {new}"
    UNREACHABLE = "its datastore cannot be asked: {new}"
    SCRIPT_MISSING = "script {subject} is missing"
    SOURCE_MISSING = "{subject} is missing"
    VARIABLE_MISSING = "environment variable {subject} is not set"
    UPSTREAM_BLOCKED = "step {subject} is blocked"
    UPSTREAM_FAILED = "step {subject} failed"
    HELD = "its last run failed, and nothing that it depends on has changed since"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One reason, about one subject: a fact (`param model.depth`), an output, a step.

    `old` and `new` are the fact's values then and now, where there are any.
    """

    cause: Cause
    subject: str = ""
    old: str | None = None
    new: str | None = None

    def __str__(self) -> str:
        text = self.cause.value.format(subject=self.subject, new=self.new)
        if self.cause is Cause.CHANGED and self.subject.startswith(_SHORT):
            return f"{text}: {self.old} -> {self.new}"
        if self.cause is Cause.CHANGED and self.subject.startswith("output "):
            return f"{self.subject} is now declared as {self.new}, was {self.old}"
        return text

    def as_json(self) -> dict[str, str | None]:
        return {
            "cause": self.cause.name.lower(),
            "subject": self.subject,
            "old": self.old,
            "new": self.new,
            "text": str(self),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A step's state with the reasons for it; a fresh step has none."""

    state: State
    reasons: tuple[Reason, ...] = ()
