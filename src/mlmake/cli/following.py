"""What running steps write, line by line, between the lines that a console prints of them."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from types import TracebackType

from mlmake.cli.console import Console
from mlmake.model.events import Event, StepFinished, StepStarted
from mlmake.model.project import Project

_POLL = 0.1


@dataclass(slots=True)
class _Log:
    """A log and how far it was printed."""

    path: str
    offset: int = 0

    def lines(self, *, is_over: bool) -> list[str]:
        """What is new: whole lines, and at the end what has none."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                said = file.read()
        except OSError:
            return []
        whole = said if is_over else said[: said.rfind(b"\n") + 1]
        self.offset += len(whole)
        return whole.decode("utf-8", "replace").splitlines()


class Following:
    """A sink for events, around a console. Use it as a context, inside that of the console."""

    def __init__(self, console: Console, project: Project) -> None:
        self._console = console
        self._project = project
        self._logs: dict[str, _Log] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mlmake-follow", daemon=True)

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, StepFinished) and (log := self._logs.pop(event.step, None)):
                self._print(event.step, log, is_over=True)
            if isinstance(event, StepStarted):
                self._logs[event.step] = _Log(os.path.join(self._project.root, event.log))
            self._console(event)

    def _follow(self) -> None:
        while not self._over.wait(_POLL):
            with self._lock:
                for step, log in self._logs.items():
                    self._print(step, log, is_over=False)

    def _print(self, step: str, log: _Log, *, is_over: bool) -> None:
        for line in log.lines(is_over=is_over):
            self._console.line(f"{self._project.shown(step)} | {line}")
