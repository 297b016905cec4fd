"""The live view of a build on a terminal: what runs and for how long, a bar, an estimate from past runs."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mlmake.model.run import seconds_in_words, size_in_words

_LINES = 8
"""Running steps that are shown; of more, only the number."""


class Live:
    """Redraws ten times a second until closed; lines printed meanwhile scroll above it."""

    def __init__(self, total: int, expected: Mapping[str, float]) -> None:
        self._total = total
        self._done = 0
        self._expected = dict(expected)
        self._left = dict(expected)
        self._running: dict[str, tuple[str, float]] = {}
        self._pushing = 0
        self._began = time.monotonic()
        self._console = Console(highlight=False)
        self._spinner = Spinner("dots")
        self._live = RichLive(self, console=self._console, refresh_per_second=10, transient=True)
        self._live.start()

    def fetching(self, step: str, name: str, moved: int, total: int) -> None:
        """Show how far a step's data has come; it counts as running, as somebody waits for it."""
        since = self._running[step][1] if step in self._running else time.monotonic()
        self._running[step] = (f"{name} fetches {size_in_words(moved)} of {size_in_words(total)}", since)

    def started(self, step: str, name: str) -> None:
        self._running[step] = (name, time.monotonic())

    def ended(self, step: str, *, counts: bool = True) -> None:
        self._running.pop(step, None)
        if counts:
            self._left.pop(step, None)
            self._done += 1

    def pushing(self, left: int) -> None:
        self._pushing = left

    def print(self, line: str) -> None:
        self._console.print(Text.from_ansi(line))

    def pause(self) -> None:
        """Leave the terminal to others."""
        self._live.stop()

    def resume(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def __rich__(self) -> Group:
        now = time.monotonic()
        table = Table.grid(padding=(0, 2))
        for name, since in list(self._running.values())[:_LINES]:
            table.add_row(self._spinner, Text(name), Text(seconds_in_words(now - since), style="dim"))
        more = len(self._running) - _LINES
        if more > 0:
            table.add_row("", Text(f"and {more} more", style="dim"), "")
        if self._pushing:
            table.add_row(self._spinner, Text(f"pushing {self._pushing:,} results to the shared cache"), "")
        bar = Table.grid(padding=(0, 2))
        estimate = self._estimate(now)
        bar.add_row(
            ProgressBar(total=self._total, completed=self._done, width=30),
            Text(f"{self._done}/{self._total}"),
            Text(seconds_in_words(now - self._began), style="dim"),
            Text(f"about {seconds_in_words(estimate)} left" if estimate is not None else "", style="dim"),
        )
        return Group(table, bar)

    def _estimate(self, now: float) -> float | None:
        """Seconds left, from what the steps took before, shared among those that run side by side."""
        if len(self._expected) < self._total / 2 or not self._total:
            return None
        mean = sum(self._expected.values()) / len(self._expected)
        unknown = self._total - self._done - len(self._left)
        work = sum(self._left.values()) + mean * max(0, unknown)
        spent = sum(min(now - since, self._left.get(step, mean)) for step, (_, since) in self._running.items())
        return max(0.0, work - spent) / max(1, len(self._running))
