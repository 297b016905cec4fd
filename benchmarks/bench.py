"""What every measure is given: the tools that are here, the limits, the folder, and what has proved too slow."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from benchmarks.figures import Figure, Measure
from benchmarks.pace import Pace
from benchmarks.profiles import Profile
from benchmarks.project import Project
from benchmarks.scratch import remove
from benchmarks.shapes import Graph, Shape
from benchmarks.timing import Broken, Overdue, Timer
from benchmarks.tools import MLMAKE, Tool
from benchmarks.turns import Run, Turns, alone, in_turn


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The surroundings of one run.

    Attributes:
        tools: mlmake first.
        programs: name of a program -> its full path.
        python: the interpreter that runs mlmake.
        jobs: jobs with which projects are built before they are measured.
        pace: what took how long so far; nothing that must take longer than its limit is tried.
    """

    profile: Profile
    timer: Timer
    scratch: Path
    tools: tuple[Tool, ...]
    programs: Mapping[str, str]
    python: str
    jobs: int
    pace: Pace = field(default_factory=Pace)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def peers(self, shape: Shape, *, floors: bool = False) -> list[Tool]:
        """The tools beside mlmake that can express a shape."""
        return [tool for tool in self.tools[1:] if shape in tool.shapes and (floors or not tool.is_floor)]

    @contextmanager
    def project(self, tool: Tool, graph: Graph, links: Mapping[str, Path] | None = None) -> Iterator[Project]:
        """`graph` written for `tool`; the folder goes afterwards. Raises Overdue, Broken."""
        folder = self.scratch / f"project-{next(self.numbers)}"
        folder.mkdir()
        try:
            project = Project(
                tool=tool,
                graph=graph,
                folder=folder,
                timer=self.timer,
                programs=self.programs,
                links=links or {},
            )
            project.write(self.profile.limit)
            yield project
        finally:
            remove(folder)

    @contextmanager
    def ready(self, tool: Tool, graph: Graph, links: Mapping[str, Path] | None = None) -> Iterator[Project]:
        """The same, up to date. Raises Overdue, Broken."""
        key = ("prepare", graph.shape.value, tool.name)
        limit = self.profile.own if tool is MLMAKE else self.profile.build
        if tool is not MLMAKE:
            self.pace.check(key, graph.size, limit)
        with self.project(tool, graph, links) as project:
            began = self.timer.left
            try:
                project.ready(self.jobs, limit)
            except Overdue as problem:
                self.pace.note(key, graph.size, limit + 1)
                raise Broken(f"not measured: building it first takes {problem}") from None
            self.pace.note(key, graph.size, began - self.timer.left)
            yield project

    def refused(self, measure: Measure, graph: Graph, tool: Tool) -> str:
        """Why a tool is too slow for a measure, or ""."""
        try:
            self.pace.check((measure.name, graph.shape.value, tool.name), graph.size, self.profile.limit)
        except Broken as problem:
            return str(problem)
        return ""

    def compare(self, measure: Measure, graph: Graph, tool: Tool, ours: Run, theirs: Run) -> Figure:
        """One peer at one work, in turn with mlmake."""
        key = (measure.name, graph.shape.value, tool.name)
        refused = self.refused(measure, graph, tool)
        turns = Turns(note=refused) if refused else in_turn(ours, theirs, self.profile.repeat, self.profile.pair)
        figure = figure_of(measure, graph.shape.value, graph.size, tool.name, turns)
        if figure.wall is not None:
            self.pace.note(key, graph.size, figure.wall)
        elif turns.note.startswith("over"):
            self.pace.note(key, graph.size, self.profile.limit + 1)
        return figure

    def own(self, figures: list[Figure], measure: Measure, graph: Graph, ours: Run) -> Figure:
        """mlmake's figure: its runs beside every peer, or runs alone where there is no peer."""
        samples = [sample for figure in figures if figure.measure is measure for sample in figure.beside]
        turns = Turns(ours=samples) if samples else alone(ours, self.profile.repeat, self.profile.pair)
        return Figure(
            measure=measure,
            case=graph.shape.value,
            size=graph.size,
            tool=MLMAKE.name,
            samples=tuple(turns.ours),
            note=turns.note,
        )


def figure_of(measure: Measure, case: str, size: int, tool: str, turns: Turns) -> Figure:
    """What two programs in turn come to."""
    return Figure(
        measure=measure,
        case=case,
        size=size,
        tool=tool,
        samples=tuple(turns.theirs),
        beside=tuple(turns.ours),
        note=turns.note,
    )


def tell(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
