"""Private places for outputs, and the one rename that makes an output real.

A step writes under `.mlmake/staging/`; when it succeeds each output is renamed into its place, so that a real place
holds the last good output or the new one, whole, and nothing between. A step that is `in_place` writes to the real
paths: there the old output is set aside under `.mlmake/aside/` first. What must be undone if mlmake dies meanwhile
stands in a note in the step's folder: which old outputs wait where, and what lies beside outputs on other disks.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import xxhash

from mlmake.home import Home, file_name
from mlmake.model.data import Output
from mlmake.model.step import Step
from mlmake.state.digests import Digests
from mlmake.state.elsewhere import Away

_OURS = ".mlmake-"
"""How names begin that we give to files beside those of a step."""
_NOTE = f"{_OURS}note.json"
_GATHERED = f"{_OURS}inputs"


@dataclass(frozen=True, slots=True)
class Stage:
    """One attempt's places.

    Attributes:
        folder: private folder of the attempt; for an `in_place` step, where old outputs wait.
        outputs: output name -> absolute path that the step writes to.
        spares: where folders come from that nobody needs any more, and go to.
        away: outputs that stay where they were made, by name.
    """

    home: Home
    step: Step
    run: int
    folder: str
    outputs: Mapping[str, str]
    spares: Spares
    away: Mapping[str, Away] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the private folders, or set the old outputs aside. Raises OSError."""
        self.discard()
        self.spares.take(self.folder)
        paths = [_real(self.outputs[output.name]) for output in self.step.outputs]
        if self.step.spec.in_place:
            self._set_aside(paths)
        for output, path in zip(self.step.outputs, paths, strict=True):
            os.makedirs(path if output.location.is_folder else os.path.dirname(path), exist_ok=True)

    def missing(self) -> list[Output]:
        """Declared outputs that the step did not write; what it delivers itself is not looked for here."""
        return [
            output
            for output in self.step.outputs
            if not self._is_not_here(output) and not os.path.exists(self.outputs[output.name])
        ]

    def _is_not_here(self, output: Output) -> bool:
        return output.name in self.away or self.delivers(output)

    def gathered(self, name: str) -> str:
        """The folder for an input that is handed over as one."""
        return os.path.join(self.folder, _GATHERED, name)

    def delivers(self, output: Output) -> bool:
        """Whether the step writes an output in a datastore itself."""
        return output.location.is_remote and self.step.spec.delivers

    def commit(self, digests: Digests) -> None:
        """Move every output of this machine into its real place.

        All that is slow or likely to fail comes before the first rename.
        """
        if self.step.spec.in_place:
            return
        local = [output for output in self.step.outputs if not output.location.is_remote]
        outputs = [output for output in local if output.name not in self.away]
        places = [(self.outputs[output.name], _real(output.location.path)) for output in outputs]
        for private, real in places:
            _check(private, real)
        sources = self._brought_over(places)
        for output, (private, real), source in zip(outputs, places, sources, strict=True):
            if (_is_folder(source) or _is_folder(real)) and os.path.lexists(real):
                rename(real, self._kept(real))
            rename(source, real)
            digests.moved(private, output.location.path)
        for away in self.away.values():
            remove(_real(away.path))

    def finish(self) -> None:
        """Drop what is private and what is old, after the record is written."""
        _drop_noted(self.folder)
        if not self.spares.keep(self.folder):
            remove(self.folder)

    def discard(self) -> None:
        """Drop what a failed attempt wrote; the last good outputs stand."""
        if os.path.lexists(self.folder):
            _put_back(self.folder)
            _drop(self.folder)

    def _set_aside(self, paths: Sequence[str]) -> None:
        """The note goes first: a kill between it and the renames puts back what had moved and touches nothing else."""
        old = {path: self._kept(path) for path in paths if os.path.lexists(path)}
        self._note(old)
        for path, kept in old.items():
            rename(path, kept)
        self._note(old, new=[path for path in paths if path not in old])

    def _brought_over(self, places: Sequence[tuple[str, str]]) -> list[str]:
        """Where each output waits for its rename: its private place or, on another disk, a copy beside its real one.

        Writes the note first, if a kill on the way could leave something to undo.
        """
        copies = {private: _beside(real, "new") for private, real in places if self._is_elsewhere(real)}
        swapped = [real for private, real in places if _is_folder(private) or _is_folder(real)]
        old = {real: self._kept(real) for real in swapped if os.path.lexists(real)}
        if copies or old:
            self._note(old, leftovers=list(copies.values()))
        for private, copy in copies.items():
            _copy(private, copy)
        return [copies.get(private, private) for private, _ in places]

    def _kept(self, path: str) -> str:
        """Where the old output of a path waits: in our folder, or beside it on another disk."""
        return (
            _beside(path, "old")
            if self._is_elsewhere(path)
            else os.path.join(self.folder, f"{_OURS}old-{_short(path)}")
        )

    def _is_elsewhere(self, path: str) -> bool:
        parent = os.path.dirname(path)
        return os.path.isdir(parent) and os.stat(parent).st_dev != os.stat(self.folder).st_dev

    def _note(self, old: Mapping[str, str], new: Sequence[str] = (), leftovers: Sequence[str] = ()) -> None:
        """Write what a build that dies now leaves to undo.

        `old` is real path -> where its old output waits; `new` are real paths that held nothing; `leftovers` go.
        """
        gone = [*leftovers, *(kept for kept in old.values() if not kept.startswith(self.folder))]
        note = {"step": self.step.id, "run": self.run, "old": dict(old), "new": list(new), "leftovers": gone}
        path = os.path.join(self.folder, _NOTE)
        with open(f"{path}.part", "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(note, file, ensure_ascii=False)
        os.replace(f"{path}.part", path)


class Spares:
    """Empty private folders, renamed from step to step.

    To make and remove one per step costs more than it seems: whenever ext4 makes a file, it passes over the inodes that
    were freed a short while ago (`recently_deleted` in its ialloc.c), so that thousands of short steps get slower and
    slower.
    """

    def __init__(self) -> None:
        self._folders: list[str] = []

    def take(self, folder: str) -> None:
        """Make a folder. Raises OSError."""
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        while self._folders:
            with suppress(FileNotFoundError):  # somebody has cleared the place
                os.rename(self._folders.pop(), folder)
                return
        os.mkdir(folder)

    def keep(self, folder: str) -> bool:
        """Take back a folder that is as it was made; False where a step has left something in it, or locked it."""
        with suppress(OSError):
            if not os.listdir(folder) and os.stat(folder).st_mode & 0o700 == 0o700:
                self._folders.append(folder)
                return True
        return False

    def close(self) -> None:
        """Remove them all."""
        while self._folders:
            remove(self._folders.pop())


def stage(home: Home, step: Step, run: int, spares: Spares) -> Stage:
    """The places for one attempt of a step."""
    if step.spec.in_place:
        folder = os.path.join(home.aside, file_name(step.id))
        return Stage(home, step, run, folder, {o.name: o.location.path for o in step.outputs}, spares)
    folder = os.path.join(home.staging, file_name(step.id))
    return Stage(home, step, run, folder, _private(folder, step.outputs), spares)


def _private(folder: str, outputs: Sequence[Output]) -> dict[str, str]:
    """A place for each output under the name that it will have; in a folder of its own where names would clash."""
    names = {output.name: os.path.basename(output.location.path) for output in outputs}
    if len({name.casefold() for name in names.values()}) == len(names):
        return {output: os.path.join(folder, name) for output, name in names.items()}
    return {output: os.path.join(folder, output, name) for output, name in names.items()}


def recover(home: Home, was_recorded: Callable[[str, int], bool]) -> list[str]:
    """After a build that died: put back what it had set aside, drop what it had staged. Gives steps put back."""
    back = []
    for folder in [*_folders(home.aside), *_folders(home.staging)]:
        note = _read_note(folder)
        if note is not None and not was_recorded(note["step"], note["run"]) and _put_back(folder):
            back.append(str(note["step"]))
        _drop(folder)
    return back


def remove(path: str) -> None:
    """Remove a file or a whole folder, or nothing."""
    if not _is_folder(path):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)
        return
    with suppress(OSError):
        os.rmdir(path)  # most often nothing is in it any more
        return
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):  # a step may have made folders read-only
        _unlock(path)
        shutil.rmtree(path, ignore_errors=True)


