"""By what the inputs of a step that lie in datastores are told from other contents."""

from __future__ import annotations

from collections.abc import Iterator

from mlmake.model.step import Step
from mlmake.state.remotes import Remotes
from mlmake.stores.base import Entry


def identities(step: Step, remotes: Remotes) -> Iterator[str]:
    """What inputs in datastores are told by: `input raw is told by the store's etag`. Raises StoreError."""
    groups: dict[str, list[str]] = {}
    for each in step.inputs:
        places = [source.location for source in each.sources if source.location.is_remote]
        entries = [file.entry for place in places for file in remotes.files(place)]
        for words in dict.fromkeys(map(told_by, entries)):
            groups.setdefault(words, []).append(each.name)
    for words, names in groups.items():
        yield f"input {names[0]} is {words}" if len(names) == 1 else f"inputs {', '.join(names)} are {words}"


def told_by(entry: Entry) -> str:
    """What a version is worth: `told by the store's md5`, or by less."""
    kind = entry.version.partition(" ")[0]
    if entry.is_exact:
        return f"told by the store's {kind}"
    if kind == "size":
        return "told by size and time only: this store has no checksum"
    return f"told by a weak {kind} only: this store has no checksum"
