"""What a benchmark must know of a tool: the files it reads, and the commands that people type."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.shapes import Graph, Shape

Words = tuple[str, ...]
Files = Mapping[str, str]
"""Path in the project -> content."""

STEPS = frozenset({Shape.WIDE, Shape.LAYERS, Shape.CHAIN})


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One tool, or one way of writing for it. Commands start with the name of a program.

    Attributes:
        program: what must be on the PATH.
        files: the pipeline in the tool's language.
        build: builds with so many jobs; None where the tool builds one step at a time and `jobs` is not 1.
        status: tells what would run; None if there is no such command.
        setup: commands to be run once in a new project.
        prime: commands that take note of outputs that are there; None if only a build can do that.
        state: what to remove, beside the outputs, to start from nothing.
        shapes: what it can express.
        is_floor: no tool, but what the work costs without one; it has no state, so it is timed from nothing only.
    """

    name: str
    program: str
    files: Callable[[Graph], Files]
    build: Callable[[int], Words | None]
    status: Words | None = None
    setup: tuple[Words, ...] = ()
    prime: tuple[Words, ...] | None = None
    state: Words = ()
    shapes: frozenset[Shape] = STEPS
    is_floor: bool = False

    @property
    def is_form(self) -> bool:
        """Whether this is another way of using a tool that stands by itself in the tables."""
        return self.name.endswith(")")

    def found(self, path: str) -> str | None:
        """The program's full path, looked for in the folders of `path`."""
        return shutil.which(self.program, path=path)

    @property
    def version(self) -> Words:
        """The command that prints the version."""
        return (self.program, "--version")
