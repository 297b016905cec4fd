"""Globs over names that are at hand, as `glob` matches files on a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import translate
from functools import lru_cache
from re import compile as compile_regex

_ANY_DEPTH = "**"


def matches(path: str, pattern: str, is_folder: bool = False) -> bool:
    """Whether a glob may match a relative path or, of a folder, something inside it; `**` crosses folders.

    As in `glob`: a wildcard matches no leading dot. No recursion and no backtracking over folders, so that a
    pattern of many `**` costs no more than its length times the path's.
    """
    parts = pattern.split("/")
    places = _opened({0}, parts)
    for name in path.split("/"):
        places = _opened({step for place in places for step in _stepped(name, place, parts)}, parts)
        if not places:
            return False
    return len(parts) in places or is_folder


def _stepped(name: str, place: int, parts: list[str]) -> Iterator[int]:
    """Where in a pattern one can be after one more part of a path."""
    if place == len(parts):
        return
    part = parts[place]
    if part == _ANY_DEPTH:
        if not name.startswith("."):
            yield place
            if place == len(parts) - 1:
                yield place + 1
    elif (part.startswith(".") or not name.startswith(".")) and _matcher(part)(name):
        yield place + 1


def _opened(places: set[int], parts: list[str]) -> set[int]:
    """`places`, and those behind a `**`, which may match nothing; at the end it matches something, if not a folder."""
    opened = set(places)
    for place in places:
        while place < len(parts) - 1 and parts[place] == _ANY_DEPTH:
            place += 1
            opened.add(place)
    return opened


@lru_cache(maxsize=1000)
def _matcher(part: str) -> Callable[[str], object]:
    return compile_regex(translate(part)).fullmatch
