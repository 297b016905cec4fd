"""What an import makes: the tables of a `pipelines.toml`, and a note for each thing that has no counterpart there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlmake.config.places import SCHEMES
from mlmake.model.data import Value

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know: of a step, or of the file ("")."""

    step: str
    what: str

    def __str__(self) -> str:
        return f"{self.step}: {self.what}" if self.step else self.what


@dataclass(kw_only=True, slots=True)
class Draft:
    """A `pipelines.toml` of one pipeline while it is filled.

    Attributes:
        source: the file that it is made from.
        idle: steps that the other tool would not run; they are written as comments.
        sections: `datastores`, `compute`, `environments`.
    """

    source: str
    pipeline: str = "main"
    description: str = ""
    params: dict[str, Value] = field(default_factory=dict)
    steps: dict[str, dict[str, Value]] = field(default_factory=dict)
    idle: dict[str, dict[str, Value]] = field(default_factory=dict)
    sections: dict[str, dict[str, Value]] = field(default_factory=dict)
    notes: dict[Note, None] = field(default_factory=dict)

    def note(self, what: str, step: str = "") -> None:
        """Tell something once."""
        self.notes[Note(step, what)] = None

    def leave(self, table: Mapping[str, Value], known: Iterable[str], step: str = "", where: str = "") -> None:
        """Note each key of a table that nobody has asked for."""
        legal = {*known}
        for key in table:
            if key not in legal:
                self.note(f"{where}{key}: has no counterpart", step)

    def datastore(self, name: str, url: str) -> str:
        """The name of a datastore for a folder or URL: `name`, or nearly so."""
        stores = self.sections.setdefault("datastores", {})
        name = as_name(name)
        while name in SCHEMES or stores.get(name, url) != url:
            name += "-1"
        stores[name] = url
        return name

    def free(self, name: str) -> str:
        """A name that no step has, from what the other tool calls it."""
        return unlike(as_name(name), {*self.steps, *self.idle})


def as_name(text: str) -> str:
    """`text` with a dash for all that a name cannot hold."""
    return _NO_NAME.sub("-", text).strip("-")[:90] or "step"


def unlike(name: str, taken: Iterable[str]) -> str:
    """`name`, with a number behind it where it is taken."""
    names = {*taken}
    number = 2
    found = name
    while found in names:
        found = f"{name}-{number}"
        number += 1
    return found
