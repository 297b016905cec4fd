"""Projects that are up to date: nothing to do, what would run, and one input changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.bench import Bench, tell
from benchmarks.figures import Figure, Measure
from benchmarks.project import Project
from benchmarks.shapes import Graph, Shape
from benchmarks.timing import Broken, Overdue, Sample
from benchmarks.tools import MLMAKE
from benchmarks.tools.base import Tool
from benchmarks.tools.mlmake import SHELL
from benchmarks.turns import Run

_EVERY = (Measure.NOTHING, Measure.STATUS, Measure.CHANGE)


@dataclass(frozen=True, slots=True)
class _Doing:
    """A project as one of the measures runs it."""

    bench: Bench
    project: Project

    def run(self, measure: Measure) -> Run | None:
        """None where the tool has no such command."""
        runs: dict[Measure, Callable[[], Sample]] = {Measure.NOTHING: self._nothing, Measure.CHANGE: self._change}
        if self.project.tool.status is not None:
            runs[Measure.STATUS] = self._status
        return runs.get(measure)

    def _nothing(self) -> Sample:
        before = self.project.stamps()
        sample = self.project.run(self.project.building(1), self.bench.profile.limit)
        if self.project.stamps() != before:
            raise Broken(f"{self.project.tool.name} ran steps though nothing had changed")
        return sample

    def _status(self) -> Sample:
        return self.project.run(self.project.tool.status or (), self.bench.profile.limit)

    def _change(self) -> Sample:
        text = self.project.edit(next(self.bench.numbers))
        sample = self.project.run(self.project.building(1), self.bench.profile.limit)
        self.project.check_holds(text)
        return sample


def measure(bench: Bench) -> Iterator[Figure]:
    """Every size from small to large, every shape."""
    for graph in bench.profile.graphs(bench.profile.steps):
        yield from _graph(bench, graph)


def _graph(bench: Bench, graph: Graph) -> Iterator[Figure]:
    tell(f"{graph}: building with mlmake")
    try:
        with bench.ready(MLMAKE, graph) as project:
            ours = _Doing(bench, project)
            figures: list[Figure] = []
            for tool in bench.peers(graph.shape):
                if tool is not SHELL:  # which differs where steps run
                    tell(f"{graph}: {tool.name}")
                    figures += _peer(bench, graph, tool, ours)
            for each in _measures(graph):
                if run := ours.run(each):
                    yield bench.own(figures, each, graph, run)
            yield from figures
    except (Broken, Overdue) as problem:
        tell(f"  {problem}")
        for each in _measures(graph):
            yield _none(each, graph, MLMAKE, str(problem))


def _peer(bench: Bench, graph: Graph, tool: Tool, ours: _Doing) -> Iterator[Figure]:
    refused = {each: bench.refused(each, graph, tool) for each in _measures(graph)}
    if all(refused.values()):
        yield from (_none(each, graph, tool, note) for each, note in refused.items())
        return
    try:
        with bench.ready(tool, graph) as project:
            theirs = _Doing(bench, project)
            for each in _measures(graph):
                mine, other = ours.run(each), theirs.run(each)
                if mine and other:
                    yield bench.compare(each, graph, tool, mine, other)
    except (Broken, Overdue) as problem:
        tell(f"  {problem}")
        for each in _measures(graph):
            yield _none(each, graph, tool, str(problem))


def _measures(graph: Graph) -> tuple[Measure, ...]:
    """In a chain everything follows the one input: that is a build from nothing."""
    return _EVERY[:2] if graph.shape is Shape.CHAIN else _EVERY


def _none(measure: Measure, graph: Graph, tool: Tool, note: str) -> Figure:
    return Figure(measure=measure, case=graph.shape.value, size=graph.size, tool=tool.name, note=note)
