"""The pipelines that every tool is given: the same steps, the same commands, the same files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

LAYERS = 10
INPUTS = "in"
OUTPUTS = "out"
BIG_FILE = "in/big.bin"
BIG_FOLDER = "in/data"


class Verb(Enum):
    """What a step runs; each is one small program, none needs a shell."""

    COPY = "cp"
    JOIN = "join"
    TOUCH = "touch"

    def words(self, sources: Sequence[str], target: str) -> tuple[str, ...]:
        """The command line; sources and target may be a tool's own placeholders."""
        match self:
            case Verb.COPY:
                return ("cp", *sources, target)
            case Verb.JOIN:
                return ("sort", "-u", "-o", target, *sources)
            case Verb.TOUCH:
                return ("touch", target)


class Shape(Enum):
    """How steps hang together."""

    WIDE = "wide"
    LAYERS = "layers"
    CHAIN = "chain"
    FILE = "one file"
    FOLDER = "one folder"

    @property
    def verb(self) -> Verb:
        if self in (Shape.FILE, Shape.FOLDER):
            return Verb.TOUCH
        return Verb.JOIN if self is Shape.LAYERS else Verb.COPY


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it reads and the one file that it writes, relative to the project."""

    name: str
    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """A pipeline of `size` steps.

    `wide`: each step copies a small file of its own. `layers`: ten layers, each step joins two outputs of the layer
    before. `chain`: each step copies what the one before wrote. `one file`, `one folder`: a step that reads it.
    """

    shape: Shape
    size: int

    def __str__(self) -> str:
        return f"{self.shape.value}, 1 step" if self.size == 1 else f"{self.shape.value}, {self.size:,} steps"

    @property
    def width(self) -> int:
        """Steps in a layer."""
        return max(1, self.size // LAYERS)

    def steps(self) -> Iterator[Step]:
        """Every step, each after those it reads from."""
        match self.shape:
            case Shape.WIDE:
                yield from (Step(f"s{i}", (f"{INPUTS}/{i}.txt",), f"{OUTPUTS}/s{i}.txt") for i in range(self.size))
            case Shape.LAYERS:
                yield from self._layers()
            case Shape.CHAIN:
                for i in range(self.size):
                    source = f"{OUTPUTS}/s{i - 1}.txt" if i else f"{INPUTS}/0.txt"
                    yield Step(f"s{i}", (source,), f"{OUTPUTS}/s{i}.txt")
            case Shape.FILE:
                yield Step("s0", (BIG_FILE,), f"{OUTPUTS}/s0.txt")
            case Shape.FOLDER:
                yield Step("s0", (BIG_FOLDER,), f"{OUTPUTS}/s0.txt")

    def inputs(self) -> Iterator[str]:
        """The small files that must be there before anything runs."""
        count = {Shape.WIDE: self.size, Shape.LAYERS: self.width, Shape.CHAIN: 1}.get(self.shape, 0)
        return (f"{INPUTS}/{i}.txt" for i in range(count))

    @property
    def edited(self) -> str:
        """The input that `one input changed` writes anew: one from the middle."""
        middle = {Shape.WIDE: self.size // 2, Shape.LAYERS: self.width // 2}.get(self.shape, 0)
        return f"{INPUTS}/{middle}.txt"

    @property
    def final(self) -> str:
        """An output at the end that holds what the edited input holds."""
        match self.shape:
            case Shape.LAYERS:
                return f"{OUTPUTS}/l{LAYERS - 1}_{self.width // 2}.txt"
            case Shape.CHAIN:
                return f"{OUTPUTS}/s{self.size - 1}.txt"
            case _:
                return f"{OUTPUTS}/s{self.size // 2}.txt"

    def finals(self) -> Iterator[str]:
        """The outputs that nothing reads."""
        match self.shape:
            case Shape.LAYERS:
                return (f"{OUTPUTS}/l{LAYERS - 1}_{i}.txt" for i in range(self.width))
            case Shape.CHAIN:
                return iter((self.final,))
            case _:
                return (step.target for step in self.steps())

    def _layers(self) -> Iterator[Step]:
        for layer in range(LAYERS):
            above = f"{OUTPUTS}/l{layer - 1}_" if layer else f"{INPUTS}/"
            for i in range(self.width):
                sources = dict.fromkeys(f"{above}{each}.txt" for each in (i, (i + 1) % self.width))
                yield Step(f"l{layer}_{i}", tuple(sources), f"{OUTPUTS}/l{layer}_{i}.txt")


def write_inputs(graph: Graph, folder: str) -> None:
    """The files to start from, and the folder for outputs."""
    for name in (INPUTS, OUTPUTS):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    for number, path in enumerate(graph.inputs()):
        with open(os.path.join(folder, path), "w", encoding="ascii") as file:
            file.write(f"{number} original\n")


def edit_input(graph: Graph, folder: str, number: int) -> str:
    """Give the edited input other content of the same length; returns the new content."""
    text = f"{number:08d} x\n"
    with open(os.path.join(folder, graph.edited), "w", encoding="ascii") as file:
        file.write(text)
    return text


def write_outputs(graph: Graph, folder: str) -> None:
    """Write what the steps would, for tools that can take note of outputs that are there."""
    for step in graph.steps():
        lines: set[bytes] = set()
        if graph.shape.verb is not Verb.TOUCH:
            for source in step.sources:
                with open(os.path.join(folder, source), "rb") as file:
                    lines.update(file.readlines())
        with open(os.path.join(folder, step.target), "wb") as file:
            file.writelines(sorted(lines))
