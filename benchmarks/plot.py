"""The plot: seconds of a build with nothing to do against steps, both logarithmic; for light and dark pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from benchmarks.figures import Measure, Results
from benchmarks.shapes import Shape
from benchmarks.tools import MLMAKE

_INK = "#57606a"
_DARK_INK = "#9ea7b3"
_GRID = "#8b949e"
_MARKED = {
    "mlmake": ("#e5484d", "o"),
    "mlmake (matrix)": ("#e5484d", "s"),
    "make": ("#2f81f7", "^"),
    "ninja": ("#1a9f8f", "v"),
    "doit": ("#b5830b", "D"),
    "doit (json)": ("#b5830b", "d"),
    "Snakemake": ("#4d9e3a", "P"),
    "DVC": ("#a371f7", "X"),
}
_STYLE = (
    f"<style>@media (prefers-color-scheme: dark) {{ text {{ fill: {_DARK_INK} !important }} "
    f'path[style*="{_INK}"], use[style*="{_INK}"] {{ stroke: {_DARK_INK} !important }} }}</style>'
)
_SETTINGS: Any = {
    "svg.hashsalt": "mlmake",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def plot(results: Results, path: Path) -> None:
    """Write the plot as SVG; the same results give the same bytes."""
    with mpl.rc_context(_SETTINGS):
        sheet = Sheet(figsize=(7.2, 5.0), layout="constrained")
        axes = sheet.subplots()
        _draw(axes, results)
        sheet.legend(frameon=False, loc="outside lower center", ncols=4)
        sheet.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    lines = [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
    end = next(number for number, line in enumerate(lines) if line.endswith("</metadata>"))
    path.write_text("\n".join([*lines[: end + 1], f" {_STYLE}", *lines[end + 1 :], ""]), encoding="utf-8")


def _draw(axes: Axes, results: Results) -> None:
    for tool, (colour, marker) in _MARKED.items():
        points = sorted(
            (figure.size, figure.wall)
            for figure in results.of(Measure.NOTHING)
            if figure.tool == tool and figure.case == Shape.WIDE.value and figure.wall is not None and figure.size >= 10
        )
        if not points:
            continue
        is_ours = tool.startswith(MLMAKE.name)
        line: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 5,
            "linewidth": 2.4 if is_ours else 1.3,
        }
        sizes, walls = zip(*points, strict=True)
        axes.plot(sizes, walls, linestyle="--" if "(" in tool else "-", label=tool, **line)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("steps, each with one input and one output")
    axes.set_ylabel("time with nothing to do")
    axes.grid(visible=True, which="major", color=_GRID, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} s" if value >= 0.1 else f"{value * 1000:g} ms")
