"""Jobs on a host: a folder each, with all that is known of it, so that any later agent finds it as it is.

jobs/ID/spec.json   what was asked for
        tree/       the working folder
        log         what the job wrote, as it comes
        lock        held by the job's runner as long as that lives
        pid.json    runner and process, with their start times; its time of last change is the heartbeat
        cancel.json somebody asked it to end
        exit.json   how it ended; written once, whole
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

from . import files
from .store import Store, missing

_STARTING = 20.0
"""Seconds that a runner may take to get hold of its lock."""


class Jobs:
    """The jobs under a root."""

    def __init__(self, root: str, store: Store) -> None:
        self._root = root
        self._folder = os.path.join(root, "jobs")
        self._store = store
        os.makedirs(self._folder, exist_ok=True)

    def folder(self, job: str) -> str:
        return os.path.join(self._folder, os.path.basename(job))

    def submit(self, job: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Start a job, or find the one that was started with the same name; or say which contents are not here.

        Raises OSError.
        """
        folder = self.folder(job)
        is_found = os.path.isdir(folder)
        is_over = spec.get("is_new") and os.path.exists(os.path.join(folder, "exit.json"))
        if is_found and (is_over or self._is_lost(folder)):
            files.remove(folder)
            is_found = False
        if not is_found:
            lacking = missing(self._store, [each[1:3] for each in spec["files"]])
            if lacking:
                return {"missing": lacking}
            self._build(folder, spec)
        if not os.path.exists(os.path.join(folder, "exit.json")):
            _start(folder)
        return {"found": is_found}

    def exit_of(self, job: str) -> dict[str, Any] | None:
        """How a job ended; None while it runs."""
        folder = self.folder(job)
        told = files.read_json(os.path.join(folder, "exit.json"))
        if told is None and self._is_lost(folder):
            told = files.read_json(os.path.join(folder, "exit.json"))  # it may have ended between the two looks
            return told or {"code": 255, "problem": "the host lost it: it was restarted, or killed the job's runner"}
        return dict(told) if told else None

    def cancel(self, job: str, grace: float) -> None:
        """Ask a job to end; with no grace, or after it, it is killed."""
        folder = self.folder(job)
        if not files.is_locked(os.path.join(folder, "lock")):
            return
        files.write_json(os.path.join(folder, "cancel.json"), {"grace": grace})
        told = files.read_json(os.path.join(folder, "pid.json"))
        if told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(told["runner"], signal.SIGTERM)

    def forget(self, job: str) -> None:
        """Remove a job that has ended."""
        files.remove(self.folder(job))

    def all(self) -> list[dict[str, Any]]:
        """Every job: its name, what it says of itself, whether it runs, its age in seconds."""
        return [self._told(name) for name in sorted(os.listdir(self._folder))]

    def clean(self, age: float) -> list[str]:
        """Remove what ended and was not fetched for so many seconds, and what was never whole; the names."""
        gone = [each["job"] for each in self.all() if not each["runs"] and each["age"] >= age]
        for job in gone:
            self.forget(job)
        return gone

    def _told(self, name: str) -> dict[str, Any]:
        folder = self.folder(name)
        spec = files.read_json(os.path.join(folder, "spec.json")) or {}
        runs = files.is_locked(os.path.join(folder, "lock"))
        age = time.time() - os.stat(folder).st_mtime
        return {"job": name, "runs": runs, "age": age, "step": spec.get("step", ""), "project": spec.get("project", "")}

    def _build(self, folder: str, spec: dict[str, Any]) -> None:
        """Make a job's folder; it appears whole. Raises OSError."""
        new = f"{folder}.new-{uuid.uuid4().hex[:8]}"
        tree = os.path.join(new, "tree")
        try:
            os.makedirs(tree)
            self._fill(tree, spec)
            files.write_json(os.path.join(new, "spec.json"), dict(spec, files=len(spec["files"])))
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

    def _is_lost(self, folder: str) -> bool:
        """Its runner had started, and is gone without a word."""
        return (
            os.path.exists(os.path.join(folder, "pid.json"))
            and not os.path.exists(os.path.join(folder, "exit.json"))
            and not files.is_locked(os.path.join(folder, "lock"))
        )


def _start(folder: str) -> None:
    """Start a job's runner, in a session of its own so that it outlives us; a second one ends by itself."""
    with open(os.path.join(folder, "runner.log"), "ab") as log:
        subprocess.Popen(
            [sys.executable, "-E", "-s", sys.argv[0], "run", folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    until = time.monotonic() + _STARTING
    while time.monotonic() < until:
        if os.path.exists(os.path.join(folder, "pid.json")) or os.path.exists(os.path.join(folder, "exit.json")):
            return
        time.sleep(0.005)
    with open(os.path.join(folder, "runner.log"), errors="replace") as said:
        raise OSError(0, f"the job's runner does not start: {said.read()[-500:].strip()}")
