"""What a watch keeps up to date: the selected steps, as they stood after the last build."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from mlmake.config.load import load
from mlmake.engine import dodo, jobs
from mlmake.engine.look import judge
from mlmake.engine.recall import Recall
from mlmake.engine.run import Request, build
from mlmake.engine.scope import Rows, Scope, nothing, open_scope
from mlmake.engine.standing import TOML, Standing
from mlmake.errors import MlmakeError
from mlmake.home import Home
from mlmake.model.project import FILE, Project
from mlmake.model.run import Summary
from mlmake.services.watch.face import Brief, Face
from mlmake.services.watch.interest import Row
from mlmake.services.watch.post import Post
from mlmake.state import snapshot
from mlmake.state.database import opened
from mlmake.state.declared import declares

_WARM = (dodo, jobs)
"""Loaded from the start, so that the first change does not wait for them."""
_PATIENCE = 3
"""Builds in a row that leave a step stale, after which it is taken to change itself what it reads."""


class Selection:
    """The steps that are watched.

    Attributes:
        root: the project's folder.
        project: as it was last read, perhaps narrowed.
        is_lost: nobody knows how things stand, as a datastore could not be asked after the last build.
        post: the files that decide about the steps.
    """

    project: Project
    post: Post

    def __init__(self, root: str, request: Request, face: Face) -> None:
        self.root = root
        self._request = replace(request, keep_going=True)
        self._words = request.targets
        self._face = face
        self._brief = Brief()
        self._standing: Standing | None = None
        self._refused = snapshot.ABSENT
        self._in_a_row: dict[str, int] = {}
        self.is_lost = False
        self._seen: dict[Row, object] = {}

    @property
    def steps(self) -> int:
        """How many there are."""
        return self._standing.table.size if self._standing else 0

    @property
    def asks(self) -> bool:
        """Whether data of some is not on this machine."""
        return self._standing is not None and self._standing.table.has_remote

    def stale(self) -> list[str]:
        """The names of those that are not fresh."""
        return [self.project.shown(step) for step in self._standing.table.left] if self._standing else []

    def left(self) -> set[str]:
        """The names of those that are stale because something has changed while they were built."""
        left = self._standing.left() if self._standing else set()
        return {self.project.shown(step) for step in left if self._in_a_row.get(step, 0) < _PATIENCE}

    def worthy(self, rows: Rows) -> Rows:
        """Rows without the project's file, if that is still broken as it was told."""
        if TOML not in rows.get("files", ()) or snapshot.now(os.path.join(self.root, FILE)) != self._refused:
            return rows
        return {**rows, "files": [row for row in rows["files"] if row != TOML]}

    def told(self, rows: Rows) -> list[str]:
        """What has changed in rows, as people write it."""
        paths = self._standing.paths(rows) if self._standing else []
        return [os.path.relpath(path, self.root) if path.startswith(f"{self.root}/") else path for path in paths]

    def pointless(self) -> list[str]:
        """Steps that read what has changed since they were judged, other than by a build, and all after them.

        So do steps that pipelines.toml says otherwise by now, or not at all. For another thread than that of the build.
        """
        standing, post = self._standing, self.post
        if standing is None or post.look.head is not standing.table.head:
            return []  # a build that has just ended is being adopted
        changed = post.changed()
        reworded = self._reworded() if TOML in changed.get("files", ()) else []
        again = [row for row, sight in post.sights(changed).items() if self._seen.get(row) != sight]
        by_others: dict[str, list[int]] = {}
        for table, number in again:
            if not all(map(self._is_made, standing.paths({table: [number]}))):
                by_others.setdefault(table, []).append(number)
        return [*standing.table.reading(by_others), *reworded]

    def _reworded(self) -> list[str]:
        """Steps whose tables mean something else now, and all after them; none while the file is broken."""
        try:
            now = load(self.root).steps
        except MlmakeError:
            return []
        found: dict[str, None] = {}
        for step in self.project.steps.values():
            is_same = step.id in now and declares(step) == declares(now[step.id])
            if not is_same or any(above in found for above in step.upstream):
                found[step.id] = None
        return list(found)

    def look(self) -> None:
        """Find out how things stand, without building. Raises MlmakeError."""
        scope = self._open()
        with opened(Home(self.root), create=True) as connection:
            judge(scope, connection)
        self._adopt(scope)

    def build(
        self, rows: Rows, why: Sequence[str], recall: Recall | None = None, *, asks: bool, retries: bool
    ) -> Summary | None:
        """Build what rows can reach that have changed; None if that is nothing. Raises MlmakeError.

        With `retries` everything is looked at, and what has failed is tried again.
        """
        scope = self._open() if retries else self._scope(rows, asks)
        if scope is None:
            return None
        self.project = scope.project
        if not scope.steps and not scope.others:
            self._adopt(scope)
            return None
        if recall and self._standing:
            is_narrow = scope.table is self._standing.table
            self._seen = self.post.sights(rows if is_narrow else self._standing.look.changed())
        is_told = retries

        def begins() -> None:
            nonlocal is_told
            is_told = True
            self._face.woken(why)

        with self._face.building(scope.project) as sink:
            tell = self._brief.filtered(sink, begins, tells_all=retries)
            summary = build(scope.project, replace(self._request, patient=not retries), tell, scope, recall)
        self._adopt(scope)
        self._count_left(bool(rows))
        if is_told:
            self._face.built(summary, self.stale())
        return summary if is_told else None

    def build_pipeline(self, name: str, why: str) -> Summary:
        """Build a pipeline whose trigger says so; what has failed is tried again. Raises MlmakeError."""
        scope = open_scope(self.root, (name,))
        self._face.woken([f"{name}: {why}"])
        with self._face.building(scope.project) as sink:
            summary = build(scope.project, replace(self._request, targets=(name,), folder=""), sink, scope)
        self._face.built(summary, self.stale())
        return summary

    # The scope of a build.

    def _scope(self, rows: Rows, asks: bool) -> Scope | None:
        """The steps to look at; None if there is nothing."""
        standing = self._standing
        if standing is None or not standing.is_current:
            return self._open()
        if TOML in rows.get("files", ()):
            scope = self._mended()
            if scope is not None:
                return scope
            rows = {**rows, "files": [row for row in rows["files"] if row != TOML]}
        if not any(rows.values()) and not asks and not self.left():
            return None
        return standing.narrowed(rows, asks=asks)

    def _mended(self) -> Scope | None:
        """The project anew; None while its file is broken, which is told once."""
        found = snapshot.now(os.path.join(self.root, FILE))
        if found == self._refused:
            return None
        try:
            return self._open(narrow=False)
        except MlmakeError as error:
            self._refused = found
            self._face.problem(error)
            return None

    def _open(self, *, narrow: bool = True) -> Scope:
        """The selected steps; without a word of the user, pipelines with triggers wait for these."""
        self._request = replace(self._request, targets=self._words)
        scope = open_scope(self.root, self._words, self._request.folder, narrow=narrow)
        if self._words or not any(pipeline.trigger for pipeline in scope.project.pipelines.values()):
            return scope
        if scope.table:
            scope = open_scope(self.root, (), self._request.folder, narrow=False)
        chosen = _untriggered(scope.project)
        if chosen is None:
            return scope
        self._request = replace(self._request, targets=tuple(chosen))
        if not chosen:
            return nothing(scope.project)
        return open_scope(self.root, self._request.targets, self._request.folder, narrow=narrow)

    def _adopt(self, scope: Scope) -> None:
        """Take a scope that was judged for how things stand."""
        self.project = scope.project
        standing = Standing.of(scope)
        self.is_lost = standing is None
        if standing is None:
            if self._standing is not None:
                return
            standing = Standing.unknown(scope.project)
        is_same = self._standing is not None and self._standing.table is standing.table
        self._standing = standing
        if not is_same:
            self.post = Post(standing.look, self.root)

    def _is_made(self, path: str) -> bool:
        """Whether a step makes a file, or a folder that it lies in."""
        while path not in self.project.owners and path != os.path.dirname(path):
            path = os.path.dirname(path)
        return path in self.project.owners

    def _count_left(self, is_fresh_start: bool) -> None:
        """Count how often a step was built and left stale, with nothing else that had changed."""
        left = self._standing.left() if self._standing else set()
        before = {} if is_fresh_start else self._in_a_row
        self._in_a_row = {step: before.get(step, 0) + 1 for step in left}


def _untriggered(project: Project) -> list[str] | None:
    """The pipelines without triggers, of those that are built by default; None for these as they are."""
    default = project.pipelines.get(project.default)
    if default:
        return [] if default.trigger else None
    if project.default:
        return None
    return [name for name, pipeline in project.pipelines.items() if not pipeline.trigger]
