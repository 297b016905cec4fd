"""A workspace in a project's folder for tests of the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from mlmake.model.submission import Status
from mlmake.sdk import PipelineData, PythonScriptStep, Workspace
from mlmake.sdk.runs import PipelineRun
from mlmake.services.submitted import desk
from mlmake.services.submitted.place import Place
from projects import Folder, kill, until

COPY = """
import argparse, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("--input")
parser.add_argument("--output")
given, rest = parser.parse_known_args()
with open("ran.log", "a") as log:
    log.write(os.environ["MLMAKE_STEP"].partition(".")[2] + " " + " ".join(rest) + "\\n")
text = open(given.input).read() if given.input else ""
open(given.output, "w").write(text + "+" + " ".join(rest))
"""
"""Writes what it reads with its other arguments after it, and notes that it ran."""
GATED = """
import os, sys, time
open(sys.argv[1] + ".started", "w").close()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
"""
"""Runs until there is a file of the name that it is given."""


def workspace(project: Folder, files: Mapping[str, str] | None = None, toml: str = "") -> Workspace:
    """A workspace with the script `join.py`, and other files."""
    project.write({"pipelines.toml": f'[project]\nname = "w"\n{toml}', "join.py": COPY, "gated.py": GATED})
    project.write(files or {})
    return Workspace(root=project.root)


def copy(made: PipelineData, *words: object, reads: object = None, name: str | None = None) -> PythonScriptStep:
    """A step that runs `join.py`."""
    arguments = ["--output", made, *words, *(["--input", reads] if reads is not None else [])]
    return PythonScriptStep(
        "join.py", name=name, arguments=arguments, inputs=[] if reads is None else [reads], outputs=[made]
    )


def ran(project: Folder) -> list[str]:
    """The steps that ran since the last call, with their arguments."""
    found = project.log("ran.log")
    with suppress(FileNotFoundError):
        (project.root / "ran.log").unlink()
    return [line.strip() for line in found]


def worker_of(run: PipelineRun) -> int:
    """The process that works a run off."""
    place = Place(run.workspace.home, run.id)
    return until(lambda: place.signed()[0], "a worker")


def end_all(project: Folder) -> None:
    """End the workers of a project that still work."""
    if not (project.root / ".mlmake").exists():
        return
    with desk.opened(project.home) as submissions:
        for each in submissions.open():
            pid = Place(project.home, each.id).signed()[0]
            submissions.end(each.id, Status.CANCELED)
            if pid:
                with suppress(ProcessLookupError):
                    kill(pid)
