"""Numbers as a chart of characters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_HEIGHT = 8
_WIDTH = 60
_POINT = "•"
_LINE = "·"


def chart(points: Sequence[tuple[float, float]], name: str) -> list[str]:
    """Points as lines of text, the one with the largest y on top; `name` is that of x."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    width = min(_WIDTH, max(2, int(max(xs) - min(xs)) * 4 + 1))
    height = _HEIGHT if max(ys) > min(ys) else 1
    canvas = [[" "] * width for _ in range(height)]
    places = [(_at(x, xs, width), height - 1 - _at(y, ys, height)) for x, y in points]
    for (left, start), (right, end) in pairwise(places):
        for column in range(left + 1, right):
            canvas[round(start + (end - start) * (column - left) / (right - left))][column] = _LINE
    for column, row in places:
        canvas[row][column] = _POINT
    marks = {0: f"{max(ys):.6g}", height - 1: f"{min(ys):.6g}"}
    space = max(map(len, marks.values()))
    rows = [f"{marks.get(number, ''):>{space}} │{''.join(row)}".rstrip() for number, row in enumerate(canvas)]
    first, final = f"{name} {xs[0]:g}", f"{xs[-1]:g}"
    gap = max(1, width - len(first) - len(final))
    return [*rows, f"{'':>{space}} └{'─' * width}", f"{'':>{space}}  {first}{' ' * gap}{final}"]


def _at(value: float, values: Sequence[float], size: int) -> int:
    low, high = min(values), max(values)
    return round((value - low) / (high - low) * (size - 1)) if high > low else 0
