"""Records of the shared cache: an action, and a SHA-256 beside the digest of every content that it takes.

Whoever may write to the store may write anything there, and another mlmake may write what we do not know. What is read
here is one whole record of ours for the key that was asked for, or none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from mlmake.state.cache import Action, Kept
from mlmake.state.objects import FILES, FOLDERS

ACTIONS = "actions"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """One content that a record names: a file, or the listing of a folder."""

    digest: str
    kind: str
    size: int
    sha256: str
    executable: bool = False

    @property
    def key(self) -> str:
        return content_key(self.digest, self.kind)


@dataclass(frozen=True, slots=True)
class Record:
    """An action with all contents that bringing it back takes."""

    action: Action
    contents: tuple[Content, ...]


def action_key(key: str) -> str:
    """Where the record of an action is in the store."""
    return f"{ACTIONS}/{key[:2]}/{key[2:]}"


def content_key(digest: str, kind: str) -> str:
    """Where a content is in the store."""
    return f"{kind}/{digest[:2]}/{digest[2:]}"


def encoded(record: Record) -> bytes:
    """A record as it is sent."""
    action = record.action
    told = {
        "format": _FORMAT,
        "key": action.key,
        "step": action.step,
        "seconds": action.seconds,
        "outputs": [[each.name, each.digest, each.size, each.is_kept] for each in action.outputs],
        "contents": [[each.digest, each.kind, each.size, each.sha256, each.executable] for each in record.contents],
    }
    return json.dumps(told).encode()


def decoded(text: bytes, key: str) -> Record | None:
    """A record as it was sent; None if it is of another format or key, cut short, or says what none can say."""
    try:
        record = _read(json.loads(text), key)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return record if record and _is_sane(record) else None


def _read(told: dict[str, object], key: str) -> Record | None:
    if told["format"] != _FORMAT or told["key"] != key:
        return None
    contents = tuple(
        Content(digest=_text(digest), kind=_text(kind), size=_size(size), sha256=_text(sha256), executable=bool(flag))
        for digest, kind, size, sha256, flag in _rows(told["contents"])
    )
    outputs = tuple(
        Kept(_text(name), _text(digest), _size(size), bool(kept)) for name, digest, size, kept in _rows(told["outputs"])
    )
    seconds = told["seconds"]
    if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds < 0:
        return None
    return Record(Action(key=key, step=_text(told["step"]), outputs=outputs, seconds=float(seconds)), contents)


def _is_sane(record: Record) -> bool:
    """Nothing leads out of the cache, and what the outputs take is named."""
    named = {content.digest for content in record.contents}
    return (
        all(_is_digest(each.digest) and each.kind in (FILES, FOLDERS) for each in record.contents)
        and all(_is_digest(each.digest) for each in record.action.outputs)
        and all(each.digest in named for each in record.action.outputs if each.is_kept)
    )


def _is_digest(text: str) -> bool:
    return len(text) == 32 and not text.strip("0123456789abcdef")


def _rows(value: object) -> Iterable[list[object]]:
    if not isinstance(value, list):
        raise TypeError("no rows")
    return value


def _text(value: object) -> str:
    """A text that can be written to the state. Raises TypeError, ValueError."""
    if not isinstance(value, str):
        raise TypeError("no text")
    value.encode()  # half of a surrogate pair is no text
    return value


def _size(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError("no size")
    return value
