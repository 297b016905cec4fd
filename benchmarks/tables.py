"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.budgets import judge
from benchmarks.figures import Figure, Measure, Results
from benchmarks.tools import TOOLS

_LEGEND = """\
Each cell is the median of a tool's wall time and, after it, how many times as long mlmake took in the runs taken in
turn with that tool: *0.5x* is half its time, *2x* twice its time.
"""
_OF_FILES = (Measure.DIGEST, Measure.TOUCHED, Measure.FOLDER_FIRST, Measure.FOLDER_KNOWN)


def markdown(results: Results) -> str:
    """Everything: where, with what, the budgets, a table per measure, all figures."""
    parts = [_head(results), _budgets(results), _LEGEND, *_measures(results), _all(results)]
    return "\n".join(parts)


def _head(results: Results) -> str:
    on = "; ".join(f"{name} {value}" for name, value in results.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in results.versions.items())
    absent = f"\nNot installed, so not measured: {', '.join(results.absent)}.\n" if results.absent else ""
    return f"Measured on: {on}.\nVersions: {versions}.\n{absent}"


def _budgets(results: Results) -> str:
    rows = [
        [each.work, each.budget, each.measured, {True: "held", False: "**missed**", None: "-"}[each.is_held]]
        for each in judge(results)
    ]
    return "### Budgets\n\n" + _table(["work", "budget", "measured", ""], rows)


def _measures(results: Results) -> Iterator[str]:
    for measure in Measure:
        figures = results.of(measure)
        if figures:
            yield f"### {measure.value}\n\n{_of_measure(measure, figures)}"


def _of_measure(measure: Measure, figures: Sequence[Figure]) -> str:
    tools = sorted(dict.fromkeys(figure.tool for figure in figures), key=_place)
    rows: list[list[str]] = []
    notes: list[str] = []
    for case, size in dict.fromkeys((figure.case, figure.size) for figure in figures):
        alike = [figure for figure in figures if (figure.case, figure.size) == (case, size)]
        row = [_case(alike[0])]
        for tool in tools:
            found = next((figure for figure in alike if figure.tool == tool), None)
            row.append(_cell(found, notes))
        rows.append(row)
    told = "".join(f"{number}. {note}\n" for number, note in enumerate(notes, 1))
    return _table(["", *tools], rows) + (f"\n{told}" if told else "")


def _cell(figure: Figure | None, notes: list[str]) -> str:
    if figure is None:
        return ""
    if figure.wall is None:
        return f"- ({_note(figure, notes)})"
    ratio = f", {_ratio(figure.ratio)}" if figure.ratio else ""
    return f"{seconds(figure.wall)}{ratio}"


def _note(figure: Figure, notes: list[str]) -> int:
    if figure.note not in notes:
        notes.append(figure.note)
    return notes.index(figure.note) + 1


def _all(results: Results) -> str:
    rows = []
    for figure in results.figures:
        if figure.wall is None or figure.cpu is None or figure.memory is None:
            continue
        walls = [sample.wall for sample in figure.samples]
        rows.append(
            [
                *(figure.measure.value, _case(figure), figure.tool, str(len(walls)), seconds(figure.wall)),
                *(f"{seconds(min(walls))} - {seconds(max(walls))}", seconds(figure.cpu), f"{figure.memory / 1e6:.0f}"),
            ]
        )
    head = ["work", "case", "tool", "runs", "median", "least - most", "user + system", "peak MB"]
    return f"<details>\n<summary>Every figure</summary>\n\n{_table(head, rows)}\n</details>\n"


def _place(tool: str) -> int:
    """Where a column stands: as in the table of tools, and after mlmake what is no tool."""
    names = [each.name for each in TOOLS]
    return 2 * names.index(tool) if tool in names else 1


def _case(figure: Figure) -> str:
    if figure.measure in _OF_FILES or not figure.size:
        return figure.case
    return f"{figure.case}, 1 step" if figure.size == 1 else f"{figure.case}, {figure.size:,} steps"


def seconds(value: float) -> str:
    """Three digits: `4.2 ms`, `0.159 s`, `12.3 s`."""
    if value < 0.1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.0f} s" if value >= 100 else f"{value:.3g} s"


def _ratio(value: float) -> str:
    return f"{value:.2g}x" if value < 10 else f"{value:.0f}x"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
