"""How much is measured: the sizes, the repetitions and the limits of a quick and of a full run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.shapes import Graph, Shape

_MIB = 1 << 20
Sizes = Mapping[Shape, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Sizes and limits.

    Attributes:
        minutes: after that nothing is started any more, and the rest is told as not measured.
        repeat: pairs of runs.
        pair: seconds after which no further pair of the same two is started.
        limit: seconds that one measured command may take.
        own: seconds that mlmake may take to build a project before it is measured.
        build: the same for its peers.
        steps: steps of the projects in which nothing, or one input, changes.
        first: steps of the projects that are built from nothing.
        large: bytes of the file to hash.
        files: files in the folder to hash.
    """

    minutes: float
    repeat: int
    pair: float
    limit: float
    own: float
    build: float
    steps: Sizes
    first: Sizes
    large: tuple[int, ...]
    files: int

    def graphs(self, sizes: Sizes) -> list[Graph]:
        """From small to large, independent steps first."""
        shapes = list(Shape)
        graphs = [Graph(shape=shape, size=size) for shape, each in sizes.items() for size in each]
        return sorted(graphs, key=lambda graph: (graph.size, shapes.index(graph.shape)))


QUICK = Profile(
    minutes=6,
    repeat=5,
    pair=1,
    limit=8,
    own=120,
    build=30,
    steps={Shape.WIDE: (1, 100, 10_000), Shape.LAYERS: (1_000,)},
    first={Shape.WIDE: (100,)},
    large=(256 * _MIB,),
    files=10_000,
)
FULL = Profile(
    minutes=45,
    repeat=5,
    pair=8,
    limit=40,
    own=600,
    build=120,
    steps={
        Shape.WIDE: (1, 10, 100, 1_000, 10_000, 100_000),
        Shape.LAYERS: (100, 1_000, 10_000),
        Shape.CHAIN: (100, 1_000, 10_000),
    },
    first={Shape.WIDE: (100, 1_000), Shape.LAYERS: (1_000,)},
    large=(1024 * _MIB,),
    files=100_000,
)
