"""mlmake: a table per step with its command as a list (no shell) or as a text (in sh), or one step with a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from benchmarks.shapes import Graph, Shape, Step, Verb
from benchmarks.tools.base import STEPS, Files, Tool, Words

_HEAD = '[project]\nname = "benchmark"\n'


class Form(Enum):
    """How the pipeline is written."""

    LIST = "list"
    TEXT = "text"
    MATRIX = "matrix"


def files(graph: Graph, form: Form) -> Files:
    """pipelines.toml."""
    tables = _matrix(graph) if form is Form.MATRIX else _tables(graph, form)
    return {"pipelines.toml": _HEAD + "".join(tables)}


def _tables(graph: Graph, form: Form) -> Iterator[str]:
    for step in graph.steps():
        inputs = {f"in{number}": _source(source) for number, source in enumerate(step.sources)}
        listed = ", ".join(f'{name} = "{source}"' for name, source in inputs.items())
        yield (
            f"\n[pipelines.main.steps.{step.name}]\n{_command(graph.shape.verb, step, form)}\n"
            f'inputs = {{ {listed} }}\noutputs = {{ out = "{step.target}" }}\n'
        )


def _source(path: str) -> str:
    """A reference where a step writes it (its output's file has the step's name), a folder with its slash."""
    if path.startswith("out/"):
        return f"@{path.removeprefix('out/').removesuffix('.txt')}"
    return path if path.endswith((".txt", ".bin")) else f"{path}/"


def _command(verb: Verb, step: Step, form: Form) -> str:
    words = verb.words([f"{{inputs.in{number}}}" for number in range(len(step.sources))], "{outputs.out}")
    if form is Form.TEXT:
        return f'command = "{" ".join(words)}"'
    listed = ", ".join(f'"{word}"' for word in words)
    return f"command = [{listed}]"


def _matrix(graph: Graph) -> Iterator[str]:
    yield (
        "\n[pipelines.main.steps.s]\n"
        f"matrix = {{ i = [{', '.join(str(i) for i in range(graph.size))}] }}\n"
        'command = ["cp", "{inputs.in0}", "{outputs.out}"]\n'
        'inputs = { in0 = "in/{matrix.i}.txt" }\noutputs = { out = "out/s{matrix.i}.txt" }\n'
    )


def _build(jobs: int) -> Words:
    return ("mlmake", "-j", str(jobs))


def _tool(name: str, form: Form, shapes: frozenset[Shape]) -> Tool:
    return Tool(
        name=name,
        program="mlmake",
        files=lambda graph: files(graph, form),
        build=_build,
        status=("mlmake", "status"),
        state=(".mlmake",),
        shapes=shapes,
    )


MLMAKE = _tool("mlmake", Form.LIST, STEPS | {Shape.FILE, Shape.FOLDER})
SHELL = _tool("mlmake (shell)", Form.TEXT, STEPS)
MATRIX = _tool("mlmake (matrix)", Form.MATRIX, frozenset({Shape.WIDE}))
