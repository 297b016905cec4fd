"""Everything from nothing: no outputs, no state, with one job and with two."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, tell
from benchmarks.figures import Figure, Measure
from benchmarks.project import Project
from benchmarks.shapes import Graph
from benchmarks.timing import Broken, Overdue, Sample
from benchmarks.tools import MLMAKE
from benchmarks.tools.base import Tool
from benchmarks.turns import Run

_FORMS = 1_000
"""Of larger projects only one form of a tool is built, to save time."""
_JOBS = {Measure.FIRST_1: 1, Measure.FIRST_2: 2}


def measure(bench: Bench) -> Iterator[Figure]:
    """Every size from small to large, every shape."""
    for graph in bench.profile.graphs(bench.profile.first):
        yield from _graph(bench, graph)


def _graph(bench: Bench, graph: Graph) -> Iterator[Figure]:
    try:
        with bench.project(MLMAKE, graph) as ours:
            figures: list[Figure] = []
            for tool in bench.peers(graph.shape, floors=True):
                if graph.size <= _FORMS or not tool.is_form:
                    tell(f"{graph} from nothing: {tool.name}")
                    figures += _peer(bench, graph, tool, ours)
            for each, jobs in _JOBS.items():
                yield bench.own(figures, each, graph, _run(bench, ours, jobs))
            yield from figures
    except (Broken, Overdue) as problem:
        tell(f"  {problem}")


def _peer(bench: Bench, graph: Graph, tool: Tool, ours: Project) -> Iterator[Figure]:
    try:
        with bench.project(tool, graph) as theirs:
            for each, jobs in _JOBS.items():
                if tool.build(jobs):
                    mine, other = _run(bench, ours, jobs), _run(bench, theirs, jobs)
                    yield bench.compare(each, graph, tool, mine, other)
    except (Broken, Overdue) as problem:
        tell(f"  {problem}")


def _run(bench: Bench, project: Project, jobs: int) -> Run:
    def run() -> Sample:
        project.forget()
        sample = project.run(project.building(jobs), bench.profile.limit)
        if not (project.folder / project.graph.final).exists():
            raise Broken(f"{project.tool.name} did not make {project.graph.final}")
        return sample

    return run
