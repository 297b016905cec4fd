"""A project in a folder for tests: write it, build it through the engine's door or through the real command line.

Test modules need names of their own across all folders (no second `test_run.py`), as the folders are no packages.
Import from here with `from projects import Folder`; fixtures stand in `conftest.py`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil  # type: ignore[import-untyped]

from mlmake.config.load import load
from mlmake.engine.look import look
from mlmake.engine.run import Request, build
from mlmake.engine.scope import open_scope
from mlmake.home import Home
from mlmake.model.events import Event, Sink, StepFinished, StepSpared, StepStarted
from mlmake.model.project import FILE, Project
from mlmake.model.run import Outcome, Record, Summary
from mlmake.state.database import connect
from mlmake.state.records import Records

E = TypeVar("E")
T = TypeVar("T")
_HEADER = re.compile(r"^[ \t]*\[([\w-]+)\][ \t]*$", re.MULTILINE)
_OTHERS = ("project", "datastores", "cache")
_WITH_GRACE = """
from mlmake.cli.main import main
from mlmake.engine import dodo, jobs
jobs.GRACE = dodo.GRACE = {grace}
main()
"""
PATIENCE = 60.0
"""Seconds after which a test that waits for something gives up; nothing asserts a time."""


@dataclass
class Built:
    """What a build told: its events in order, and its summary."""

    project: Project
    events: list[Event] = field(default_factory=list)
    summary: Summary = field(default_factory=Summary)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def started(self) -> list[str]:
        """Names of steps in the order in which they started; one that was tried twice stands twice."""
        return [self.project.shown(event.step) for event in self.of(StepStarted)]

    @property
    def spared(self) -> list[str]:
        """Names of steps that were maybe and turned out fresh."""
        return [self.project.shown(event.step) for event in self.of(StepSpared)]

    def ended(self, outcome: Outcome) -> list[str]:
        """Names of steps that ended so, in that order."""
        return [self.project.shown(e.step) for e in self.of(StepFinished) if e.outcome is outcome]

    @property
    def done(self) -> list[str]:
        return self.ended(Outcome.DONE)

    @property
    def restored(self) -> list[str]:
        return self.ended(Outcome.RESTORED)

    @property
    def failed(self) -> list[str]:
        return self.ended(Outcome.FAILED)

    def reasons(self, step: str) -> list[str]:
        """Why a step started, as shown."""
        started = next(e for e in self.of(StepStarted) if self.project.shown(e.step) == step)
        return [str(reason) for reason in started.reasons]

    def message(self, step: str) -> str:
        """What is said of how a step ended."""
        return next(e.message for e in self.of(StepFinished) if self.project.shown(e.step) == step)


class Folder:
    """A project's folder: `write` or `steps` fill it, `build` and `cli` build it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.head = ""
        """What `steps` writes before the steps: `[datastores]` and the like."""
        self.home = Home(str(root))
        self._started: list[subprocess.Popen[str]] = []

    # Files.

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files by their paths in the project, folders included."""
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def toml(self, text: str) -> None:
        """Write pipelines.toml."""
        self.write({FILE: text})

    def steps(self, text: str, **params: object) -> None:
        """Write a pipelines.toml of one pipeline `p`: a line `[NAME]` starts a step; `[datastores]` and the like stay.

        `params` are the pipeline's.
        """
        steps = _HEADER.sub(lambda line: line[0] if line[1] in _OTHERS else f"[pipelines.p.steps.{line[1]}]", text)
        values = "\n".join(f"{name} = {json.dumps(value)}" for name, value in params.items())
        self.toml(f"{self.head}\n{steps}\n[pipelines.p.params]\n{values}\n")

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def has(self, name: str) -> bool:
        return (self.root / name).exists()

    def log(self, name: str) -> list[str]:
        """Lines of a file that steps append to; none if it is not there."""
        return self.read(name).splitlines() if self.has(name) else []

    # Building in this process.

    def load(self, *overrides: str) -> Project:
        return load(str(self.root), overrides)

    def build(
        self,
        *targets: str,
        jobs: int | None = 1,
        keep_going: bool = False,
        dry_run: bool = False,
        force: bool = False,
        overrides: tuple[str, ...] = (),
        sink: Sink | None = None,
    ) -> Built:
        """Build through `mlmake.engine.run.build`; `sink` sees every event too, when it happens.

        One step at a time, so that they end in one order; `jobs=None` is as many as the machine has CPUs.
        """
        scope = open_scope(str(self.root), targets, str(self.root), overrides, narrow=not force)
        built = Built(scope.project)

        def take(event: Event) -> None:
            built.events.append(event)
            if sink is not None:
                sink(event)

        request = Request(
            targets=targets,
            jobs=jobs,
            keep_going=keep_going,
            dry_run=dry_run,
            force=force,
            folder=str(self.root),
        )
        built.summary = build(built.project, request, take, scope)
        return built

    def states(self, *overrides: str) -> dict[str, str]:
        """Every step's state by its name, as `status` judges: fresh, stale, maybe, blocked."""
        project = self.load(*overrides)
        connection = connect(self.home, create=False)
        try:
            verdicts = look(project, connection).assess(project.steps.values())
        finally:
            connection.close()
        return {project.shown(step): verdict.state.value for step, verdict in verdicts.items()}

    def reasons(self, step: str, *overrides: str) -> list[str]:
        """Why a step is not fresh, as shown."""
        project = self.load(*overrides)
        connection = connect(self.home, create=False)
        try:
            verdicts = look(project, connection).assess(project.steps.values())
        finally:
            connection.close()
        return next([str(r) for r in v.reasons] for s, v in verdicts.items() if project.shown(s) == step)

    def record(self, step: str) -> Record | None:
        """The record of a step by its id."""
        connection = connect(self.home, create=False)
        try:
            return Records(connection).get(step)
        finally:
            connection.close()

    def recorded(self) -> dict[str, int]:
        """The ids of steps that have a record, with its run; works while a build runs."""
        if not os.path.exists(self.home.database):
            return {}
        connection = sqlite3.connect(self.home.database, timeout=PATIENCE)
        try:
            return dict(connection.execute("SELECT step, run FROM records"))
        except sqlite3.OperationalError:
            return {}
        finally:
            connection.close()

    # The real command line.

    def cli(
        self, *args: str, env: Mapping[str, str] | None = None, cwd: str | Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `mlmake ARGS` to its end; look at `returncode`, `stdout`, `stderr`."""
        return subprocess.run(
            [sys.executable, "-m", "mlmake", *args],
            cwd=cwd or self.root,
            env={**_environment(), **(env or {})},
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            check=False,
        )

    def json(self, *args: str) -> object:
        """What `mlmake ARGS --json` prints."""
        return json.loads(self.cli(*args, "--json").stdout)

    def start(
        self, *args: str, env: Mapping[str, str] | None = None, grace: float | None = None
    ) -> subprocess.Popen[str]:
        """Start `mlmake ARGS` in a session of its own and go on; the fixture ends it if the test does not.

        `grace` is another time between asking a step to end and killing it.
        """
        program = ["-m", "mlmake"] if grace is None else ["-c", _WITH_GRACE.format(grace=grace)]
        process = subprocess.Popen(
            [sys.executable, *program, *args],
            cwd=self.root,
            env={**_environment(), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End every process that `start` started, and what their builds left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for left in self.processes():
            with suppress(psutil.Error):
                left.kill()

    # Processes.

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to a build of this project: jobs and what they started, and guards."""
        return [each for each in psutil.process_iter() if self._is_ours(each)]

    def guards(self) -> list[psutil.Process]:
        """The guards among them."""
        return [each for each in psutil.process_iter() if self._is_guard(each)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            told = process.environ().get("MLMAKE_BUILD", "")
        except psutil.Error:
            return False
        return told.startswith(f"{self.root}:") or self._is_guard(process)

    def _is_guard(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            words = process.cmdline()
            return len(words) > 2 and words[-2].endswith("guard.py") and words[-1].startswith(f"{self.root}:")
        return False


def until(check: Callable[[], T], what: str = "") -> T:
    """Wait until `check` gives something true, and give that."""
    end = time.monotonic() + PATIENCE
    while not (found := check()):
        assert time.monotonic() < end, f"waited in vain for {what or check}"
        time.sleep(0.01)
    return found


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """This process's environment without what would colour or mark a build."""
    dropped = ("MLMAKE_", "NO_COLOR", "FORCE_COLOR", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
