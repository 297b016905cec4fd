"""Numbers as a picture: PNG, SVG or PDF by matplotlib, which is an extra."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from mlmake.errors import UsageError

FORMATS = (".png", ".svg", ".pdf")
_MOST = 40
Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Points by what they are called; the curves of one axes."""


def draw(panels: Mapping[str, tuple[str, Curves]], path: str) -> None:
    """One axes for each panel, by its title: (name of x, its curves). Raises UsageError."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise UsageError("a picture needs matplotlib", hint="pip install 'mlmake[plot]'; --plot is text") from None
    if len(panels) > _MOST:
        raise UsageError(f"{len(panels)} metrics are too many for a picture", hint=f"name steps with at most {_MOST}")
    figure = Figure(figsize=(7, 2.4 * len(panels)), layout="constrained")
    for axes, (title, (name, curves)) in zip(
        figure.subplots(len(panels), squeeze=False).flat, panels.items(), strict=True
    ):
        for label, points in curves.items():
            axes.plot([x for x, _ in points], [y for _, y in points], marker=".", label=label)
        axes.set_title(title, loc="left", fontsize="medium", parse_math=False)
        axes.set_xlabel(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if len(curves) > 1:
            axes.legend(fontsize="small")
    try:
        figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def check_format(path: str) -> None:
    """Raises UsageError for a suffix that is none of a picture."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: a picture ends in {', '.join(FORMATS)}, not {suffix!r}")
