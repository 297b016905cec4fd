"""What every command pays: printing the version, beside `python -c pass`. (One fresh step is `steps` of size 1.)"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, figure_of, tell
from benchmarks.figures import Figure, Measure
from benchmarks.tools import MLMAKE
from benchmarks.tools.base import Words
from benchmarks.turns import Run, in_turn

PYTHON = "python -c pass"
_CASE = "--version"


def measure(bench: Bench) -> Iterator[Figure]:
    """Python itself, then every peer."""
    tell("start-up")
    ours = _run(bench, (bench.programs["mlmake"], "--version"))
    commands: dict[str, Words] = {PYTHON: (bench.python, "-c", "pass")}
    programs = {MLMAKE.program}
    for tool in bench.tools:
        if not tool.is_floor and tool.program not in programs:
            commands[tool.name] = (bench.programs[tool.program], "--version")
            programs.add(tool.program)
    figures = []
    for name, command in commands.items():
        turns = in_turn(ours, _run(bench, command), 2 * bench.profile.repeat, bench.profile.pair)
        figures.append(figure_of(Measure.VERSION, _CASE, 0, name, turns))
    samples = tuple(sample for figure in figures for sample in figure.beside)
    yield Figure(measure=Measure.VERSION, case=_CASE, size=0, tool=MLMAKE.name, samples=samples)
    yield from figures


def _run(bench: Bench, command: Words) -> Run:
    return lambda: bench.timer.run(command, bench.scratch, bench.profile.limit)
