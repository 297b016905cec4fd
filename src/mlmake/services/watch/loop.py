"""The watch: waits until something has changed or its time has come, builds, and finds anew what to wait for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from queue import Empty, SimpleQueue
from typing import TypeAlias

from mlmake.engine.scope import Rows
from mlmake.engine.signals import ENDING, INTERRUPT, heeded
from mlmake.errors import MlmakeError
from mlmake.model.run import Summary
from mlmake.services.watch.ears import Inotify, Lost
from mlmake.services.watch.face import Face
from mlmake.services.watch.interest import Heard
from mlmake.services.watch.quiet import Quiet
from mlmake.services.watch.selection import Selection

INTERRUPTED = 130


class Key(Enum):
    """What a person at a terminal may ask for."""

    REBUILD = "r"
    PAUSE = "p"
    QUIT = "q"


@dataclass(frozen=True, slots=True)
class Stop:
    """A signal asks to end."""

    signal: str


Message: TypeAlias = Heard | Lost | Key | Stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to watch; times in seconds.

    Attributes:
        settle: how long nothing may happen before what has changed is taken.
        poll: how often to look where the file system tells nothing.
        polls_all: look at everything so.
        every: how often datastores that are not on this machine are asked.
        once: end after one build.
    """

    settle: float = 0.2
    poll: float = 2.0
    polls_all: bool = False
    every: float = 60.0
    once: bool = False


@dataclass(slots=True)
class _Work:
    """What is to be built now: what changed rows can reach; with `retries` everything, and what has failed too."""

    rows: Rows = field(default_factory=dict)
    why: Sequence[str] = ()
    asks: bool = False
    retries: bool = False


class Watch:
    """Keeps a selection up to date until it is stopped."""

    def __init__(self, selection: Selection, options: Options, face: Face, inbox: SimpleQueue[Message]) -> None:
        self._selection = selection
        self._options = options
        self._face = face
        self._inbox = inbox
        self._quiet = Quiet(options.settle)
        self._stopped: int | None = None
        self._is_building = False
        self._is_paused = False
        self._wants_all = False
        self._problem = ""

    def run(self) -> int:
        """Watch until stopped; the exit code. Raises MlmakeError where nothing can be watched at all."""
        with heeded(self._stop, (INTERRUPT, *ENDING)):
            self._ears = Inotify(self._inbox.put)
            try:
                return self._run()
            finally:
                self._ears.close()

    def _run(self) -> int:
        if self._options.once:
            self._selection.look()
        else:
            self._build(_Work(retries=True), is_first=True)
        self._listen()
        self._tell_watching()
        while self._stopped is None:
            work = self._await()
            if work is None:
                break
            code = self._build(work)
            self._listen()
            if self._options.once and code is not None:
                return code
        return self._stopped or 0

    # Waiting.

    def _await(self) -> _Work | None:
        """What to build next; None to end."""
        while self._stopped is None:
            now = time.monotonic()
            if not self._is_paused and (work := self._due(now)):
                return work
            due = self._next(now)
            try:
                self._take(self._inbox.get(timeout=None if due is None else max(0.0, due - now)))
                while True:
                    self._take(self._inbox.get_nowait())
            except Empty:
                continue
        return None

    def _take(self, message: Message) -> None:
        now = time.monotonic()
        match message:
            case Heard():
                if self._selection.post.hear(message):
                    self._quiet.heard(now)
            case Lost():
                self._selection.post.is_astray = True
                self._quiet.heard(now)
            case Key.REBUILD:
                self._wants_all = True
            case Key.PAUSE:
                self._is_paused = not self._is_paused
            case Key.QUIT:
                self._stopped = 0
            case Stop():
                self._stopped = INTERRUPTED

    def _next(self, now: float) -> float | None:
        return None if self._is_paused else self._quiet.due

    def _due(self, now: float) -> _Work | None:
        if self._wants_all:
            self._wants_all = False
            return _Work(retries=True)
        if self._quiet.due is not None and self._quiet.due <= now:
            return self._changed(now)
        return None

    def _changed(self, now: float) -> _Work | None:
        """What has changed, if it stands still."""
        post = self._selection.post
        self._listen()
        changed = post.changed()
        restless = [
            (table, number)
            for table, numbers in changed.items()
            for number in numbers
            if post.is_restless((table, number), self._options.settle)
        ]
        if restless and not self._quiet.is_long(now):
            self._quiet.heard(now)
            return None
        self._quiet.taken()
        if restless:
            self._quiet.heard(now)
            changed = {table: [n for n in rows if (table, n) not in restless] for table, rows in changed.items()}
        left = self._selection.left()
        if not any(changed.values()) and not left:
            return None
        return _Work(changed, self._selection.told(changed))

    # Building.

    def _build(self, work: _Work, *, is_first: bool = False) -> int | None:
        """Build; the exit code, None if there was nothing to do."""
        self._is_building = True
        try:
            summary = self._selection.build(work.rows, work.why, asks=work.asks, retries=work.retries)
        except MlmakeError as error:
            if is_first:
                raise
            self._tell(error)
            return error.exit_code
        finally:
            self._is_building = False
        self._problem = ""
        if summary is None:
            return None
        if summary.interrupted:
            self._stopped = INTERRUPTED
        self._quiet.heard(time.monotonic())
        return code_of(summary)

    def _tell(self, error: MlmakeError) -> None:
        """Tell an error once, until a build went well."""
        if error.message != self._problem:
            self._problem = error.message
            self._face.problem(error)

    def _listen(self) -> None:
        post = self._selection.post
        post.refresh()
        fresh, _ = self._ears.listen(post.interest.folders)
        post.suspect(row for folder in fresh for row in post.interest.rows_in(folder))

    def _tell_watching(self) -> None:
        head = self._selection.post.look.head
        files = len(head["files"]) + len(head["trees"])
        folders = sum(self._selection.post.interest.folders.values())
        self._face.watching(self._selection.steps, files, folders)

    def _stop(self, signal: str, _: bool) -> None:
        if self._is_building:
            raise KeyboardInterrupt
        self._inbox.put(Stop(signal))


def code_of(summary: Summary) -> int:
    """The exit code of a build."""
    if summary.interrupted:
        return INTERRUPTED
    if summary.failed or summary.cancelled:
        return 1
    return 2 if summary.blocked else 0
