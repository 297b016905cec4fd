"""Looks: a project with its steps as far as they can have changed since it was last judged.

`open_scope` gives the whole project, or, where a snapshot of the last judgement shows that only some files changed,
just the steps that these can reach; `Scope.remember` writes the next snapshot from the next judgement.
"""

from __future__ import annotations

import os
import pickle
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, TypeAlias

from mlmake.engine.ledger import Ledger
from mlmake.engine.packing import BATCH, Specs, packed, unpacked
from mlmake.home import Home
from mlmake.model.project import FILE, Project
from mlmake.model.reason import State, Verdict
from mlmake.model.step import Step
from mlmake.plan.selection import named, named_outputs, with_upstream
from mlmake.state import snapshot
from mlmake.state.stamps import Stamp, is_racy

_TABLES = ("files", "listings", "globs", "trees")
_EMPTY: dict[str, Any] = {"files": "", "listings": ("", []), "globs": ("", "", []), "trees": ("", Stamp().mark)}
"""Rows of what is never there, and so never changes."""
_TOML = ("files", 0)
Rows: TypeAlias = Mapping[str, Sequence[int]]
"""Rows of a snapshot's tables, by number."""


@dataclass(slots=True)
class Scope:
    """What a build or `status` has to look at.

    Attributes:
        project: whole, or narrowed to the steps that may have changed; all others are fresh.
        steps: the selected steps that it holds, each after all before it.
        others: how many more are selected, and fresh.
        table: the snapshot that it was narrowed by, or that was written of it.
        path: where that stands; "" where none is kept.
        changed: its rows that have changed.
    """

    project: Project
    steps: list[Step]
    others: int = 0
    table: Table | None = None
    path: str = ""
    changed: Rows = field(default_factory=dict)
    _toml: tuple[int, int, int, int] = snapshot.NEVER
    _words: tuple[Sequence[str], str] = ((), "")

    @property
    def is_narrow(self) -> bool:
        """Only a part of the steps is here, so that what is known of them is better read one by one."""
        return self.others > len(self.steps)

    @property
    def is_current(self) -> bool:
        """No build has run since the snapshot was read that narrowed this; it is always so of a whole project."""
        return self.table is None or snapshot.is_written(self.path, self.table.written)

    def everything(self) -> tuple[Project, list[Step]]:
        """The project with all selected steps, for a listing."""
        return (self.project, self.steps) if self.table is None else self.table.everything()

    def remember(self, ledger: Ledger, verdicts: Mapping[str, Verdict]) -> None:
        """Write the snapshot of a judgement of `steps`, for the same selection the next time."""
        if not self.path:
            return
        self.table = self.table or Table.of(self.project, self.steps)
        self.table.let_go(self.changed)
        self.table.note(self.project, self.steps, ledger, verdicts, self._toml)
        self.table.clear(self.changed)
        if not ledger.away(named_outputs(self.project, *self._words)):  # else that is to be brought the next time
            self.table.write(self.path, Home(self.project.root).database)


def open_scope(
    root: str, targets: Sequence[str] = (), folder: str = "", overrides: Sequence[str] = (), *, narrow: bool = True
) -> Scope:
    """The selected steps of the project at `root`, narrowed if that may be. Raises ConfigError, UsageError."""
    if overrides:
        return _whole(root, targets, folder, overrides, "")
    path = snapshot.path_of(root, targets, folder)
    look = snapshot.read(path, Home(root).database) if narrow else None
    scope = (_narrowed(look) if look else None) or _whole(root, targets, folder, overrides, path)
    scope._words = targets, folder
    return scope


def scope_of(project: Project, targets: Sequence[str] = (), folder: str = "") -> Scope:
    """The selected steps of a project that is loaded already. Raises UsageError."""
    return Scope(project, with_upstream(project, named(project, targets, folder)))


def nothing(project: Project) -> Scope:
    """A scope without steps."""
    return Scope(project, [], table=table_of_nothing(project))


def table_of_nothing(project: Project) -> Table:
    """A table that knows the project's file and nothing more."""
    table = Table.of(project, [])
    table.note_file(project, _stat(os.path.join(project.root, FILE)))
    return table


def _whole(root: str, targets: Sequence[str], folder: str, overrides: Sequence[str], path: str) -> Scope:
    from mlmake.config.load import load

    toml = _stat(os.path.join(root, FILE))
    project = load(root, overrides)
    return Scope(project, with_upstream(project, named(project, targets, folder)), path=path, _toml=toml)


def _stat(path: str) -> tuple[int, int, int, int]:
    """What `stat` says of a file that is about to be read."""
    try:
        status = os.stat(path)
    except OSError:
        return snapshot.NEVER
    times = status.st_mtime_ns, status.st_ctime_ns
    return snapshot.NEVER if is_racy(*times, time.time_ns()) else (status.st_size, *times, status.st_ino)


