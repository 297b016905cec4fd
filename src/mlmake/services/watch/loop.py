"""The watch: waits until something has changed or its time has come, builds, and finds anew what to wait for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from mlmake.engine.recall import Recall
from mlmake.engine.scope import Rows
from mlmake.engine.signals import ENDING, heeded
from mlmake.errors import Interrupted, MlmakeError
from mlmake.model.run import Summary
from mlmake.services.watch.attendant import Attendant
from mlmake.services.watch.ears import Lost
from mlmake.services.watch.face import Face
from mlmake.services.watch.hooks import Messenger
from mlmake.services.watch.interest import Heard
from mlmake.services.watch.options import Key, Message, Options, Stop
from mlmake.services.watch.post import Post
from mlmake.services.watch.quiet import Quiet
from mlmake.services.watch.selection import Selection
from mlmake.services.watch.senses import Senses
from mlmake.services.watch.triggered import Triggered, triggered

_NAP = 30.0
"""Seconds after which the clock on the wall is looked at again: a machine that slept does not know how long."""


@dataclass(slots=True)
class _Work:
    """What is to be built now.

    Attributes:
        rows: what has changed for the selection.
        why: that in words.
        is_due: whether there is something to do for the selection.
        asks: ask for what is not on this machine.
        retries: look at everything, and try again what has failed.
        pipelines: those whose triggers say so, and why.
    """

    rows: Rows = field(default_factory=dict)
    why: Sequence[str] = ()
    is_due: bool = True
    asks: bool = False
    retries: bool = False
    pipelines: Mapping[str, str] = field(default_factory=dict)


class Watch:
    """Keeps a selection up to date, and builds pipelines when their triggers say so, until it is stopped.

    Attributes:
        is_idle: it waits, and has heard of nothing that it has not looked at.
    """

    def __init__(self, selection: Selection, options: Options, face: Face, inbox: SimpleQueue[Message]) -> None:
        self._selection = selection
        self._options = options
        self._face = face
        self._inbox = inbox
        self._quiet = Quiet(options.settle)
        self._triggered: dict[str, Triggered] = {}
        self._stopped: int | None = None
        self.is_idle = False
        self._is_building = False
        self._is_paused = False
        self._wants_all = False
        self._overflowed = False
        self._end_code = Interrupted.exit_code
        self._problems: set[str] = set()
        self._next_look = self._next_ask = 0.0

    def run(self) -> int:
        """Watch until stopped; the exit code. Raises MlmakeError where nothing can be watched at all."""
        with heeded(self._stop, (signal.SIGINT, *ENDING)):
            self._senses = Senses(self._inbox.put, only_looks=self._options.only_looks)
            self._messenger = Messenger(self._options.hooks, self._selection.root, self._face.notice)
            try:
                return self._run()
            except KeyboardInterrupt:  # between two steps of a build
                return self._end_code
            finally:
                self._senses.close()
                self._messenger.close()

    def _run(self) -> int:
        if self._options.once:
            self._selection.look()
        else:
            self._build(_Work(retries=True), is_first=True)
        if self._ends:
            return self._stopped or 0
        self._follow()
        if not self._options.once:
            first = {name: "the watch starts" for name, each in self._triggered.items() if each.starts_at_once}
            self._build(_Work(is_due=False, pipelines=first))
            self._follow()
        self._tell_watching()
        self._next_look = self._next_ask = time.monotonic()
        while not self._ends:
            work = self._await()
            if work is None:
                break
            code = self._build(work)
            self._follow()
            if self._options.once and code is not None:
                return code
        return self._stopped or 0

    # Waiting.

    @property
    def _ends(self) -> bool:
        return self._stopped is not None

    @property
    def _posts(self) -> list[Post]:
        return [self._selection.post, *(each.post for each in self._triggered.values())]

    def _await(self) -> _Work | None:
        """What to build next; None to end."""
        self._face.waiting(self._is_paused)
        while not self._ends:
            now = time.monotonic()
            if not self._is_paused and (work := self._due(now)):
                self.is_idle = False
                return work
            due = self._next(now)
            self.is_idle = self._quiet.due is None
            try:
                self._take(self._inbox.get(timeout=None if due is None else max(0.0, due - now)))
                while True:
                    self._take(self._inbox.get_nowait())
            except Empty:
                continue
        return None

    def _take(self, message: Message) -> None:
        match message:
            case Heard():
                heard = [post.hear(message) for post in self._posts]
                if any(heard):
                    self._quiet.heard(time.monotonic())
            case Lost():
                self._overflowed = self._overflowed or not message.folder
                for post in self._posts:
                    post.is_astray = True
                self._quiet.heard(time.monotonic())
            case Key.REBUILD:
                self._wants_all = True
            case Key.PAUSE:
                self._is_paused = not self._is_paused
                if not self._is_building:
                    self._face.waiting(self._is_paused)
            case Key.QUIT:
                self._stopped = 0
            case Stop():
                self._stopped = Interrupted.exit_code

    def _next(self, now: float) -> float | None:
        """When to look again although nothing is heard."""
        if self._is_paused:
            return None
        times = [self._quiet.due] if self._quiet.due is not None else []
        times += [self._next_look] if self._senses.looks else []
        times += [self._next_ask] if self._asks else []
        clocks = [each.due - time.time() for each in self._triggered.values() if each.due is not None]
        times += [now + max(0.0, min(_NAP, *clocks))] if clocks else []
        return min(times, default=None)

    @property
    def _asks(self) -> bool:
        return self._selection.asks or self._selection.is_lost or any(each.asks for each in self._triggered.values())

    def _due(self, now: float) -> _Work | None:
        if self._wants_all:
            self._wants_all = False
            return _Work(retries=True)
        if late := {name: "its time has come" for name, each in self._triggered.items() if each.is_due(time.time())}:
            return _Work(is_due=False, pipelines=late)
        if self._asks and self._next_ask <= now:
            return self._asked(now)
        if self._senses.looks and self._next_look <= now:
            self._next_look = now + self._options.poll
            if self._senses.look(self._posts) and self._quiet.due is None:
                self._quiet.heard(now)
        if self._quiet.due is not None and self._quiet.due <= now:
            return self._changed(now)
        return None

    def _asked(self, now: float) -> _Work | None:
        """What has changed in datastores that are not on this machine."""
        self._next_ask = now + self._options.every
        others = {}
        for name, each in self._triggered.items():
            try:
                if each.asks and each.has_other_versions(self._selection.project):
                    others[name] = "files have changed in a datastore"
            except MlmakeError as error:
                self._tell(error)
        is_due = self._selection.asks or self._selection.is_lost
        if not is_due and not others:
            return None
        return _Work(is_due=is_due, asks=is_due, retries=self._selection.is_lost, pipelines=others)

    def _changed(self, now: float) -> _Work | None:
        """What has changed on this machine, if it stands still."""
        self._follow()
        changed = [post.changed() for post in self._posts]
        restless = [post.restless(rows, self._options.settle) for post, rows in zip(self._posts, changed, strict=True)]
        is_long = self._quiet.is_long(now)
        if any(restless) and not is_long:
            self._quiet.heard(now)
            return None
        self._quiet.taken()
        if any(restless):
            self._quiet.heard(now)
        own: Rows
        own, *others = [
            {table: [n for n in numbers if (table, n) not in moving] for table, numbers in rows.items()}
            for rows, moving in zip(changed, restless, strict=True)
        ]
        own = self._selection.worthy(own)
        due = {
            name: "files have changed" for name, rows in zip(self._triggered, others, strict=True) if any(rows.values())
        }
        left = self._selection.left()
        if not any(own.values()) and not left and not due:
            return None
        why = self._selection.told(own) or [f"what {step} reads, while it was built" for step in sorted(left)]
        return _Work(own, why, is_due=any(own.values()) or bool(left), pipelines=due)

    # Building.

    def _build(self, work: _Work, *, is_first: bool = False) -> int | None:
        """Build; the exit code, None if there was nothing to do."""
        codes: list[int | None] = []
        try:
            if work.is_due:
                codes.append(self._build_selection(work))
            for name, why in work.pipelines.items():
                if name in self._triggered and not self._ends:
                    codes.append(self._build_pipeline(name, why))
        except Interrupted:
            self._stopped = self._end_code
        except MlmakeError as error:
            if is_first:
                raise
            self._tell(error)
            return error.exit_code
        done = [code for code in codes if code is not None]
        if done:
            self._quiet.heard(time.monotonic())
        return max(done, default=None)

    def _build_selection(self, work: _Work) -> int | None:
        recall = Recall() if self._options.restarts else None
        with self._attended(recall):
            summary = self._selection.build(work.rows, work.why, recall, asks=work.asks, retries=work.retries)
        self._problems.clear()
        return self._told(summary, work.why)

    def _build_pipeline(self, name: str, why: str) -> int | None:
        self._triggered[name].starts(time.time())
        with self._attended(None):
            summary = self._selection.build_pipeline(name, why)
        return self._told(summary, [f"{name}: {why}"])

    def _told(self, summary: Summary | None, why: Sequence[str]) -> int | None:
        """The exit code of a build, once all who want to know have been told."""
        if summary is None:
            return None
        code = summary.exit_code
        if summary.interrupted:
            self._stopped = self._end_code
        else:
            self._messenger.tell(summary, code == 0, why, self._selection.stale())
        return code

    @contextmanager
    def _attended(self, recall: Recall | None) -> Iterator[None]:
        """A build during which a signal ends it, as may a key, and a change its steps."""
        attendant: AbstractContextManager[None] = nullcontext()
        if self._options.restarts or self._options.has_keys:
            attendant = Attendant(self._inbox, self._take_meanwhile, lambda: self._call_off(recall))
        self._is_building = True  # from before the attendant takes messages, or it would swallow a signal's
        with attendant:
            try:
                yield
            finally:
                self._is_building = False

    def _take_meanwhile(self, message: Message) -> float | None:
        if message is Key.QUIT:
            self._end_code = 0
            os.kill(os.getpid(), signal.SIGINT)
            return None
        self._take(message)
        return self._quiet.due if self._options.restarts else None

    def _call_off(self, recall: Recall | None) -> None:
        """Cancel the steps that a change has made pointless."""
        if recall:
            recall.call(self._selection.pointless())

    def _follow(self) -> None:
        """Find out anew what has to be watched, and watch that."""
        if self._overflowed:
            self._overflowed = False
            self._senses.start_over()
        self._triggered = triggered(self._selection.project, self._triggered, time.time())
        if self._senses.follow(self._posts):
            self._quiet.heard(time.monotonic())

    def _tell(self, error: MlmakeError) -> None:
        """Tell an error once, until a build went well."""
        if error.message not in self._problems:
            self._problems.add(error.message)
            self._face.problem(error)

    def _tell_watching(self) -> None:
        heads = [post.look.head for post in self._posts]
        files = sum(len(head["files"]) + len(head["trees"]) for head in heads)
        folders = {folder for post in self._posts for folder, is_full in post.interest.folders.items() if is_full}
        self._face.watching(self._selection.steps, files, len(folders))

    def _stop(self, name: str, _: bool) -> None:
        if self._is_building:
            raise KeyboardInterrupt
        self._inbox.put(Stop(name))
