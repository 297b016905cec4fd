"""What a requirements file names beside packages of an index: other such files, and packages that lie here. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_COMMENT = re.compile(r"(^|\s)#.*$")
_CONTINUED = re.compile(r"\\\n")
PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@$]+@")
"""A password in a URL. `${TOKEN}` is none: the installer fills it from its environment."""
_LISTS = ("-r", "--requirement", "-c", "--constraint")
_EDITABLE = ("-e", "--editable")
_LINKS = ("-f", "--find-links")
_TAIL = re.compile(r"\s*(;|\s--?\w).*$|\[[^\]]*\]\s*$")
_ARCHIVES = (".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2")


class Named(NamedTuple):
    """What requirements name: paths of further files, relative to this one; of packages, relative to the project; of
    folders that hold packages.

    Where a password stands in them, they are secret.
    """

    lists: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    editable: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    is_secret: bool = False


def named_in(text: str) -> Named:
    """What a requirements file names; a conda file too, in its part for pip."""
    named = named_by(_COMMENT.sub("", line) for line in _CONTINUED.sub(" ", text).splitlines())
    return named._replace(is_secret=bool(PASSWORD.search(text)))


def named_by(lines: Iterable[str]) -> Named:
    """What requirements name, one a line."""
    lists: list[str] = []
    packages: list[str] = []
    editable: list[str] = []
    links: list[str] = []
    for line in lines:
        words = line.strip().removeprefix("- ").strip().strip("\"'")
        option, value = _option(words)
        if option in _LISTS:
            lists.append(value)
        elif option in _EDITABLE:
            editable += _paths(value)
        elif option in _LINKS and "://" not in value:
            links.append(value)
        elif not option:
            packages += _paths(words)
    return Named(tuple(lists), tuple(packages), tuple(editable), tuple(links))


def _option(words: str) -> tuple[str, str]:
    """`-r x.txt`, `-rx.txt` or `--requirement=x.txt` taken apart; ("", "") if it is no option."""
    if not words.startswith("-"):
        return "", ""
    option, _, value = re.sub(r"^(--[\w-]+)=", r"\1 ", words).partition(" ")
    if option[1:2] != "-" and len(option) > 2:
        option, value = option[:2], option[2:]
    return option, value.strip().strip("\"'")


def _paths(requirement: str) -> Iterator[str]:
    """The path in a requirement that may be a file or folder here: `./libs/x`, `x.whl`, `x @ file:///x.whl`."""
    place = _TAIL.sub("", requirement.partition(" @ ")[2] or requirement).strip()
    if place.startswith("file:"):
        yield unquote(urlsplit(place).path)
    elif "://" not in place and ("/" in place or place in (".", "..") or place.endswith(_ARCHIVES)):
        yield place
