"""Outputs that stay on the host that made them: known here by content, and not here.

They count as if they stood in their places, so that nothing runs again for want of a copy that nobody needs here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import xxhash

from mlmake.model.job import Entry
from mlmake.model.project import Project
from mlmake.model.step import Step
from mlmake.state.objects import Member, listed


@dataclass(frozen=True, slots=True)
class Away:
    """One output.

    Attributes:
        path: absolute path of its place here, where nothing stands.
        target: the compute target that has it.
        entries: the file, whose path is empty, or all that is in the folder, by paths relative to it.
        digest: as if it stood in its place.
        size: bytes.
    """

    path: str
    target: str
    entries: tuple[Entry, ...]
    digest: str
    size: int

    @classmethod
    def of(cls, path: str, target: str, entries: Iterable[Entry]) -> Away:
        """What a host tells of one of its outputs: the output itself comes first."""
        first, *inside = entries
        size = sum(each.size for each in inside) or first.size
        if not first.path.endswith("/"):
            return cls(path, target, (first._replace(path=""),), first.digest, first.size)
        below = tuple(each._replace(path=each.path[len(first.path) :]) for each in inside)
        text = listed(Member(each.path, each.digest, each.is_executable) for each in below)
        return cls(path, target, below, xxhash.xxh3_128_hexdigest(text), size)

    @property
    def is_folder(self) -> bool:
        return [each.path for each in self.entries] != [""]

    def files(self) -> Iterator[Entry]:
        """Its files."""
        return (each for each in self.entries if each.digest)


class Readers:
    """Who reads what the steps of a project write."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._whole: dict[str, list[Step]] = {}
        self._in_part: set[str] = set()
        for step in project.steps.values():
            for source in (source for each in step.inputs for source in each.sources):
                if source.location.path in project.owners and not source.location.pattern:
                    self._whole.setdefault(source.location.path, []).append(step)
                else:
                    self._in_part.update(source.producers)

    def of(self, path: str) -> list[Step]:
        """The steps that read an output."""
        return self._whole.get(path, [])

    def read_a_part(self, path: str) -> bool:
        """Whether a step reads only a part of an output, such as a file of a folder."""
        return self._project.owners.get(path) in self._in_part


class Elsewhere:
    """All outputs that are away.

    What is on a target that the project names no more counts as lost, and so does that of which a step reads a part:
    the steps that made it run again.
    """

    def __init__(self, connection: sqlite3.Connection, project: Project) -> None:
        self._connection = connection
        rows = connection.execute("SELECT path, target, entries, digest, size FROM away").fetchall()
        readers = Readers(project) if rows else None
        self._rows = {
            row[0]: _read(*row)
            for row in rows
            if readers and row[1] in project.computes and not readers.read_a_part(row[0])
        }

    def at(self, path: str) -> Away | None:
        """What belongs at a path and is away."""
        return self._rows.get(path)

    def strays(self, step: Step, target: str) -> list[Away]:
        """What a step that is to run on a target reads, and neither that nor this machine has."""
        if not self._rows:
            return []
        paths = dict.fromkeys(source.location.path for each in step.inputs for source in each.sources)
        return [away for away in map(self.at, paths) if away and away.target != target]

    def put(self, away: Away) -> None:
        """Note that an output is away; call it inside a transaction."""
        self._rows[away.path] = away
        row = (away.path, away.target, json.dumps(away.entries), away.digest, away.size)
        self._connection.execute("INSERT OR REPLACE INTO away VALUES (?, ?, ?, ?, ?)", row)

    def drop(self, paths: Iterable[str]) -> None:
        """Note that outputs are away no more, or nowhere; call it inside a transaction."""
        for path in paths:
            if self._rows.pop(path, None):
                self._connection.execute("DELETE FROM away WHERE path = ?", (path,))


def _read(path: str, target: str, entries: str, digest: str, size: int) -> Away:
    return Away(path, target, tuple(Entry(*each) for each in json.loads(entries)), digest, size)
