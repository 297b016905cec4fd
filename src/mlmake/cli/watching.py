"""A watch as lines: what has changed, what is built, how it ended; on a terminal with a line on how things stand."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import click

from mlmake.cli.console import Console
from mlmake.cli.place import Place, mute
from mlmake.errors import MlmakeError
from mlmake.model.events import Sink
from mlmake.model.project import Project
from mlmake.model.run import Summary, counted

_SHOWN = 3
"""Names of files or steps that are told; of more, only the number."""


class Lines:
    """A watch without a terminal: a line per event."""

    def __init__(self, place: Place, *, quiet: bool = False, verbose: bool = False, color: bool | None = None) -> None:
        self._place = place
        self._quiet = quiet
        self._verbose = verbose
        self._color = color

    def watching(self, steps: int, files: int, folders: int) -> None:
        self._say(_watching(steps, files, folders))

    def woken(self, why: Sequence[str]) -> None:
        if why:
            self._say(f"changed: {_some(why)}")

    def building(self, project: Project) -> AbstractContextManager[Sink]:
        return Console(project, self._place, quiet=self._quiet, verbose=self._verbose, color=self._color)

    def built(self, summary: Summary, stale: Sequence[str]) -> None:
        """The build has told it."""

    def waiting(self, is_paused: bool) -> None:
        """Nothing to tell."""

    def problem(self, error: MlmakeError) -> None:
        for line in (*error.message.splitlines(), *([error.hint] if error.hint else [])):
            self._print(f"{click.style('mlmake:', fg='red', bold=True)} {line}")

    def notice(self, text: str) -> None:
        self._print(click.style(text, fg="yellow"))

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._print(line)

    def _print(self, line: str) -> None:
        try:
            click.echo(line, color=self._color)
        except BrokenPipeError:  # the watch goes on without its listener
            mute()


class Screen(Lines):
    """A watch on a terminal: the same, and while it waits a line on how things stand, with the keys."""

    def __init__(self, place: Place, *, verbose: bool = False, color: bool | None = None) -> None:
        from rich.console import Console as RichConsole

        super().__init__(place, verbose=verbose, color=color)
        self._rich = RichConsole(highlight=False)
        self._live: Any = None
        self._watched = ""
        self._last = ""
        self._stale: Sequence[str] = ()

    def watching(self, steps: int, files: int, folders: int) -> None:
        self._watched = _watching(steps, files, folders)

    @contextmanager
    def building(self, project: Project) -> Iterator[Sink]:
        self.close()
        with super().building(project) as sink:
            yield sink

    def built(self, summary: Summary, stale: Sequence[str]) -> None:
        self._last = f"last build at {time.strftime('%H:%M:%S')}: {summary}"
        self._stale = stale

    def waiting(self, is_paused: bool) -> None:
        from rich.live import Live
        from rich.text import Text

        stale = f"stale: {_some(self._stale)}" if self._stale else "all fresh"
        first = "paused: changes wait" if is_paused else self._watched
        lines = [first, f"{stale}; {self._last}" if self._last else stale]
        keys = f"r rebuild   p {'go on' if is_paused else 'pause'}   q quit"
        text = Text("\n".join([*lines, keys]), style="dim")
        if self._live is None:
            self._live = Live(text, console=self._rich, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(text, refresh=True)

    def close(self) -> None:
        """Take the line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, line: str) -> None:
        from rich.text import Text

        if self._live is None:
            super()._print(line)
        else:
            self._live.console.print(Text.from_ansi(line))


def is_screen(quiet: bool) -> bool:
    """Whether somebody looks, and can press keys."""
    if quiet or not sys.stdout.isatty() or not sys.stdin.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


def _watching(steps: int, files: int, folders: int) -> str:
    return f"watching {counted(steps, 'step')}: {counted(files, 'file')} in {counted(folders, 'folder')}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
