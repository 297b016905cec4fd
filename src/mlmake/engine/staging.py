"""Private places for outputs, and the one rename that makes an output real.

A step writes under `.mlmake/staging/`; when it succeeds each output is renamed into its place, so that a real place
holds the last good output or the new one, whole, and nothing between. A step that is `in_place` writes to the real
paths: there the old output is set aside under `.mlmake/aside/` first, with a note of what belongs where, and put back
if the step fails, or by the next build if mlmake died.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from mlmake.home import Home, file_name
from mlmake.model.data import Output
from mlmake.model.step import Step
from mlmake.state.digests import Digests

_NOTE = "note.json"


@dataclass(frozen=True, slots=True)
class Stage:
    """One attempt's places.

    Attributes:
        folder: private folder of the attempt; for an `in_place` step, where old outputs wait.
        outputs: output name -> absolute path that the step writes to.
    """

    home: Home
    step: Step
    run: int
    folder: str
    outputs: Mapping[str, str]

    def prepare(self) -> None:
        """Make the private folders, or set the old outputs aside."""
        remove(self.folder)
        os.makedirs(self.folder)
        if self.step.spec.in_place:
            self._set_aside()
        for output in self.step.outputs:
            path = self.outputs[output.name]
            os.makedirs(path if output.location.is_folder else os.path.dirname(path), exist_ok=True)

    def missing(self) -> list[Output]:
        """Declared outputs that the step did not write."""
        return [output for output in self.step.outputs if not os.path.exists(self.outputs[output.name])]

    def commit(self, digests: Digests) -> None:
        """Move every output into its real place."""
        if self.step.spec.in_place:
            return
        swapped = {real: name for name, private, real in self._places() if _is_folder(private) or _is_folder(real)}
        if swapped:
            moves = {real: f"old-{name}" for real, name in swapped.items()}
            _write_note(self.folder, {"step": self.step.id, "run": self.run, "moves": moves})
        for name, private, real in self._places():
            os.makedirs(os.path.dirname(real), exist_ok=True)
            if real in swapped and os.path.lexists(real):
                _rename(real, os.path.join(self.folder, f"old-{name}"))
            _rename(private, real)
            digests.moved(private, real)

    def finish(self) -> None:
        """Drop what is private, after the record is written."""
        remove(self.folder)

    def discard(self) -> None:
        """Drop what a failed attempt wrote; the last good outputs stand."""
        if self.step.spec.in_place:
            _put_back(self.folder)
        remove(self.folder)

    def _set_aside(self) -> None:
        """The note goes first: a kill between it and the renames puts back what had moved and touches nothing else."""
        moves = {output.location.path: output.name for output in self.step.outputs}
        note = {"step": self.step.id, "run": self.run, "moves": moves}
        _write_note(self.folder, note)
        for path, name in moves.items():
            if os.path.lexists(path):
                _rename(path, os.path.join(self.folder, name))
        _write_note(self.folder, {**note, "started": True})

    def _places(self) -> list[tuple[str, str, str]]:
        return [(output.name, self.outputs[output.name], output.location.path) for output in self.step.outputs]


def stage(home: Home, step: Step, run: int) -> Stage:
    """The places for one attempt of a step."""
    if step.spec.in_place:
        folder = os.path.join(home.aside, file_name(step.id))
        return Stage(home, step, run, folder, {o.name: o.location.path for o in step.outputs})
    folder = os.path.join(home.staging, file_name(step.id))
    private = {o.name: os.path.join(folder, o.name, os.path.basename(o.location.path)) for o in step.outputs}
    return Stage(home, step, run, folder, private)


def recover(home: Home, was_recorded: Callable[[str, int], bool]) -> list[str]:
    """After a build that died: put back what it had set aside, drop what it had staged. Gives steps put back."""
    back = []
    for folder in [*_folders(home.aside), *_folders(home.staging)]:
        note = _read_note(folder)
        if note is not None and not was_recorded(str(note["step"]), int(str(note["run"]))):
            _put_back(folder)
            back.append(str(note["step"]))
        remove(folder)
    return back


def remove(path: str) -> None:
    """Remove a file or a whole folder, or nothing."""
    if _is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _put_back(folder: str) -> None:
    note = _read_note(folder)
    if note is None:
        return
    moves = note["moves"]
    assert isinstance(moves, dict)
    for path, name in moves.items():
        kept = os.path.join(folder, name)
        if os.path.lexists(kept):
            remove(path)
            _rename(kept, path)
        elif note.get("started"):
            remove(path)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _folders(parent: str) -> Iterator[str]:
    if os.path.isdir(parent):
        yield from sorted(entry.path for entry in os.scandir(parent) if entry.is_dir())


def _write_note(folder: str, note: Mapping[str, object]) -> None:
    path = os.path.join(folder, _NOTE)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(note, file)
    os.replace(f"{path}.new", path)


def _read_note(folder: str) -> dict[str, object] | None:
    try:
        with open(os.path.join(folder, _NOTE), encoding="utf-8") as file:
            note: dict[str, object] = json.load(file)
            return note
    except (OSError, ValueError):
        return None


def _rename(source: str, target: str) -> None:
    """Rename; across file systems, copy beside the target first, so that the target appears in one rename too."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.mlmake")
        remove(beside)
        if _is_folder(source):
            shutil.copytree(source, beside, symlinks=True)
        else:
            shutil.copy2(source, beside, follow_symlinks=False)
        os.replace(beside, target)
        remove(source)