def _narrowed(look: snapshot.Look) -> Scope | None:
    """The steps that what has changed can reach; None if the file itself has, or the snapshot cannot be used."""
    changed = look.changed()
    if 0 in changed.get("files", ()):
        return None
    rest = look.rest()
    if rest is None:
        return None
    return scope_within(Table(look.head, rest), look.path, changed)


def scope_within(table: Table, path: str, changed: Rows, *, asks: bool = True) -> Scope:
    """The steps that what has changed can reach, by a table that is at hand; `path` is where its snapshot stands."""
    project, steps = table.project(table.reached(changed, asks=asks))
    return Scope(project, steps, table.size - len(steps), table, path, changed)


class Table:
    """A snapshot's tables while they are filled.

    Attributes:
        head: as `snapshot.Look` has it.
        left: verdicts on the steps that were not fresh when they were last judged.
        written: tells the snapshot on disk from any other; 0 where there is none.
    """

    def __init__(self, head: dict[str, Any], rest: dict[str, Any]) -> None:
        self.head = head
        self._rest = rest
        self._numbers = {step: number for number, step in enumerate(rest["ids"])}
        self._rows = {table: self._keys(table) for table in _TABLES}
        self._unsettled = set(head["unsettled"])
        self._remote = set(rest["remote"])
        self.left: dict[str, Verdict] = {}
        self.written: int = head.get("written", 0)

    @classmethod
    def of(cls, project: Project, steps: Sequence[Step]) -> Table:
        """An empty table for a whole selection; pipelines.toml is its first file."""
        specs = list({id(step.spec): step.spec for step in steps}.values())
        places = {id(spec): place for place, spec in enumerate(specs)}
        numbers = {step.id: number for number, step in enumerate(steps)}
        below: list[list[int]] = [[] for _ in steps]
        for number, step in enumerate(steps):
            for above in step.upstream:
                below[numbers[above]].append(number)
        shell = replace(
            project,
            default="",
            steps={},
            owners={},
            pipelines={name: replace(each, steps=()) for name, each in project.pipelines.items()},
        )
        rest = {
            "ids": list(numbers),
            "below": below,
            "steps": [packed(step, places[id(step.spec)]) for step in steps],
            "owners": dict(project.owners),
            "shell": pickle.dumps(shell),
            "specs": [pickle.dumps(specs[start : start + BATCH]) for start in range(0, len(specs), BATCH)],
            "readers": {table: [] for table in _TABLES},
            "remote": [number for number, step in enumerate(steps) if _is_remote(step)],
        }
        groups = [(name, len(list(each))) for name, each in groupby(_group(project, step) for step in steps)]
        head = {**{table: [] for table in _TABLES}, "stats": b"", "variables": [], "groups": groups, "unsettled": []}
        return cls(head, rest)

    def _keys(self, table: str) -> dict[Any, int]:
        """Row by key."""
        return {self._key(table, number): number for number in range(len(self.head[table]))}

    def _key(self, table: str, number: int) -> Any:
        """A path, or a glob's base and pattern."""
        row = self.head[table][number]
        return row if table == "files" else row[:2] if table == "globs" else row[0]

    # Reading.

    @property
    def size(self) -> int:
        """How many steps are selected."""
        return len(self._rest["ids"])

    @property
    def has_remote(self) -> bool:
        """Whether data of some steps is not on this machine."""
        return bool(self._remote)

    def reached(self, changed: Rows, *, asks: bool = True) -> list[int]:
        """Numbers of the steps that read what has changed, were not fresh, or come after one of these.

        With `asks` false, steps whose data is not on this machine count as they were when they were last asked for.
        """
        found = set(self._unsettled)
        if not asks:
            found -= self._remote - {self._numbers[step] for step in self.left}
        return self._onward(found, changed)

    def reading(self, changed: Rows) -> list[str]:
        """The ids of the steps that read what has changed, and of those after them."""
        return [self._rest["ids"][number] for number in self._onward(set(), changed)]

    def _onward(self, found: set[int], changed: Rows) -> list[int]:
        readers = self._rest["readers"]
        found.update(step for table, rows in changed.items() for row in rows for step in readers[table][row])
        waiting = list(found)
        while waiting:
            for after in self._rest["below"][waiting.pop()]:
                if after not in found:
                    found.add(after)
                    waiting.append(after)
        return sorted(found)

    def project(self, numbers: Iterable[int]) -> tuple[Project, list[Step]]:
        """The project with just these steps."""
        shell, specs = pickle.loads(self._rest["shell"]), Specs(self._rest["specs"])
        steps = [unpacked(self._rest["steps"][number], specs) for number in numbers]
        by_pipeline: dict[str, list[Step]] = {}
        for step in steps:
            by_pipeline.setdefault(step.pipeline, []).append(step)
        pipelines = {
            name: replace(each, steps=tuple(by_pipeline.get(name, ()))) for name, each in shell.pipelines.items()
        }
        known = {step.id: step for step in steps}
        return replace(shell, steps=known, owners=self._rest["owners"], pipelines=pipelines), steps

    def everything(self) -> tuple[Project, list[Step]]:
        """The project with all selected steps."""
        return self.project(range(len(self._rest["ids"])))

    # Writing.

    def let_go(self, changed: Rows) -> None:
        """Take these rows for read by nobody: all who read them are noted again."""
        for table, rows in changed.items():
            for number in rows:
                self._rest["readers"][table][number].clear()

    def clear(self, changed: Rows) -> None:
        """Empty those of these rows that nobody has read since, so that they change no more."""
        for table, rows in changed.items():
            for number in rows:
                if not self._rest["readers"][table][number] and (table, number) != _TOML:
                    self._rows[table].pop(self._key(table, number), None)
                    self.head[table][number] = _EMPTY[table]
                    if table == "files":
                        self.head["stats"] = snapshot.without(self.head["stats"], number)

    def note(
        self,
        project: Project,
        steps: Iterable[Step],
        ledger: Ledger,
        verdicts: Mapping[str, Verdict],
        toml: tuple[int, int, int, int],
    ) -> None:
        """Take down what decided each of `steps`, and whether it is settled."""
        stats = snapshot.unpacked_stats(self.head["stats"])
        stats += [snapshot.NEVER] * (len(self.head["files"]) - len(stats))
        names: dict[str, None] = dict.fromkeys(name for name, _ in self.head["variables"])
        if not self.head["files"]:
            self.note_file(project, toml)
            stats.append(toml)
        for step in steps:
            number = self._numbers[step.id]
            settled = verdicts[step.id].state is State.FRESH and not _is_remote(step)
            (self._unsettled.discard if settled else self._unsettled.add)(number)
            self.left.pop(step.id, None)
            if verdicts[step.id].state is not State.FRESH:
                self.left[step.id] = verdicts[step.id]
            watched = ledger.fingerprints.watched(step)
            names.update(dict.fromkeys(watched.variables))
            for path in watched.files:
                self._note_path(path, number, ledger, stats)
            for folder, found in watched.listings.items():
                self._put("listings", folder, (folder, found), number)
            for key, found in watched.globs.items():
                self._put("globs", key, (*key, found), number)
        self.head["stats"] = snapshot.flat_stats(stats)
        self.head["variables"] = snapshot.variables(names)

    def note_file(self, project: Project, toml: tuple[int, int, int, int]) -> None:
        """Take down pipelines.toml, as the first of all files."""
        self.head["files"].append(os.path.join(project.root, FILE))
        self.head["stats"] = snapshot.flat_stats([toml])
        self._rest["readers"]["files"].append([])  # nobody in particular: all is read again when it changes

    def _note_path(self, path: str, number: int, ledger: Ledger, stats: list[tuple[int, int, int, int]]) -> None:
        tree = ledger.digests.tree_of(path)
        if tree is not None:
            self._put("trees", path, (path, tree), number)
            return
        row = self._put("files", path, path, number)
        stats += [snapshot.NEVER] * (row + 1 - len(stats))
        stats[row] = ledger.digests.stat_of(path)

    def _put(self, table: str, key: Any, row: Any, step: int) -> int:
        """Put or replace a row that `step` reads; its number."""
        rows, readers = self.head[table], self._rest["readers"][table]
        number = self._rows[table].setdefault(key, len(rows))
        if number == len(rows):
            rows.append(row)
            readers.append([])
        rows[number] = row
        _insert(readers[number], step)
        return number

    def write(self, path: str, database: str) -> None:
        """Write it to disk."""
        self.head["unsettled"] = sorted(self._unsettled)
        self.written = snapshot.write(path, database, self.head, self._rest)


def _insert(readers: list[int], step: int) -> None:
    """Put a number into a sorted list, once; mostly it belongs at the end."""
    if not readers or readers[-1] < step:
        readers.append(step)
    elif readers[-1] != step and readers[(place := bisect_left(readers, step))] != step:
        readers.insert(place, step)


def _group(project: Project, step: Step) -> str:
    name = project.shown(step.id)
    return name.partition("[")[0] if step.matrix else name


def _is_remote(step: Step) -> bool:
    """Whether it reads or writes what no `stat` of this machine shows: it is asked for each time."""
    inputs = (source.location for each in step.inputs for source in each.sources)
    return any(each.is_remote for each in (*inputs, *(output.location for output in step.outputs)))
