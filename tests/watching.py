"""A watch in a thread of this process, with the real observer on real files; it can be asked what it did."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from mlmake.engine.run import Request
from mlmake.errors import MlmakeError
from mlmake.model.events import Event, Sink, StepStarted
from mlmake.model.project import Project
from mlmake.model.run import Summary
from mlmake.services.watch.loop import Watch
from mlmake.services.watch.options import Key, Message, Options, Stop
from mlmake.services.watch.selection import Selection
from projects import Folder, until

SETTLE = 0.05


@dataclass
class Rebuild:
    """One build: why, what started, and how it ended."""

    why: list[str]
    started: list[str] = field(default_factory=list)
    summary: Summary | None = None
    stale: list[str] = field(default_factory=list)


class Witness:
    """A face that remembers."""

    def __init__(self) -> None:
        self.rebuilds: list[Rebuild] = []
        self.silent: list[list[str]] = []
        """Steps that started in each build that was not told of; there should be none."""
        self.problems: list[str] = []
        self.notices: list[str] = []
        self.watched: tuple[int, int, int] | None = None
        self.waits = 0
        self._why: list[str] | None = None

    def watching(self, steps: int, files: int, folders: int) -> None:
        self.watched = steps, files, folders

    def woken(self, why: Sequence[str]) -> None:
        self._why = list(why)

    @contextmanager
    def building(self, project: Project) -> Iterator[Sink]:
        rebuild = Rebuild([])

        def take(event: Event) -> None:
            if self._why is not None:
                rebuild.why, self._why = self._why, None
            if isinstance(event, StepStarted):
                rebuild.started.append(project.shown(event.step))
            if rebuild not in self.rebuilds[-1:]:
                self.rebuilds.append(rebuild)

        yield take
        self._last = rebuild

    def built(self, summary: Summary, stale: Sequence[str]) -> None:
        self._last.summary, self._last.stale = summary, list(stale)

    def waiting(self, is_paused: bool) -> None:
        self.waits += 1

    def problem(self, error: MlmakeError) -> None:
        self.problems.append(error.message)

    def notice(self, text: str) -> None:
        self.notices.append(text)


class Watching:
    """A watch of a project that goes on meanwhile."""

    def __init__(self, project: Folder, targets: tuple[str, ...], options: Options) -> None:
        self.face = Witness()
        self.inbox: SimpleQueue[Message] = SimpleQueue()
        root = str(project.root)
        self.selection = Selection(root, Request(targets=targets, folder=root, jobs=2), self.face)
        self.watch = Watch(self.selection, options, self.face, self.inbox)
        self.code: int | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.code = self.watch.run()
        except BaseException as error:
            self._error = error

    @property
    def rebuilds(self) -> list[Rebuild]:
        return self.face.rebuilds

    def started(self, number: int = -1) -> list[str]:
        """The steps that started in a build."""
        return sorted(self.rebuilds[number].started)

    def until_built(self, count: int) -> Rebuild:
        """Wait until there were so many builds, and the watch waits again; there must be no more."""

        def is_so() -> bool:
            return self.has_ended or (len(self.rebuilds) >= count and self.rebuilds[-1].summary is not None)

        until(is_so, f"build {count}; there were {self.rebuilds}, {self.face.problems}")
        self.rest()
        assert len(self.rebuilds) == count, self.rebuilds
        return self.rebuilds[-1]

    def rest(self) -> None:
        """Wait until nothing is left to be looked at."""
        in_a_row = 0

        def rests() -> bool:  # a message may be on its way between two glances
            nonlocal in_a_row
            in_a_row = in_a_row + 1 if self.inbox.empty() and self.watch.is_idle else 0
            return in_a_row >= 5 or self.has_ended

        until(rests)

    def press(self, key: Key) -> None:
        self.inbox.put(key)

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def end(self) -> int | None:
        """End it, if it has not ended, and give its code."""
        self.inbox.put(Stop("SIGTERM"))
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self.code


@contextmanager
def watching(project: Folder, *targets: str, settle: float = SETTLE, **options: Any) -> Iterator[Watching]:
    """A watch that has done its first build, if it has one to do, and waits."""
    watch = Watching(project, targets, Options(settle=settle, **options))
    try:
        until(lambda: watch.face.waits or watch.has_ended, "the watch")
        watch.rest()
        yield watch
    finally:
        watch.end()


def wait_a_tick() -> None:
    """Let the clock of the file system go on, so that two writes do not carry one time."""
    time.sleep(0.03)
