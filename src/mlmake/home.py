"""Every path under `.mlmake/`, the folder that holds what mlmake remembers of a project."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import xxhash

FOLDER = ".mlmake"

_UNSAFE = re.compile(r"[^A-Za-z0-9._=,\[\]-]")


def file_name(step: str) -> str:
    """A step's id as a file name: readable, and unique even where characters had to be replaced."""
    safe = _UNSAFE.sub("_", step)
    if safe == step and len(safe) <= 150:
        return safe
    return f"{safe[:120]}-{xxhash.xxh3_64_hexdigest(step.encode())}"


@dataclass(frozen=True, slots=True)
class Home:
    """The state folder of the project at `root` (an absolute path)."""

    root: str

    @property
    def folder(self) -> str:
        return os.path.join(self.root, FOLDER)

    @property
    def database(self) -> str:
        return os.path.join(self.folder, "state.db")

    @property
    def lock(self) -> str:
        return os.path.join(self.folder, "lock")

    @property
    def crashes(self) -> str:
        """Where a bug leaves its traceback with versions."""
        return os.path.join(self.folder, "crashes")

    @property
    def staging(self) -> str:
        """Private places that steps write to; emptied when a build starts and ends."""
        return os.path.join(self.folder, "staging")

    @property
    def cache(self) -> str:
        """What steps wrote, by content."""
        return os.path.join(self.folder, "cache")

    @property
    def inputs(self) -> str:
        """Files of datastores, as steps are handed them."""
        return os.path.join(self.folder, "inputs")

    @property
    def submitted(self) -> str:
        """What was handed over to builds that go on by themselves, a folder each."""
        return os.path.join(self.folder, "submitted")

    @property
    def models(self) -> str:
        """Registered models, by name and version."""
        return os.path.join(self.folder, "models")

    @property
    def inside(self) -> str:
        """The folder with what a step may import of mlmake where it is not installed."""
        return os.path.join(self.folder, "inside")

    def keep(self, run: int, step: str) -> str:
        """What a step's run logged and left, beside its outputs."""
        return os.path.join(self.folder, "kept", str(run), file_name(step))

    @property
    def transfers(self) -> str:
        """What has arrived of transfers that are not done."""
        return os.path.join(self.folder, "transfers")

    @property
    def environments(self) -> str:
        """What steps run in, a folder each, named by what decides how it is made."""
        return os.path.join(self.folder, "environments")

    def target(self, name: str, environment: str = "") -> str:
        """What a host last said of its own software, or of an environment there, by its key."""
        return os.path.join(self.folder, "targets", file_name(name) + (f"@{environment}" if environment else ""))

    @property
    def aside(self) -> str:
        """Old outputs of `in_place` steps while these run."""
        return os.path.join(self.folder, "aside")

    def log(self, run: int, step: str, attempt: int) -> str:
        """The log of one attempt of a step, relative to the root."""
        suffix = f".{attempt}" if attempt > 1 else ""
        return os.path.join(FOLDER, "logs", str(run), f"{file_name(step)}{suffix}.log")

    def ensure(self) -> None:
        """Make the folder, with a `.gitignore` of its own so that no user has to write one."""
        os.makedirs(self.folder, exist_ok=True)
        ignore = os.path.join(self.folder, ".gitignore")
        if not os.path.exists(ignore):
            with open(ignore, "w", encoding="utf-8") as file:
                file.write("*\n")
