"""doit: a dodo.py with one generator of tasks, as people write it, with the default backend and with `json`."""

from __future__ import annotations

from benchmarks.shapes import LAYERS, Graph, Shape
from benchmarks.tools.base import STEPS, Files, Tool, Words

_WIDE = """\
def task_copy():
    for i in range({size}):
        yield {{
            "name": str(i),
            "actions": [f"cp in/{{i}}.txt out/s{{i}}.txt"],
            "file_dep": [f"in/{{i}}.txt"],
            "targets": [f"out/s{{i}}.txt"],
        }}
"""
_CHAIN = """\
def task_copy():
    for i in range({size}):
        source = f"out/s{{i - 1}}.txt" if i else "in/0.txt"
        yield {{
            "name": str(i),
            "actions": [f"cp {{source}} out/s{{i}}.txt"],
            "file_dep": [source],
            "targets": [f"out/s{{i}}.txt"],
        }}
"""
_LAYERS = """\
def task_join():
    for layer in range({layers}):
        above = f"out/l{{layer - 1}}_" if layer else "in/"
        for i in range({width}):
            sources = sorted({{f"{{above}}{{i}}.txt", f"{{above}}{{(i + 1) % {width}}}.txt"}})
            yield {{
                "name": f"{{layer}}_{{i}}",
                "actions": [f"sort -u -o out/l{{layer}}_{{i}}.txt {{' '.join(sources)}}"],
                "file_dep": sources,
                "targets": [f"out/l{{layer}}_{{i}}.txt"],
            }}
"""
_FILE = """\
def task_touch():
    return {{"actions": ["touch out/s0.txt"], "file_dep": ["in/big.bin"], "targets": ["out/s0.txt"]}}
"""
_TEXTS = {Shape.WIDE: _WIDE, Shape.CHAIN: _CHAIN, Shape.LAYERS: _LAYERS, Shape.FILE: _FILE}


def files(graph: Graph) -> Files:
    """dodo.py."""
    return {"dodo.py": _TEXTS[graph.shape].format(size=graph.size, layers=LAYERS, width=graph.width)}


def _tool(name: str, option: Words) -> Tool:
    def build(jobs: int) -> Words:
        parallel = ("-n", str(jobs), "-P", "thread") if jobs > 1 else ()
        return ("doit", "run", *option, *parallel)

    return Tool(
        name=name,
        program="doit",
        files=files,
        build=build,
        status=("doit", "list", "--all", "-s", *option),
        prime=(("doit", "reset-dep", *option),),
        state=(".doit.db", ".doit.db.bak", ".doit.db.dat", ".doit.db.dir", ".doit.db.db", "__pycache__"),
        shapes=STEPS | {Shape.FILE},
    )


DOIT = _tool("doit", ())
JSON = _tool("doit (json)", ("--backend", "json"))
