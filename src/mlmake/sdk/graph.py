"""A pipeline as nodes and edges, to look at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlmake.errors import UnknownName, WrongValue
from mlmake.model.project import Project
from mlmake.model.step import Step
from mlmake.sdk.step import PipelineStep, Port

After = Mapping[PipelineStep, Iterable[PipelineStep]]


@dataclass(frozen=True, slots=True)
class Node:
    """A step, or data that no step makes. `node_id` stays the same as long as its name does."""

    name: str
    node_id: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    step: PipelineStep | None = None

    @classmethod
    def of_step(cls, step: PipelineStep, name: str) -> Node:
        return cls(step.name, _id(name), tuple(step.ports), tuple(step.made), step)

    @classmethod
    def of_data(cls, port: Port) -> Node:
        return cls.of_text(", ".join(port.data.texts()) if hasattr(port.data, "texts") else port.name, port.name)

    @classmethod
    def of_text(cls, text: str, name: str) -> Node:
        return cls(name, _id(f"data {text}"), (), (name,))

    @classmethod
    def of_submitted(cls, step: Step, name: str) -> Node:
        return cls(name, _id(step.name), tuple(x.name for x in step.inputs), tuple(x.name for x in step.outputs))


@dataclass(frozen=True, slots=True)
class Edge:
    """What goes from one node to another: `data`, the name of the input; "" where only the order counts."""

    source_node: Node
    dest_node: Node
    data: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """The nodes of a pipeline's steps and of the data that none of them makes, and the edges between them."""

    module_nodes: tuple[Node, ...]
    datasource_nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, steps: Sequence[PipelineStep], names: Mapping[PipelineStep, str], after: After) -> Graph:
        """The graph of steps that have these names."""
        nodes = {step: Node.of_step(step, names[step]) for step in steps}
        data: dict[str, Node] = {}
        edges = []
        for step in steps:
            for port in step.ports.values():
                maker = port.made.producer if port.made is not None else None
                if maker is not None:
                    edges.append(Edge(nodes[maker], nodes[step], port.name))
                else:
                    node = Node.of_data(port)
                    edges.append(Edge(data.setdefault(node.node_id, node), nodes[step], port.name))
            edges += [Edge(nodes[above], nodes[step]) for above in [*step.run_after_steps, *after.get(step, ())]]
        return cls(tuple(nodes.values()), tuple(data.values()), tuple(edges))

    @classmethod
    def of_project(cls, project: Project, pipeline: str, names: Mapping[str, str]) -> Graph:
        """The graph of a pipeline as it was submitted; `names` are those of its steps for people, by ids."""
        steps = project.pipelines[pipeline].steps
        nodes = {each.id: Node.of_submitted(each, names[each.id]) for each in steps}
        data: dict[str, Node] = {}
        edges = []
        for step in steps:
            for read in step.inputs:
                makers = [nodes[maker] for source in read.sources for maker in source.producers]
                if not makers:
                    node = Node.of_text(", ".join(source.location.text for source in read.sources), read.name)
                    makers = [data.setdefault(node.node_id, node)]
                edges += [Edge(maker, nodes[step.id], read.name) for maker in makers]
            edges += [Edge(nodes[above], nodes[step.id]) for above in step.after]
        return cls(tuple(nodes.values()), tuple(data.values()), tuple(edges))

    @property
    def nodes(self) -> list[Node]:
        """All nodes."""
        return [*self.module_nodes, *self.datasource_nodes]

    @property
    def node_dict(self) -> dict[str, Node]:
        """By id."""
        return {node.node_id: node for node in self.nodes}

    @property
    def node_name_dict(self) -> dict[str, list[Node]]:
        """By name; several may have the same."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            found.setdefault(node.name, []).append(node)
        return found

    def get_node(self, node_id: str) -> Node:
        """A node by its id. Raises UnknownName."""
        if node_id not in self.node_dict:
            raise UnknownName(f"no node {node_id!r} in this graph")
        return self.node_dict[node_id]

    def delete_node(self, node_id: str) -> None:
        """A graph is only looked at. Raises NotImplementedError."""
        raise NotImplementedError("make a Pipeline without the step")

    def node_of(self, step: PipelineStep) -> Node:
        """The node of a step. Raises WrongValue."""
        for node in self.module_nodes:
            if node.step is step:
                return node
        raise WrongValue(f"{step.name} is no step of this graph")


def cycle_of(steps: Sequence[PipelineStep], after: After) -> list[PipelineStep]:
    """Steps that wait for each other, in order; nothing if none do."""
    done: set[PipelineStep] = set()
    for start in steps:
        path: dict[PipelineStep, Iterator[PipelineStep]] = {}
        step: PipelineStep | None = start
        while step is not None:
            if step in path:
                every = list(path)
                return every[every.index(step) :][::-1]
            if step not in done:
                path[step] = iter([*step.predecessors(), *after.get(step, ())])
            step = _next(path, done)
    return []


def _next(path: dict[PipelineStep, Iterator[PipelineStep]], done: set[PipelineStep]) -> PipelineStep | None:
    """The next step above the last of a path; those of which all above is done are left."""
    while path:
        last = next(reversed(path))
        for above in path[last]:
            if above not in done:
                return above
        path.pop(last)
        done.add(last)
    return None


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
