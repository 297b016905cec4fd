"""The tools side by side, in the order of the tables: mlmake first, then its other forms, then the peers."""

from __future__ import annotations

from benchmarks.tools.base import Tool
from benchmarks.tools.doit import DOIT, JSON
from benchmarks.tools.dvc import DVC
from benchmarks.tools.make import MAKE
from benchmarks.tools.mlmake import MATRIX, MLMAKE, SHELL
from benchmarks.tools.ninja import NINJA
from benchmarks.tools.snakemake import SNAKEMAKE
from benchmarks.tools.spawn import SPAWN

TOOLS: tuple[Tool, ...] = (MLMAKE, MATRIX, SHELL, SPAWN, MAKE, NINJA, DOIT, JSON, SNAKEMAKE, DVC)

__all__ = ["MLMAKE", "TOOLS", "Tool"]
