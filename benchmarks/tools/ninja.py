"""ninja: a rule per verb, a build line per step; every command runs in sh."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.shapes import Graph
from benchmarks.tools.base import Files, Tool, Words


def files(graph: Graph) -> Files:
    """build.ninja."""
    return {"build.ninja": "".join(_lines(graph))}


def _lines(graph: Graph) -> Iterator[str]:
    verb = graph.shape.verb
    yield f"rule {verb.value}\n  command = {' '.join(verb.words(['$in'], '$out'))}\n"
    for step in graph.steps():
        yield f"build {step.target}: {verb.value} {' '.join(step.sources)}\n"


def _build(jobs: int) -> Words:
    return ("ninja", f"-j{jobs}")


NINJA = Tool(
    name="ninja",
    program="ninja",
    files=files,
    build=_build,
    status=("ninja", "-n"),
    state=(".ninja_log", ".ninja_deps"),
)
