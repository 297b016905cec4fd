"""What a step wrote for a datastore: written here first, then sent, and recorded only when it is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mlmake.engine.staging import Stage
from mlmake.errors import StoreError, StoreMissing
from mlmake.model.data import Output
from mlmake.model.run import Item
from mlmake.model.step import Step
from mlmake.state.digests import Digest, Digests
from mlmake.state.objects import parsed
from mlmake.state.remotes import Place, Remotes, url_of, version_of
from mlmake.stores.base import Entry, Progress, Send, raise_first, unseen

Known = Mapping[tuple[str, str], Digest]
"""(url, version) -> content."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An output that goes to a datastore; `known` is what versions of its files hold, so that equal ones stay."""

    output: Output
    place: Place
    known: Known


@dataclass(frozen=True, slots=True)
class Sent:
    """What is at an output's place now, by version, and what these versions hold."""

    item: Item
    contents: Known


def outgoing(step: Step, remotes: Remotes) -> tuple[Outgoing, ...]:
    """The outputs of a step that go to a datastore. Raises StoreError."""
    remote = [output for output in step.outputs if output.location.is_remote]
    places = [(output, remotes.place(output.location)) for output in remote]
    return tuple(Outgoing(output, place, remotes.contents_below(url_of(place, place.key))) for output, place in places)


def send(each: Outgoing, stage: Stage, item: Item, digests: Digests, progress: Progress = unseen) -> Sent:
    """Send one output, as far as it is not there already; for any thread. Raises StoreError, OSError."""
    path = stage.outputs[each.output.name]
    if stage.delivers(each.output):
        return _delivered(each)
    if os.path.isdir(path):
        return _send_folder(each, path, digests, progress)
    url = url_of(each.place, each.place.key)
    content = Digest(item.digest, item.size)
    entry = each.place.store.stat(each.place.key)
    if entry is None or each.known.get((url, entry.version)) != content:
        entry = each.place.store.put(path, each.place.key, progress)
    return Sent(Item(each.output.location.text, entry.version, entry.size), {(url, entry.version): content})


def _delivered(each: Outgoing) -> Sent:
    """What a step has brought to an output's place by itself. Raises StoreMissing if nothing is there."""
    location, (store, key) = each.output.location, (each.place.store, each.place.key)
    stem = f"{key}/" if key else ""
    entries = store.list(key) if location.is_folder else [found for found in [store.stat(key)] if found]
    if not entries:
        raise StoreMissing(f"{location.text} is not there, though the step ended well")
    if not location.is_folder:
        return Sent(Item(location.text, entries[0].version, entries[0].size), {})
    version = version_of((entry.key[len(stem) :], entry) for entry in entries)
    return Sent(Item(location.text, version.digest, version.size), {})


def _send_folder(each: Outgoing, path: str, digests: Digests, progress: Progress) -> Sent:
    """Make the folder there what it is here: new and changed files go, files that are no more are removed.

    A file that no run is known to have written or read is nobody's to remove: then nothing is done. Raises StoreError.
    """
    store, stem = each.place.store, f"{each.place.key}/" if each.place.key else ""
    files = {
        f"{stem}{member.path}": Digest(member.digest, os.path.getsize(os.path.join(path, member.path)))
        for member in parsed(digests.listing(path))
        if member.digest
    }
    there = {entry.key: entry for entry in store.list(each.place.key)}
    gone = [key for key in there if key not in files]
    if foreign := [key for key in gone if _held(each, there[key]) is None]:
        raise StoreError(
            f"{each.output.location.text} holds {foreign[0]}, which no run of this project wrote: what a step writes "
            "into a folder takes the place of all that is there; move it away, or name another folder"
        )
    stale = [key for key, content in files.items() if _held(each, there.get(key)) != content]
    sends = [Send(source=os.path.join(path, key[len(stem) :]), key=key) for key in stale]
    raise_first(store.put_many(sends, progress))
    if gone:
        store.remove(gone)
    now = [entry for entry in store.list(each.place.key) if entry.key in files]
    version = version_of((entry.key[len(stem) :], entry) for entry in now)
    contents = {(url_of(each.place, entry.key), entry.version): files[entry.key] for entry in now}
    return Sent(Item(each.output.location.text, version.digest, version.size), contents)


def _held(each: Outgoing, entry: Entry | None) -> Digest | None:
    """What a file of the store is known to hold."""
    return each.known.get((url_of(each.place, entry.key), entry.version)) if entry else None
