"""Snakemake: one rule with a wildcard (wide, chain) or one rule for each layer; commands run in bash."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.shapes import LAYERS, Graph, Shape
from benchmarks.tools.base import Files, Tool, Words

_NUMBER = 'wildcard_constraints: i=r"\\d+"\n'


def files(graph: Graph) -> Files:
    """Snakefile."""
    texts = {Shape.WIDE: _wide, Shape.LAYERS: _layers, Shape.CHAIN: _chain}
    return {"Snakefile": "".join(texts[graph.shape](graph))}


def _rule(name: str, source: str, target: str, graph: Graph) -> str:
    command = " ".join(graph.shape.verb.words(["{input}"], "{output}"))
    return f'\nrule {name}:\n    input: {source}\n    output: "{target}"\n    shell: "{command}"\n'


def _wide(graph: Graph) -> Iterator[str]:
    yield f'{_NUMBER}\nrule all:\n    input: expand("out/s{{i}}.txt", i=range({graph.size}))\n'
    yield _rule("copy", '"in/{i}.txt"', "out/s{i}.txt", graph)


def _layers(graph: Graph) -> Iterator[str]:
    width = graph.width
    yield f"{_NUMBER}\ndef pair(above, i):\n"
    yield f'    return sorted({{f"{{above}}{{i}}.txt", f"{{above}}{{(i + 1) % {width}}}.txt"}})\n'
    yield f'\nrule all:\n    input: expand("out/l{LAYERS - 1}_{{i}}.txt", i=range({width}))\n'
    for layer in range(LAYERS):
        above = f"out/l{layer - 1}_" if layer else "in/"
        yield _rule(f"l{layer}", f'lambda w: pair("{above}", int(w.i))', f"out/l{layer}_{{i}}.txt", graph)


def _chain(graph: Graph) -> Iterator[str]:
    yield f'{_NUMBER}\nrule all:\n    input: "{graph.final}"\n'
    source = 'lambda w: f"out/s{int(w.i) - 1}.txt" if int(w.i) else "in/0.txt"'
    yield _rule("copy", source, "out/s{i}.txt", graph)


def _build(jobs: int) -> Words:
    return ("snakemake", "--cores", str(jobs))


SNAKEMAKE = Tool(
    name="Snakemake",
    program="snakemake",
    files=files,
    build=_build,
    status=("snakemake", "-n"),
    state=(".snakemake",),
)
