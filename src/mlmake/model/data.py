"""Where data lives: locations, and the inputs and outputs of a step that name them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

Scalar: TypeAlias = str | int | float | bool
Value: TypeAlias = Any
"""A TOML value: a scalar, a date, a list or a table of values."""


@dataclass(frozen=True, slots=True)
class Location:
    """One file or folder, by the name that the user gave it and by the place where it is.

    Attributes:
        text: as declared and portable: `build/x.csv`, `raw://x.csv`, `s3://bucket/x`.
        path: absolute path on this machine, or the full URL when `is_remote`; of a glob, the folder it starts in.
        is_folder: declared with a trailing `/`.
        pattern: the rest of a glob, from `path` on; "" where the location is one file or folder.
    """

    text: str
    path: str
    is_folder: bool = False
    pattern: str = ""
    is_remote: bool = False

    @property
    def base(self) -> str:
        """The folder that its files are told from, as a plain path."""
        text = plain(self.text)
        if self.pattern:
            return text.removesuffix(self.pattern.rstrip("/")).rstrip("/")
        return text if self.is_folder else os.path.dirname(text)


def plain(text: str) -> str:
    """The text of a location as a path of folders: `raw/x.csv` for `raw://x.csv`."""
    return text.replace("://", "/").rstrip("/")


@dataclass(frozen=True, slots=True)
class Source:
    """One item of an input: a location, and the ids of the steps that make it or a part of it, if any do."""

    location: Location
    producers: tuple[str, ...] = ()


class InputMode(Enum):
    """How a step is handed an input.

    FETCH: paths on its machine, in order. PATH: the URL that it has in its datastore, for the step to read by itself.
    FOLDER: one folder that holds just these files.
    """

    FETCH = "fetch"
    PATH = "path"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Input:
    """A named input: what a step reads, in the order in which it is handed over."""

    name: str
    sources: tuple[Source, ...]
    mode: InputMode = InputMode.FETCH

    @property
    def is_streamed(self) -> bool:
        """Whether the step reads it in its datastore."""
        return self.mode is InputMode.PATH

    @property
    def top(self) -> str:
        """The last folder that all of it is in: what a step is handed for `mode = "folder"` begins there."""
        bases = [source.location.base for source in self.sources]
        return os.path.commonpath(bases or [""]) or "."


@dataclass(frozen=True, slots=True)
class Output:
    """A named output: what a step writes. A metrics output is a JSON file that the run remembers."""

    name: str
    location: Location
    is_metrics: bool = False


@dataclass(frozen=True, slots=True)
class Datastore:
    """A named place for data: a folder, or any fsspec URL with its options.

    `options` keeps `${env:NAME}` unfilled: a secret is looked up where it is used and nowhere else.
    """

    name: str
    url: str
    options: Mapping[str, Value] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        return "://" in self.url and not self.url.startswith("file://")
