"""DVC: a stage per step in dvc.yaml, in a project without git, its update check and its reports switched off."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.shapes import Graph, Shape
from benchmarks.tools.base import STEPS, Files, Tool, Words


def files(graph: Graph) -> Files:
    """dvc.yaml."""
    return {"dvc.yaml": "".join(_lines(graph))}


def _lines(graph: Graph) -> Iterator[str]:
    yield "stages:\n"
    for step in graph.steps():
        command = " ".join(graph.shape.verb.words(step.sources, step.target))
        yield f"  {step.name}:\n    cmd: {command}\n    deps: [{', '.join(step.sources)}]\n    outs: [{step.target}]\n"


def _build(jobs: int) -> Words | None:
    return ("dvc", "repro", "-q") if jobs == 1 else None


DVC = Tool(
    name="DVC",
    program="dvc",
    files=files,
    build=_build,
    status=("dvc", "status"),
    setup=(("dvc", "init", "--no-scm", "-q"), ("dvc", "config", "core.check_update", "false")),
    prime=(("dvc", "commit", "-f", "-q"),),
    state=("dvc.lock", ".dvc/cache", ".dvc/tmp"),
    shapes=STEPS | {Shape.FILE, Shape.FOLDER},
)
