"""Files of datastores on this machine: fetched once per version, kept by content, handed over under their names.

A version that was fetched is an object of the cache; under `.mlmake/inputs/` it stands once more, as a second name of
that object, with the name that a step expects.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import xxhash

from mlmake.errors import StoreError
from mlmake.home import Home
from mlmake.model.data import Input
from mlmake.model.step import Step
from mlmake.state.digests import Digest
from mlmake.state.hashing import hash_file
from mlmake.state.objects import FILES, Objects, clone
from mlmake.state.remotes import RemoteFile, Remotes, url_of
from mlmake.stores.base import Fetch, Progress, Store, unseen


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file of a datastore that a step reads: where it goes below the target, and what it holds if that is known."""

    file: RemoteFile
    url: str
    content: Digest | None


@dataclass(frozen=True, slots=True)
class Need:
    """One path that a step reads and that is not here yet: a file, or a folder with all that is in it."""

    store: Store
    target: str
    is_folder: bool
    files: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Brought:
    """What was learnt in fetching, by url and version of a file; `problem` is why it ended too early."""

    contents: Mapping[tuple[str, str], Digest] = field(default_factory=dict)
    problem: str = ""


def target_of(home: Home, url: str, version: str) -> str:
    """Where a version of a file or folder is handed over."""
    told = xxhash.xxh3_64_hexdigest(f"{url}\0{version}".encode("utf-8", "surrogateescape"))
    return os.path.join(home.inputs, told, url.rstrip("/").rpartition("/")[2] or "data")


def needs(home: Home, remotes: Remotes, step: Step, digest_of: Callable[[str], Digest | None]) -> list[Need]:
    """What a step reads from datastores and what is not here. Raises StoreError."""
    found = (need for each in step.inputs if not each.is_streamed for need in _needs(home, remotes, each))
    return [need for need in found if not _is_here(need, digest_of)]


def _needs(home: Home, remotes: Remotes, each: Input) -> Iterator[Need]:
    for source in each.sources:
        location = source.location
        if not location.is_remote:
            continue
        place = remotes.place(location)
        wanted = []
        for file in remotes.files(location):
            url = url_of(place, file.entry.key)
            wanted.append(Wanted(file, url, remotes.content(url, file.entry.version)))
        if location.is_folder and not location.pattern:
            version = remotes.version(location)
            if version is not None:
                target = target_of(home, url_of(place, place.key), version.digest)
                yield Need(place.store, target, True, tuple(wanted))
            continue
        for one in wanted:
            target = target_of(home, one.url, one.file.entry.version)
            yield Need(place.store, target, False, (one,))


def sweep(home: Home, *, dry_run: bool = False) -> int:
    """Remove what was handed over and is no object of the cache any more; its bytes."""
    freed = 0
    for folder in _folders(home.inputs):
        files = [os.stat(os.path.join(top, name)) for top, _, names in os.walk(folder) for name in names]
        if all(status.st_nlink > 1 for status in files):
            continue
        freed += sum(status.st_size for status in files if status.st_nlink == 1)
        if not dry_run:
            shutil.rmtree(folder, ignore_errors=True)
    return freed


def _folders(folder: str) -> list[str]:
    with suppress(OSError), os.scandir(folder) as found:
        return [entry.path for entry in found if entry.is_dir()]
    return []


def _is_here(need: Need, digest_of: Callable[[str], Digest | None]) -> bool:
    """Whether a path is there with the content that it was fetched with."""
    if not os.path.exists(need.target):
        return False
    for wanted in need.files:
        path = os.path.join(need.target, wanted.file.inner) if need.is_folder else need.target
        stands = digest_of(path)
        if wanted.content is None or stands is None or stands.digest != wanted.content.digest:
            return False
    return True


def bring(objects: Objects, needed: Sequence[Need], progress: Progress = unseen) -> Brought:
    """Fetch what is not here and put it into place; for any thread."""
    learnt: dict[tuple[str, str], Digest] = {}
    try:
        for need in needed:
            known = {(each.url, each.file.entry.version): each.content for each in need.files}
            missing = [each for each in need.files if not _is_kept(objects, each.content)]
            problem = _fetch(objects, need.store, missing, learnt, progress)
            if problem:
                return Brought(learnt, problem)
            _put(objects, need, {**known, **learnt})
    except StoreError as error:
        return Brought(learnt, error.message)
    except OSError as error:
        return Brought(learnt, f"cannot fetch {error.filename or 'it'}: {error.strerror}")
    return Brought(learnt)


def _is_kept(objects: Objects, content: Digest | None) -> bool:
    """Whether the cache has a content; what it has is hashed before it is believed."""
    if content is None or objects.kind_of(content.digest) != FILES:
        return False
    if objects.is_sound(content.digest, FILES):
        return True
    objects.set_aside(content.digest, FILES)
    return False


def _fetch(
    objects: Objects,
    store: Store,
    files: Sequence[Wanted],
    learnt: dict[tuple[str, str], Digest],
    progress: Progress,
) -> str:
    """Fetch files into the cache and note what they hold; why one did not come, or "".

    The names under which they come stay the same, so that after a break what is here need not come again.
    """
    fetches = [Fetch(key=each.file.entry.key, target=_incoming(objects, each), entry=each.file.entry) for each in files]
    failures = store.get_many(fetches, progress) if fetches else []
    for each, fetch, failure in zip(files, fetches, failures, strict=True):
        if failure is None:
            digest = Digest(*hash_file(fetch.target))
            objects.adopt(fetch.target, digest.digest, FILES)
            learnt[each.url, each.file.entry.version] = digest
    return next((str(failure) for failure in failures if failure is not None), "")


def _incoming(objects: Objects, wanted: Wanted) -> str:
    told = xxhash.xxh3_128_hexdigest(f"{wanted.url}\0{wanted.file.entry.version}".encode("utf-8", "surrogateescape"))
    return os.path.join(objects.folder, "fetching", told)


def _put(objects: Objects, need: Need, contents: Mapping[tuple[str, str], Digest | None]) -> None:
    """Make what a step is handed, in one rename."""
    new = f"{need.target}.{uuid.uuid4().hex[:8]}.mlmake-part"
    os.makedirs(os.path.dirname(new), exist_ok=True)
    for wanted in need.files:
        content = contents[wanted.url, wanted.file.entry.version]
        path = os.path.join(new, wanted.file.inner) if need.is_folder else new
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if content is not None:
            _link(objects.path(content.digest), path)
    _clear([need.target])
    os.replace(new, need.target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        clone(source, target)


def _clear(paths: Iterable[str]) -> None:
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path)
        with suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(path)
