"""Where a command works: the folder the user stands in, and the project around it, loaded when it is needed."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import click
from click.shell_completion import CompletionItem

from mlmake.errors import MlmakeError
from mlmake.home import Home
from mlmake.model.project import Project


@dataclass(frozen=True, slots=True)
class Place:
    """The absolute folder that the user stands in, or named with -C."""

    folder: str

    @property
    def root(self) -> str:
        """The project's root. Raises UsageError where there is none."""
        from mlmake.config.root import find_root

        return find_root(self.folder)

    @property
    def home(self) -> Home:
        return Home(self.root)

    def project(self, overrides: Sequence[str] = ()) -> Project:
        """The project, with `key=value` overrides. Raises ConfigError, UsageError."""
        from mlmake.config.load import load

        return load(self.root, overrides)

    @contextmanager
    def state(self) -> Iterator[sqlite3.Connection]:
        """The project's state for reading; it never waits for a build."""
        from mlmake.state.database import opened

        with opened(self.home, create=False) as connection:
            yield connection

    def shown(self, path: str) -> str:
        """A path of the project (relative to its root) as seen from where the user stands."""
        return os.path.relpath(os.path.join(self.root, path), self.folder)


def complete_targets(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Pipelines and steps that start so, for the shell."""
    place = ctx.find_object(Place) or Place(os.getcwd())
    try:
        project = place.project()
    except MlmakeError:
        return []
    steps = project.steps.values()
    words = [*project.pipelines, *(step.group for step in steps), *(step.name for step in steps)]
    return [CompletionItem(word) for word in dict.fromkeys(words) if word.startswith(incomplete)]


def mute() -> None:
    """Nobody reads stdout any more: what is still printed goes nowhere instead of failing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
