"""The graph of selected steps, ready to be drawn: a matrix folded into one node unless it is to be expanded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mlmake.model.project import Project
from mlmake.model.reason import State, Verdict
from mlmake.model.step import Step
from mlmake.plan.draw import Edge, Graph, Node

_WORST_FIRST = (State.BLOCKED, State.STALE, State.RESTORABLE, State.MAYBE, State.FRESH)


def outline(
    project: Project,
    steps: Sequence[Step],
    verdicts: Mapping[str, Verdict],
    *,
    expand: bool = False,
    data: bool = False,
) -> Graph:
    """The graph of `steps`; with `data`, source files that no step makes are nodes too."""
    names = {step.id: _name(project, step, expand) for step in steps}
    members: dict[str, list[Step]] = {}
    for step in steps:
        members.setdefault(names[step.id], []).append(step)
    nodes = [_node(name, group, verdicts) for name, group in members.items()]
    edges = dict.fromkeys(edge for step in steps for edge in _edges(step, names))
    if data:
        sources = dict.fromkeys(edge for step in steps for edge in _sources(step, names))
        nodes += [Node(name=name, is_data=True) for name in dict.fromkeys(edge.source for edge in sources)]
        edges = {**sources, **edges}
    return Graph(title=project.name, nodes=tuple(nodes), edges=tuple(edges))


def _name(project: Project, step: Step, expand: bool) -> str:
    name = project.shown(step.id)
    return name if expand or not step.matrix else name.partition("[")[0]


def _node(name: str, group: Sequence[Step], verdicts: Mapping[str, Verdict]) -> Node:
    states = {verdicts[step.id].state for step in group if step.id in verdicts}
    worst = next((state.value for state in _WORST_FIRST if state in states), "")
    axes = ", ".join(group[0].matrix)
    note = f"{len(group)} steps: {axes}" if len(group) > 1 else ""
    return Node(name=name, note=note, state=worst)


def _edges(step: Step, names: Mapping[str, str]) -> Iterator[Edge]:
    own = names[step.id]
    for each in step.inputs:
        for above in dict.fromkeys(producer for source in each.sources for producer in source.producers):
            if above in names and names[above] != own:
                yield Edge(source=names[above], target=own, label=each.name)
    for above in step.after:
        if above in names and names[above] != own:
            yield Edge(source=names[above], target=own, is_order=True)


def _sources(step: Step, names: Mapping[str, str]) -> Iterator[Edge]:
    for each in step.inputs:
        for source in each.sources:
            if not source.producers:
                yield Edge(source=source.location.text, target=names[step.id], label=each.name)
