"""What is measured: each module's `measure(bench)` gives figures as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.measures import files, first, startup, steps

MEASURES: Mapping[str, Callable[[Bench], Iterator[Figure]]] = {
    "startup": startup.measure,
    "files": files.measure,
    "first": first.measure,
    "steps": steps.measure,
}

__all__ = ["MEASURES"]
