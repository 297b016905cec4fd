"""Two states of an environment in words: which packages came, went, or are of another version. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from mlmake.model.reason import Cause, Reason

_DIGEST = re.compile(r"\b[0-9a-f]{32}\b")
_SHOWN = 3
"""Packages that a reason names; `why` lists all."""

TextOf = Callable[[str], str | None]
"""The text that was kept under a digest."""


def worded(reason: Reason, text_of: TextOf) -> Reason:
    """A reason that an environment changed, with the packages that did, where these are known."""
    if reason.cause is not Cause.CHANGED or not reason.subject.startswith("environment "):
        return reason
    found = list(changes(reason.old, reason.new, text_of))
    if not found:
        return reason
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return replace(reason, cause=Cause.SOFTWARE, old=None, new=", ".join(found[:_SHOWN]) + more)


def changes(old: str | None, new: str | None, text_of: TextOf) -> Iterator[str]:
    """Every change between two values of an environment's fact: `scikit-learn 1.4 -> 1.5`, `joblib 1.4 is new`."""
    before, after = _packages(old, text_of), _packages(new, text_of)
    if before is None or after is None:
        return
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        if was is None:
            yield f"{name} {now} is new"
        elif now is None:
            yield f"{name} {was} is gone"
        elif was != now:
            yield f"{name} {was} -> {now}"


def _packages(value: str | None, text_of: TextOf) -> dict[str, str] | None:
    found = _DIGEST.search(value or "")
    text = text_of(found[0]) if found else None
    if text is None:
        return None
    return {name: version for name, _, version in (line.partition(" ") for line in text.splitlines())}
