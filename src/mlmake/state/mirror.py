"""Files of datastores on this machine: fetched once per version, kept by content, handed over under their names.

A version that was fetched is an object of the cache; under `.mlmake/inputs/` it stands once more, as a second name of
that object, with the name that a step expects.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from mlmake.errors import StoreError
from mlmake.home import Home
from mlmake.model.data import Input
from mlmake.model.step import Step
from mlmake.state.digests import Digest
from mlmake.state.hashing import hash_file
from mlmake.state.objects import FILES, Objects, link_or_copy
from mlmake.state.remotes import RemoteFile, Remotes, label_of, url_of
from mlmake.stores.base import Fetch, Progress, Store, unseen

_Key = tuple[str, str]
"""URL and version of a file."""
_FETCHING = "fetching"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file of a datastore that a step reads: where it goes below the target, and what it holds if that is known."""

    file: RemoteFile
    url: str
    content: Digest | None

    @property
    def key(self) -> _Key:
        return self.url, self.file.entry.version


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

    contents: Mapping[_Key, Digest] = field(default_factory=dict)
    problem: str = ""


def target_of(home: Home, url: str, version: str) -> str:
    """Where a version of a file or folder is handed over."""
    return os.path.join(home.inputs, label_of(url, version), url.rstrip("/").rpartition("/")[2] or "data")


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


class _Coming:
    """A file that is being fetched: what it holds, or why it did not come, once that is known."""

    def __init__(self) -> None:
        self.told: Digest | str | None = None
        self._is_told = threading.Event()

    def tell(self, told: Digest | str) -> None:
        """The first word counts."""
        if self.told is None:
            self.told = told
            self._is_told.set()

    def wait(self) -> Digest | str:
        self._is_told.wait()
        return self.told if self.told is not None else "it did not come"


class Fetcher:
    """Fetches for one build: a file that several steps wait for comes once. For any thread."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._coming: dict[_Key, _Coming] = {}
        self._lock = threading.Lock()
        self._placing = threading.Lock()

    def bring(self, needed: Sequence[Need], progress: Progress = unseen) -> Brought:
        """Fetch what is not here and put it into place."""
        learnt: dict[_Key, Digest] = {}
        try:
            for need in needed:
                known = {each.key: each.content for each in need.files}
                missing = [each for each in need.files if not _is_kept(self._objects, each.content)]
                problem = self._fetch(need.store, missing, learnt, progress)
                if problem:
                    return Brought(learnt, problem)
                with self._placing:  # another step may read what stands there already
                    if not _stands(self._objects, need, {**known, **learnt}):
                        _put(self._objects, need, {**known, **learnt})
        except StoreError as error:
            return Brought(learnt, error.message)
        except OSError as error:
            return Brought(learnt, f"cannot fetch {error.filename or 'it'}: {error.strerror}")
        return Brought(learnt)

    def _fetch(self, store: Store, files: Sequence[Wanted], learnt: dict[_Key, Digest], progress: Progress) -> str:
        """Fetch files into the cache and note what they hold; why one did not come, or ""."""
        mine, all_coming = self._claimed(files)
        try:
            for (_, coming), told in zip(mine, self._fetched(store, [each for each, _ in mine], progress), strict=True):
                coming.tell(told)
        finally:
            for _, coming in mine:
                coming.tell("it was given up")  # to those that an error left waiting
        for wanted, coming in zip(files, all_coming, strict=True):
            told = coming.wait()
            if isinstance(told, str):
                return told
            learnt[wanted.key] = told
        return ""

    def _claimed(self, files: Sequence[Wanted]) -> tuple[list[tuple[Wanted, _Coming]], list[_Coming]]:
        """What nobody fetches or has fetched, from now on the caller's to fetch; and what comes of all the files."""
        mine, all_coming = [], []
        with self._lock:
            for wanted in files:
                coming = self._coming.get(wanted.key)
                if coming is None or (coming.told is not None and not self._is_there(coming.told)):
                    coming = self._coming[wanted.key] = _Coming()
                    mine.append((wanted, coming))
                all_coming.append(coming)
        return mine, all_coming

    def _is_there(self, told: Digest | str) -> bool:
        return not isinstance(told, str) and self._objects.kind_of(told.digest) == FILES

    def _fetched(self, store: Store, files: Sequence[Wanted], progress: Progress) -> Iterator[Digest | str]:
        """What each file holds, now that it is an object of the cache, or why it did not come.

        The names under which they come stay the same, so that after a break what is here need not come again.
        """
        fetches = [
            Fetch(
                key=each.file.entry.key,
                target=os.path.join(self._objects.folder, _FETCHING, label_of(*each.key)),
                entry=each.file.entry,
            )
            for each in files
        ]
        for fetch, failure in zip(fetches, store.get_many(fetches, progress) if fetches else (), strict=True):
            if failure is not None:
                yield str(failure)
                continue
            digest = Digest(*hash_file(fetch.target))
            self._objects.adopt(fetch.target, digest.digest, FILES)
            yield digest


def _is_kept(objects: Objects, content: Digest | None) -> bool:
    """Whether the cache has a content; what it has is hashed before it is believed."""
    if content is None or objects.kind_of(content.digest) != FILES:
        return False
    if objects.is_sound(content.digest, FILES):
        return True
    objects.set_aside(content.digest, FILES)
    return False


def _stands(objects: Objects, need: Need, contents: Mapping[_Key, Digest | None]) -> bool:
    """Whether a path is there and every file in it is the object that it should be."""
    try:
        return all(
            (content := contents[wanted.key]) is not None
            and os.path.samefile(objects.path(content.digest), os.path.join(need.target, wanted.file.inner).rstrip("/"))
            for wanted in need.files
        )
    except OSError:
        return False


def _put(objects: Objects, need: Need, contents: Mapping[_Key, Digest | None]) -> None:
    """Make what a step is handed, in one rename."""
    new = f"{need.target}.{uuid.uuid4().hex[:8]}.mlmake-part"
    os.makedirs(os.path.dirname(new), exist_ok=True)
    for wanted in need.files:
        content = contents[wanted.key]
        path = os.path.join(new, wanted.file.inner) if need.is_folder else new
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if content is not None:
            link_or_copy(objects.path(content.digest), path)
    if need.is_folder:
        shutil.rmtree(need.target, ignore_errors=True)
    os.replace(new, need.target)
