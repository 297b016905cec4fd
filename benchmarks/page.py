"""Puts the tables into docs/performance.md, between two comments, and the plot beside it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Results
from benchmarks.plot import plot
from benchmarks.tables import markdown

DOCS = Path(__file__).parents[1] / "docs"
BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"
_NEW = f"""\
# Performance

![How long a build with nothing to do takes, against the number of steps](performance.svg)

{BEGIN}
{END}
"""


def write(results: Results, docs: Path = DOCS) -> None:
    """Write `performance.md` (what stands around the comments stays) and `performance.svg`."""
    page = docs / "performance.md"
    text = page.read_text(encoding="utf-8") if page.exists() else _NEW
    page.write_text(replaced(text, markdown(results)), encoding="utf-8")
    plot(results, docs / "performance.svg")


def replaced(text: str, body: str) -> str:
    """`text` with what stands between the two comments replaced. Raises ValueError where one is missing."""
    before, found, rest = text.partition(BEGIN)
    _, also_found, after = rest.partition(END)
    if not found or not also_found:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{body}\n{END}{after}"
