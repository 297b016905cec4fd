"""The floor of a build: a bare Python process that starts each command and waits for it, and knows nothing."""

from __future__ import annotations

import shutil

from benchmarks.shapes import Graph, Shape
from benchmarks.tools.base import Files, Tool, Words

_SCRIPT = """\
import os, sys

limit, running = int(sys.argv[1]), 0
with open("commands.txt") as file:
    for line in file:
        words = line.split()
        if running == limit:
            os.wait()
            running -= 1
        os.posix_spawn(words[0], words, os.environ)
        running += 1
while running:
    os.wait()
    running -= 1
"""


def files(graph: Graph) -> Files:
    """A line per step, each after those it reads from, with the program's full path."""
    verb = graph.shape.verb
    commands = (verb.words(step.sources, step.target) for step in graph.steps())
    lines = (" ".join((shutil.which(first) or first, *rest)) for first, *rest in commands)
    return {"commands.txt": "".join(f"{line}\n" for line in lines), "spawn.py": _SCRIPT}


def _build(jobs: int) -> Words:
    return ("python3", "-I", "-S", "spawn.py", str(jobs))


SPAWN = Tool(
    name="only the commands",
    program="python3",
    files=files,
    build=_build,
    shapes=frozenset({Shape.WIDE}),
    is_floor=True,
)
