"""A watch as lines: what has changed, what is built, how it ended."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager

import click

from mlmake.cli.console import Console
from mlmake.cli.place import Place
from mlmake.errors import MlmakeError
from mlmake.model.events import Sink
from mlmake.model.project import Project
from mlmake.model.run import Summary

_SHOWN = 3
"""Changed files that are named; of more, only the number."""


class Lines:
    """A watch without a terminal: a line per event."""

    def __init__(self, place: Place, *, quiet: bool, verbose: bool, color: bool | None) -> None:
        self._place = place
        self._quiet = quiet
        self._verbose = verbose
        self._color = color

    def watching(self, steps: int, files: int, folders: int) -> None:
        self._say(f"watching {counted(steps, 'step')}: {counted(files, 'file')} in {counted(folders, 'folder')}")

    def woken(self, why: Sequence[str]) -> None:
        if why:
            more = f" and {len(why) - _SHOWN} more" if len(why) > _SHOWN else ""
            self._say(f"changed: {', '.join(why[:_SHOWN])}{more}")

    def building(self, project: Project) -> AbstractContextManager[Sink]:
        return Console(project, self._place, quiet=self._quiet, verbose=self._verbose, color=self._color)

    def built(self, summary: Summary, stale: Sequence[str]) -> None:
        """The build has told it."""

    def problem(self, error: MlmakeError) -> None:
        for line in (*error.message.splitlines(), *([error.hint] if error.hint else [])):
            click.echo(f"{click.style('mlmake:', fg='red', bold=True)} {line}", err=True, color=self._colored)

    @property
    def _colored(self) -> bool | None:
        return False if os.environ.get("NO_COLOR") else self._color

    def _say(self, line: str) -> None:
        if not self._quiet:
            click.echo(line, color=self._colored)


def counted(number: int, what: str) -> str:
    """`1 file`, `3 files`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
