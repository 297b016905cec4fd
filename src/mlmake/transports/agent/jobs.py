"""Jobs on a host: a folder each, with all that is known of it, so that any later agent finds it as it is.

jobs/ID/spec.json   what was asked for
        tree/       the working folder
        log         what the job wrote, as it comes
        lock        held by the job's runner as long as that lives
        users       held by every agent whose mlmake wants to know of it
        pid.json    runner and process; its time of last change is the heartbeat
        cancel.json somebody asked it to end
        exit.json   how it ended; written once, whole
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
import uuid
from collections.abc import Iterator
from typing import IO, Any

from . import files
from .runner import RESERVED
from .starter import Starter
from .store import Store

_TRIES = 5


class Jobs:
    """The jobs under a root."""

    def __init__(self, root: str, store: Store, starter: Starter) -> None:
        self._root = root
        self._starter = starter
        self._folder = os.path.join(root, "jobs")
        self._store = store
        self._held: dict[str, IO[bytes] | None] = {}
        os.makedirs(self._folder, exist_ok=True)

    def folder(self, job: str) -> str:
        return os.path.join(self._folder, os.path.basename(job))

    def submit(self, job: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Start a job, or find the one that was started with the same name; or say which contents are not here.

        Raises OSError.
        """
        folder = self.folder(job)
        secrets = spec.pop("secrets", {})
        is_found = self._is_found(folder, spec)
        if not is_found:
            lacking = self._made(folder, spec)
            if lacking:
                return {"missing": lacking}
        self.hold(job)
        if not os.path.exists(os.path.join(folder, "exit.json")):
            self._starter.start(folder, secrets)
        return {"found": is_found}

    def find(self, job: str) -> None:
        """Hold a job that runs or has ended. Raises OSError if there is none."""
        self.hold(job)
        if not (os.path.isdir(self.folder(job)) and self._told(job)["is_found"]):
            raise OSError(errno.ENOENT, "it is not there any more")

    def _made(self, folder: str, spec: dict[str, Any]) -> list[str]:
        """Make a job's folder, or say which contents are not here. Raises OSError.

        Others may take contents out of the store meanwhile, or bring them anew: then it is tried again.
        """
        for left in reversed(range(_TRIES)):
            lacking = self._store.missing([each[1:3] for each in spec["files"]])
            if lacking:
                return lacking
            try:
                self._build(folder, spec)
                return []
            except FileNotFoundError:
                if not left:
                    raise
        return []

    def hold(self, job: str) -> None:
        """Keep others from removing a job; ends with this process at the latest."""
        if job not in self._held:
            with contextlib.suppress(FileNotFoundError):
                self._held[job] = files.lock(self._users(job), is_patient=False, is_shared=True)

    def exit_of(self, job: str) -> dict[str, Any] | None:
        """How a job ended; None if that is not written down."""
        told = files.read_json(os.path.join(self.folder(job), "exit.json"))
        return dict(told) if told else None

    def loss_of(self, job: str) -> dict[str, Any] | None:
        """How a job ended that could not write it down; None if it did or may yet."""
        folder = self.folder(job)
        if not os.path.isdir(folder):
            return {"code": 255, "problem": "the host does not know it any more: somebody has removed its files there"}
        if not self._is_lost(folder):
            return None
        problem = "the host lost it: it was restarted, or killed the job's runner"
        return self.exit_of(job) or {"code": 255, "problem": problem}  # it may have ended between the two looks

    def cancel(self, job: str, grace: float) -> None:
        """Ask a job to end; with no grace, or after it, it is killed."""
        folder = self.folder(job)
        if not files.is_locked(os.path.join(folder, "lock")):
            return
        with contextlib.suppress(OSError):  # where the disk is full the signal alone must do
            files.write_json(os.path.join(folder, "cancel.json"), {"grace": grace})
        told = files.read_json(os.path.join(folder, "pid.json"))
        if told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(told["runner"], signal.SIGTERM)

    def forget(self, job: str) -> None:
        """Remove a job that has ended, unless somebody else still wants to know of it."""
        held = self._held.pop(job, None)
        if held is not None:
            held.close()
        with contextlib.suppress(OSError):
            only = files.lock(self._users(job), is_patient=False)
            if only is not None:
                with only:
                    self._remove(self.folder(job))

    def all(self) -> list[dict[str, Any]]:
        """Every job: its name, its step, the key of its environment, whether it runs, whether who asks for it finds it,
        and its age in seconds."""
        return [self._told(name) for name in sorted(os.listdir(self._folder)) if os.path.isdir(self.folder(name))]

    def clean(self, age: float) -> list[str]:
        """Remove what ended and was not fetched for so many seconds, and what was never whole; the names."""
        gone = [each["job"] for each in self.all() if not each["runs"] and each["age"] >= age]
        for job in gone:
            self.forget(job)
        return [job for job in gone if not os.path.exists(self.folder(job))]

    def _told(self, name: str) -> dict[str, Any]:
        folder = self.folder(name)
        spec = files.read_json(os.path.join(folder, "spec.json")) or {}
        runs = files.is_locked(os.path.join(folder, "lock"))
        told = {"job": name, "runs": runs, "age": 0.0, "step": spec.get("step")}
        told["is_found"] = runs or os.path.exists(os.path.join(folder, "exit.json"))
        told["environment"] = spec.get("environment", "")
        with contextlib.suppress(OSError):
            told["age"] = time.time() - os.stat(folder).st_mtime
        return told

    def _users(self, job: str) -> str:
        return os.path.join(self.folder(job), "users")

    def _is_found(self, folder: str, spec: dict[str, Any]) -> bool:
        """Whether there is such a job; one that is no answer to what is asked is removed."""
        with self._deciding():
            if not os.path.isdir(folder):
                return False
            if not (self._is_lost(folder) or self._is_outdated(folder, spec)):
                return True
            self._remove(folder)
        return False

    def _remove(self, folder: str) -> None:
        """Nobody finds half a job: it goes under another name first."""
        if files.is_locked(os.path.join(folder, "lock")) and not os.path.exists(os.path.join(folder, "exit.json")):
            return
        gone = os.path.join(self._folder, f"gone.{uuid.uuid4().hex}")
        with contextlib.suppress(OSError):
            os.rename(folder, gone)
            files.remove(gone)

    @contextlib.contextmanager
    def _deciding(self) -> Iterator[None]:
        """One agent at a time: what another has just begun must not be taken for what was there before."""
        held = files.lock(os.path.join(self._root, "jobs.lock"), is_patient=True)
        try:
            yield
        finally:
            if held is not None:
                held.close()

    def _build(self, folder: str, spec: dict[str, Any]) -> None:
        """Make a job's folder; it appears whole. Raises OSError."""
        new = f"{folder}.new-{uuid.uuid4().hex[:8]}"
        try:
            os.makedirs(os.path.join(new, "tree"))
            self._fill(os.path.join(new, "tree"), spec)
            files.write_json(os.path.join(new, "spec.json"), dict(spec, files=len(spec["files"])))
            files.write(os.path.join(new, "exit.json.new"), b" " * RESERVED)
            try:
                os.rename(new, folder)
            except OSError:
                if not os.path.isdir(folder):
                    raise  # else another mlmake was quicker, with the same job
        finally:
            files.remove(new)

    def _fill(self, tree: str, spec: dict[str, Any]) -> None:
        is_cloned = self._store.can_clone(os.path.dirname(tree))
        made = set()
        for folder in spec["folders"]:
            os.makedirs(os.path.join(tree, folder), exist_ok=True)
        for path, digest, _, executable in spec["files"]:
            target = os.path.join(tree, path)
            parent = os.path.dirname(target)
            if parent not in made:
                os.makedirs(parent, exist_ok=True)
                made.add(parent)
            self._store.place(digest, executable, target, is_cloned)

    def _is_outdated(self, folder: str, spec: dict[str, Any]) -> bool:
        """It has ended, and a new one is asked for; not by the very question that had started it."""
        if not spec.get("is_new") or not os.path.exists(os.path.join(folder, "exit.json")):
            return False
        return bool((files.read_json(os.path.join(folder, "spec.json")) or {}).get("question") != spec["question"])

    def _is_lost(self, folder: str) -> bool:
        """Its runner had started, and is gone without a word."""
        return (
            os.path.exists(os.path.join(folder, "pid.json"))
            and not os.path.exists(os.path.join(folder, "exit.json"))
            and not files.is_locked(os.path.join(folder, "lock"))
            and not os.path.exists(os.path.join(folder, "exit.json"))  # it may have ended between the looks
        )