def _put_back(folder: str) -> bool:
    """Undo what the folder's note tells, if there is one; doing it twice does no harm. True if an output came back."""
    note = _read_note(folder)
    if note is None:
        return False
    for path in note["new"]:
        remove(path)
    waiting = {path: kept for path, kept in note["old"].items() if os.path.lexists(kept)}
    for path, kept in waiting.items():
        remove(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        rename(kept, path)
    return bool(waiting or note["new"])


def _drop(folder: str) -> None:
    """Remove a step's folder; its note goes after all that it tells of and before the rest."""
    _drop_noted(folder)
    remove(folder)


def _drop_noted(folder: str) -> None:
    note = _read_note(folder)
    if note is not None:
        for path in note["leftovers"]:
            remove(path)
        os.unlink(os.path.join(folder, _NOTE))


def _unlock(folder: str) -> None:
    os.chmod(folder, 0o700)
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            _unlock(entry.path)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _folders(parent: str) -> Iterator[str]:
    if os.path.isdir(parent):
        yield from sorted(entry.path for entry in os.scandir(parent) if entry.is_dir())


def _read_note(folder: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(folder, _NOTE), encoding="utf-8", errors="surrogateescape") as file:
            note: dict[str, Any] = json.load(file)
            return note
    except (OSError, ValueError):
        return None


def _real(path: str) -> str:
    """Where an output goes: a link to a folder is followed, as people link to larger disks; any other is replaced."""
    return os.path.realpath(path) if os.path.islink(path) and os.path.isdir(path) else path


def _check(private: str, real: str) -> None:
    """Raise OSError if an output could not be moved, or would take a folder's place that no step can have made."""
    parent = os.path.dirname(real)
    os.makedirs(parent, exist_ok=True)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), parent)
    if _is_folder(real) and not _is_folder(private):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), real)


def _short(path: str) -> str:
    return xxhash.xxh3_64_hexdigest(os.fsencode(path))


def _beside(path: str, what: str) -> str:
    """A hidden name in the folder of `path`."""
    return os.path.join(os.path.dirname(path), f"{_OURS}{what}-{_short(path)}")


def rename(source: str, target: str) -> None:
    """Rename; across file systems, copy beside the target first, so that the target appears in one rename too."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = _beside(target, "new")
        _copy(source, beside)
        os.replace(beside, target)
        remove(source)


def _copy(source: str, target: str) -> None:
    remove(target)
    if _is_folder(source):
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
