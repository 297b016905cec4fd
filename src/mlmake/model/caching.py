"""What `[cache]` says: how results are kept and shared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mlmake.model.data import Value


class Link(Enum):
    """How a cached file comes into its place."""

    COPY = "copy"  # a reflink where the file system can, else a copy
    HARDLINK = "hardlink"  # the file in its place is the object itself, read-only
    SYMLINK = "symlink"  # a link into the cache, to a read-only object


class Mode(Enum):
    """What is done with the shared cache."""

    READ = "read"
    WRITE = "write"
    BOTH = "read-write"

    @property
    def reads(self) -> bool:
        return self is not Mode.WRITE

    @property
    def writes(self) -> bool:
        return self is not Mode.READ


@dataclass(frozen=True, kw_only=True, slots=True)
class CachePolicy:
    """How results are kept.

    Attributes:
        size: bytes beyond which what nobody needs goes, least recently used first; 0 for no limit.
        runs: what the newest runs wrote is needed: so many of them.
        remote: URL of the shared cache; "" for none. `options` go with it, with `${env:NAME}` unfilled.
        name: how the user wrote `remote`.
    """

    enabled: bool = True
    link: Link = Link.COPY
    size: int = 0
    runs: int = 10
    remote: str = ""
    name: str = ""
    options: Mapping[str, Value] = field(default_factory=dict)
    mode: Mode = Mode.BOTH
