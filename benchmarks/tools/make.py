"""GNU make: a rule per step, the built-in rules switched off; simple commands run without a shell."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.shapes import Graph
from benchmarks.tools.base import Files, Tool, Words


def files(graph: Graph) -> Files:
    """Makefile."""
    return {"Makefile": "".join(_lines(graph))}


def _lines(graph: Graph) -> Iterator[str]:
    yield f"MAKEFLAGS += --no-builtin-rules\n.SUFFIXES:\nall: {' '.join(graph.finals())}\n"
    for step in graph.steps():
        command = " ".join(graph.shape.verb.words(step.sources, step.target))
        yield f"{step.target}: {' '.join(step.sources)}\n\t{command}\n"


def _build(jobs: int) -> Words:
    return ("make", f"-j{jobs}")


MAKE = Tool(
    name="make",
    program="make",
    files=files,
    build=_build,
    status=("make", "-q"),
    prime=(),
)
