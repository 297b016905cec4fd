"""Trees as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from mlmake.cli.tree import Branch, draw


def branch(name: str, below: Mapping[str, Sequence[str]]) -> Branch:
    return Branch(name, name, lambda: [branch(each, below) for each in below.get(name, ())])


def drawn(below: Mapping[str, Sequence[str]], depth: int = 100) -> list[str]:
    roots = [branch(each, below) for each in below[""]]
    return [click.unstyle(line) for line in draw(roots, depth)]


def test_lines() -> None:
    assert drawn({"": "ab", "a": "cd", "c": "e"}) == ["├─ a", "│  ├─ c", "│  │  └─ e", "│  └─ d", "└─ b"]


def test_the_same_is_drawn_once() -> None:
    assert drawn({"": "ab", "a": "c", "b": "c", "c": "d"}) == [
        *("├─ a", "│  └─ c", "│     └─ d"),
        *("└─ b", "   └─ c (as above)"),
    ]


def test_depth() -> None:
    assert drawn({"": "a", "a": "b", "b": "c"}, 2) == ["└─ a", "   └─ b …"]
    assert drawn({"": "a", "a": "b"}, 2) == ["└─ a", "   └─ b"]


def test_very_many_are_counted() -> None:
    lines = drawn({"": [str(number) for number in range(100)]})
    assert lines[-1] == "└─ and 76 more; --json tells all"
    assert len(lines) == 25


def test_a_long_chain() -> None:
    assert len(drawn({"": ["0"], **{str(n): [str(n + 1)] for n in range(2000)}}, 5000)) == 2001
