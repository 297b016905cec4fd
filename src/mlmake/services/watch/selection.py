"""What a watch keeps up to date: the selected steps, as they stood after the last build."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from mlmake.engine.look import judge
from mlmake.engine.run import Request, build
from mlmake.engine.scope import Rows, Scope, open_scope
from mlmake.engine.standing import TOML, Standing
from mlmake.errors import MlmakeError
from mlmake.home import Home
from mlmake.model.project import FILE
from mlmake.model.run import Summary
from mlmake.services.watch.face import Brief, Face
from mlmake.services.watch.post import Post
from mlmake.state import snapshot
from mlmake.state.database import connect, explained

_PATIENCE = 3
"""Builds in a row that leave a step stale, after which it changes what it reads itself."""


class Selection:
    """The steps that are watched.

    Attributes:
        post: the files that decide about them.
    """

    post: Post

    def __init__(self, root: str, request: Request, face: Face) -> None:
        self._root = root
        self._request = replace(request, keep_going=True)
        self._face = face
        self._brief = Brief()
        self._standing: Standing | None = None
        self._refused = snapshot.ABSENT
        self._in_a_row: dict[str, int] = {}

    @property
    def steps(self) -> int:
        """How many there are."""
        return self._standing.table.size if self._standing else 0

    def left(self) -> set[str]:
        """Steps that are stale because something has changed while they were built."""
        left = self._standing.left() if self._standing else set()
        return {step for step in left if self._in_a_row.get(step, 0) < _PATIENCE}

    def told(self, rows: Rows) -> list[str]:
        """What rows stand for, as people write it."""
        paths = self._standing.paths(rows) if self._standing else []
        return [os.path.relpath(path, self._root) if path.startswith(self._root) else path for path in paths]

    def look(self) -> None:
        """Find out how things stand, without building. Raises MlmakeError."""
        scope = self._open()
        home = Home(self._root)
        connection = connect(home, create=True)
        try:
            with explained(home):
                judge(scope, connection)
        finally:
            connection.close()
        self._adopt(scope)

    def build(self, rows: Rows, why: Sequence[str], *, asks: bool, retries: bool) -> Summary | None:
        """Build what rows can reach that have changed; None if that is nothing. Raises MlmakeError.

        With `retries` everything is looked at, and what has failed is tried again.
        """
        scope = self._open() if retries else self._scope(rows, asks)
        if scope is None:
            return None
        request = replace(self._request, patient=not retries)
        is_told = False

        def begins() -> None:
            nonlocal is_told
            is_told = True
            self._face.woken(why)

        with self._face.building(scope.project) as sink:
            summary = build(scope.project, request, self._brief.filtered(sink, begins), scope)
        self._adopt(scope)
        self._count_left(bool(rows))
        if is_told or retries:
            self._face.built(summary, sorted(self._standing.table.left) if self._standing else [])
        return summary if is_told or retries else None

    def _scope(self, rows: Rows, asks: bool) -> Scope | None:
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
        found = snapshot.now(os.path.join(self._root, FILE))
        if found == self._refused:
            return None
        try:
            return self._open(narrow=False)
        except MlmakeError as error:
            self._refused = found
            self._face.problem(error)
            return None

    def _open(self, *, narrow: bool = True) -> Scope:
        return open_scope(self._root, self._request.targets, self._request.folder, narrow=narrow)

    def _adopt(self, scope: Scope) -> None:
        standing = Standing.of(scope)
        if standing is None:
            return
        is_same = self._standing is not None and self._standing.table is standing.table
        self._standing = standing
        if not is_same:
            self.post = Post(standing.look)

    def _count_left(self, is_fresh_start: bool) -> None:
        """Count how often a step was built and left stale, with nothing else that had changed."""
        left = self._standing.left() if self._standing else set()
        before = {} if is_fresh_start else self._in_a_row
        self._in_a_row = {step: before.get(step, 0) + 1 for step in left}
