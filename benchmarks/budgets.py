"""The budgets that mlmake sets itself, judged by what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.figures import Figure, Measure, Results
from benchmarks.measures.files import LOOK, READ
from benchmarks.measures.startup import PYTHON
from benchmarks.shapes import Shape
from benchmarks.tools import MLMAKE
from benchmarks.tools.spawn import SPAWN

_OURS = MLMAKE.name
_WIDE = Shape.WIDE.value
_CHAIN = Shape.CHAIN.value
_MANY = 10_000
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Judged:
    """A budget, and what was measured; `is_held` is None where it was not."""

    work: str
    budget: str
    measured: str = "not measured"
    is_held: bool | None = None


def judge(results: Results) -> list[Judged]:
    """Every budget, in the order of the design."""
    return [judged for each in _BUDGETS for judged in each(results)]


def _peers(results: Results) -> Iterator[Judged]:
    for peer, most in (("ninja", 2.5), ("doit", 0.25)):
        work, budget = f"nothing to do, {_MANY:,} steps, beside {peer}", f"at most {most:g}x"
        figure = results.find(Measure.NOTHING, peer, _WIDE, _MANY)
        if figure is None or figure.ratio is None:
            yield Judged(work, budget)
        else:
            yield Judged(work, budget, f"{figure.ratio:.2f}x", figure.ratio <= most)


def _linear(results: Results) -> Iterator[Judged]:
    few = results.find(Measure.NOTHING, _OURS, _WIDE, _MANY)
    many = results.find(Measure.NOTHING, _OURS, _WIDE, _MOST)
    values: tuple[tuple[str, Callable[[Figure], float | None]], ...] = (
        ("time", lambda figure: figure.wall),
        ("memory", lambda figure: figure.memory),
    )
    for word, value in values:
        work, budget = f"{word} of {_MOST:,} steps beside {_MANY:,}", "at most 11x"
        if few is None or many is None:
            yield Judged(work, budget)
        else:
            grown = (value(many) or 0) / (value(few) or 1)
            yield Judged(work, budget, f"{grown:.1f}x", grown <= 11)


def _chain(results: Results) -> Iterator[Judged]:
    work, budget = f"a chain of {_MANY:,} beside {_MANY:,} independent steps", "at most 1.2x"
    wide = results.find(Measure.NOTHING, _OURS, _WIDE, _MANY)
    chain = results.find(Measure.NOTHING, _OURS, _CHAIN, _MANY)
    if wide is None or chain is None or not wide.wall:
        yield Judged(work, budget)
    else:
        ratio = (chain.wall or 0) / wide.wall
        yield Judged(work, budget, f"{ratio:.2f}x", ratio <= 1.2)


def _start(results: Results) -> Iterator[Judged]:
    python = results.find(Measure.VERSION, PYTHON)
    works = (
        ("`mlmake --version`", results.find(Measure.VERSION, _OURS)),
        ("`mlmake`, one fresh step", results.find(Measure.NOTHING, _OURS, _WIDE, 1)),
    )
    for work, figure in works:
        budget = f"under 3x `{PYTHON}` + 60 ms"
        if python is None or figure is None:
            yield Judged(work, budget)
        else:
            most = 3 * (python.wall or 0) + 0.060
            wall = figure.wall or 0
            yield Judged(work, budget, f"{wall * 1000:.0f} ms, allowed {most * 1000:.0f}", wall < most)


def _overhead(results: Results) -> Iterator[Judged]:
    work, budget = "what a local step costs beside its process", "at most 2 ms"
    floor = results.find(Measure.FIRST_1, SPAWN.name, _WIDE)
    ours = results.find(Measure.FIRST_1, _OURS, _WIDE, floor.size) if floor else None
    if floor is None or ours is None:
        yield Judged(work, budget)
    else:
        each = ((ours.wall or 0) - (floor.wall or 0)) / floor.size
        yield Judged(work, budget, f"{each * 1000:.2f} ms ({floor.size:,} steps)", each <= 0.002)


def _two(results: Results) -> Iterator[Judged]:
    work, budget = "-j 2 beside -j 1", "twice as quick (at least 1.8x)"
    two = results.find(Measure.FIRST_2, _OURS, _WIDE)
    one = results.find(Measure.FIRST_1, _OURS, _WIDE, two.size) if two else None
    if one is None or two is None or not two.wall:
        yield Judged(work, budget)
    else:
        ratio = (one.wall or 0) / two.wall
        yield Judged(work, budget, f"{ratio:.2f}x ({two.size:,} steps)", ratio >= 1.8)


def _hashing(results: Results) -> Iterator[Judged]:
    work, budget = "hashing one large file, beside reading it", "at least 80 % of the rate"
    figure = results.find(Measure.DIGEST, READ)
    if figure is None or not figure.ratio:
        yield Judged(work, budget)
    else:
        yield Judged(work, budget, f"{100 / figure.ratio:.0f} % ({figure.case})", figure.ratio <= 1 / 0.8)
    work, budget = "a known folder of small files, beside scandir + stat", "at most 1.5x"
    figure = results.find(Measure.DIGEST, LOOK)
    if figure is None or figure.ratio is None:
        yield Judged(work, budget)
    else:
        yield Judged(work, budget, f"{figure.ratio:.2f}x ({figure.size:,} files)", figure.ratio <= 1.5)


def _change(results: Results) -> Iterator[Judged]:
    work, budget = f"one of {_MANY:,} inputs changed", "nothing to do + 0.15 s"
    nothing = results.find(Measure.NOTHING, _OURS, _WIDE, _MANY)
    change = results.find(Measure.CHANGE, _OURS, _WIDE, _MANY)
    if nothing is None or change is None:
        yield Judged(work, budget)
    else:
        more = (change.wall or 0) - (nothing.wall or 0)
        yield Judged(work, budget, f"{nothing.wall:.3f} s + {more:.3f} s", more <= 0.15)


_BUDGETS: tuple[Callable[[Results], Iterator[Judged]], ...] = (
    _peers,
    _linear,
    _chain,
    _start,
    _overhead,
    _two,
    _hashing,
    _change,
)
