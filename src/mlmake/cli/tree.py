"""A tree as text, drawn from what each branch says of itself and of those below it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import click

_MOST = 24
"""Branches of one branch that are drawn; JSON has them all."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One line.

    Attributes:
        key: what it is: where the same comes again, what is below it is not drawn again.
        children: finds what is below it, when that is to be drawn.
    """

    text: str
    key: Hashable
    children: Callable[[], Sequence[Branch]]


def draw(roots: Sequence[Branch], depth: int) -> Iterator[str]:
    """The lines of a tree, `depth` branches deep."""
    seen: set[Hashable] = set()
    waiting = [("", branch, is_last, 1) for branch, is_last in reversed(_ended(roots))]
    while waiting:  # no recursion: lineages are long
        lane, branch, is_last, level = waiting.pop()
        below = branch.children()
        note = _note(bool(below), branch.key in seen, level >= depth)
        yield f"{lane}{'└─' if is_last else '├─'} {branch.text}{note}"
        if not note:
            seen.add(branch.key)
            further = f"{lane}{'   ' if is_last else '│  '}"
            waiting += [(further, each, last, level + 1) for each, last in reversed(_ended(below))]


def _note(has_more: bool, is_drawn: bool, is_deep: bool) -> str:
    if not has_more or not (is_drawn or is_deep):
        return ""
    return click.style(" (as above)" if is_drawn else " …", dim=True)


def _ended(branches: Sequence[Branch]) -> list[tuple[Branch, bool]]:
    """Each branch and whether it is the last; of very many, the first ones."""
    shown = list(branches[:_MOST])
    if len(branches) > len(shown):
        text = click.style(f"and {len(branches) - len(shown)} more; --json tells all", dim=True)
        shown.append(Branch(text, text, tuple))
    return [(branch, position == len(shown)) for position, branch in enumerate(shown, 1)]
