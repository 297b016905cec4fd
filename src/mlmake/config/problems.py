"""What is wrong in a file: each problem told once, in order, with the nearest legal word while that is cheap."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from mlmake import errors
from mlmake.errors import Problem

_BARE = re.compile(r"[\w-]{1,100}")
_SHOWN = 5
_LONG = 100
_LISTED = 12


class Wrong(ValueError):
    """One value that cannot be: what, the nearest legal word, and what to do instead."""

    def __init__(self, what: str, near: str = "", move: str = "") -> None:
        super().__init__(what)
        self.fact = what
        self.what = f"{what}: {move}" if move else what
        self.near = near


class Wrongs(ValueError):
    """Several values of one table that cannot be, by their keys."""

    def __init__(self, of: Mapping[str, Wrong]) -> None:
        super().__init__(", ".join(of))
        self.of = of


class Problems:
    """Collects problems; of many of one kind at one place, as a matrix gives, only the number is told."""

    def __init__(self) -> None:
        self._told: dict[Problem, None] = {}
        self._last: dict[str, Problem] = {}
        self._more: Counter[str] = Counter()
        self._words_left = 50_000

    def __len__(self) -> int:
        return len(self._told)

    def tell(self, where: str, what: str, near: str = "") -> None:
        """Add a problem, unless it is told already."""
        self._told.setdefault(Problem(where, what, near))

    def add(self, found: Iterable[Problem]) -> None:
        """Add problems that were found elsewhere."""
        self._told.update(dict.fromkeys(found))

    def tell_one_of(self, where: str, what: str, near: str = "") -> None:
        """Add a problem that each combination of a matrix may have; from the sixth on they are counted only."""
        problem = Problem(where, what, near)
        if problem in self._told:
            return
        self._more[where] += 1
        if self._more[where] <= _SHOWN:
            self._told[problem] = None
            self._last[where] = problem

    def near(self, word: str, legal: Iterable[str]) -> str:
        """The legal word closest to `word`; "" where none is, or where so much was asked that it would take long."""
        if self._words_left <= 0 or len(word) > _LONG:
            return ""
        words = list(legal)
        self._words_left -= len(words)
        return errors.nearest(word, words)

    def all(self) -> list[Problem]:
        """Every problem in the order in which they were told, the folded ones as a line of their own."""
        found = []
        for problem in self._told:
            found.append(_printable(problem))
            more = self._more[problem.where] - _SHOWN
            if more > 0 and self._last[problem.where] is problem:
                found.append(Problem(problem.where, f"and {more:,} more like this"))
        return found


@lru_cache(maxsize=10_000)
def at(*names: str) -> str:
    """The path of a table: `pipelines.train.steps.fit`; a name that TOML would quote is quoted."""
    return ".".join(name if _BARE.fullmatch(name) else _quoted(name) for name in names)


@lru_cache(maxsize=10_000)
def below(where: str, name: str) -> str:
    """The path of a key of the table at `where`."""
    return f"{where}.{at(name)}"


def show(value: object) -> str:
    """A value in a message: short, and as TOML spells it where that differs from Python."""
    text = _spelled(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _printable(problem: Problem) -> Problem:
    """A problem that stays one line and moves no cursor, whatever names the file gives."""
    if problem.where.isprintable() and problem.what.isprintable():
        return problem
    return Problem(in_a_line(problem.where), in_a_line(problem.what), problem.nearest)


def in_a_line(text: str) -> str:
    """A text that stays in its line and moves no cursor: what cannot be printed is written as an escape."""
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def listed(names: Iterable[str]) -> str:
    """Names in a message; of many the first ones."""
    every = [*names]
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return ", ".join(name if len(name) <= _LONG else f"{name[:_LONG]}…" for name in every[:_LISTED]) + more


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= 57 else value[:55] + "…")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_spelled(item) for item in value[:20])}]"
    if isinstance(value, dict):
        pairs = [f"{at(name)} = {_spelled(inner)}" for name, inner in list(value.items())[:20]]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    return str(value)


def _quoted(name: str) -> str:
    inner = repr(name)[1:-1].replace('"', '\\"')
    return f'"{inner if len(inner) <= 60 else inner[:57] + "..."}"'
