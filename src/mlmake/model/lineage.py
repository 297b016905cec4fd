"""Lineage as data: which step run read and wrote what, and where a thing lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlmake.model.run import Item, Outcome


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Activity:
    """One good run of a step, seen for its data.

    Attributes:
        inputs: input name -> what it held when the step started.
        outputs: what it left.
        names: text of an output -> the name that the step gave it.
    """

    run: int
    step: str
    outcome: Outcome = Outcome.DONE
    started: float = 0.0
    ended: float | None = None
    inputs: Mapping[str, tuple[Item, ...]] = field(default_factory=dict)
    outputs: tuple[Item, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """Where data lies: `build/x.csv` of the project, `raw/x.csv` of the datastore `lake`.

    Attributes:
        key: equal for all texts that name one place: an absolute path without a trailing `/`, or a URL.
        store: `project`, a datastore, or the scheme of a URL.
        path: in the store.
    """

    key: str
    store: str
    path: str
    is_folder: bool = False
    is_remote: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """A step run that read something, and the name of the input under which it did."""

    activity: Activity
    name: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Version:
    """One content of one place, with every step run that made or used it, oldest first.

    The item's text is as a step first named it; its digest is the content, or a datastore's version of it.
    """

    where: Where
    item: Item
    made: list[Activity] = field(default_factory=list)
    used: list[Use] = field(default_factory=list)

    @property
    def maker(self) -> Activity | None:
        """The last step run that really made it; if there was none, the last that brought it out of a cache."""
        ran = [each for each in self.made if each.outcome is Outcome.DONE]
        return next(reversed(ran or self.made), None)


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Whence a step run had something: the version that was made, of the thing, a folder around it or a part of it."""

    version: Version
    activity: Activity
