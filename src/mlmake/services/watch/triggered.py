"""Pipelines that are built when their triggers say so."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing

from mlmake.model.data import Location
from mlmake.model.project import Project
from mlmake.model.trigger import Trigger
from mlmake.services.watch.clock import next_due
from mlmake.services.watch.post import Post
from mlmake.state import snapshot
from mlmake.state.database import empty
from mlmake.state.remotes import Remotes
from mlmake.state.stamps import stamp


class Triggered:
    """A pipeline with triggers.

    Attributes:
        due: when it is built next by the clock, in seconds since the epoch; None where no clock says so.
        post: the files on whose change it is built.
    """

    def __init__(self, name: str, trigger: Trigger, root: str, now: float) -> None:
        self.name = name
        self._root = root
        self.trigger = trigger
        self.due = next_due(trigger, now)
        self._local = [each for each in trigger.on_change if not each.is_remote]
        self._remote = [each for each in trigger.on_change if each.is_remote]
        self._versions: dict[str, str | None] | None = None
        self.post = Post(self._look(), self._root)
        self.post.changed()

    @property
    def starts_at_once(self) -> bool:
        """Whether it is built when the watch starts, as what came before then would be missed."""
        return bool(self.trigger.on_change or self.trigger.every)

    @property
    def asks(self) -> bool:
        """Whether it depends on files that are not on this machine."""
        return bool(self._remote)

    def is_due(self, now: float) -> bool:
        """Whether its time has come: once, however often it came since the last build."""
        if self.due is None:
            return False
        if self.trigger.every and self.due > now + self.trigger.every:  # the clock was set back
            self.due = next_due(self.trigger, now)
        return self.due is not None and self.due <= now

    def starts(self, now: float) -> None:
        """It is being built: the next time is counted from now, and what arrives from now on is for the next build."""
        self.due = next_due(self.trigger, now)
        self.post = Post(self._look(), self._root)
        self.post.changed()

    def has_other_versions(self, project: Project) -> bool:
        """Whether files changed that are not on this machine; asks their datastores. Raises StoreError."""
        with closing(empty()) as connection, closing(Remotes(project.datastores, connection)) as remotes:
            found = {each.text: _version(remotes, each) for each in self._remote}
        is_other = self._versions is not None and found != self._versions
        self._versions = found
        return is_other

    def _look(self) -> snapshot.Look:
        """What there is now, as a snapshot holds it."""
        paths = [path for each in self._local for path in _paths(each)]
        folders = {path for path in paths if os.path.isdir(path)}
        files = [path for path in paths if path not in folders]
        globs = [(each.path, each.pattern) for each in self._local if each.pattern]
        head = {
            "files": files,
            "stats": snapshot.flat_stats(map(snapshot.now, files)),
            "listings": [],
            "globs": [(*key, snapshot.matches(*key)) for key in globs],
            "trees": [(path, stamp(path).mark) for path in paths if path in folders],
        }
        return snapshot.Look("", head)


def triggered(project: Project, before: Mapping[str, Triggered], now: float) -> dict[str, Triggered]:
    """The pipelines with triggers; those whose triggers are as before go on as they were."""
    found = {}
    for name, pipeline in project.pipelines.items():
        if pipeline.trigger:
            old = before.get(name)
            found[name] = (
                old if old and old.trigger == pipeline.trigger else Triggered(name, pipeline.trigger, project.root, now)
            )
    return found


def _paths(location: Location) -> Iterator[str]:
    if not location.pattern:
        yield location.path
        return
    yield from (os.path.join(location.path, name) for name in snapshot.matches(location.path, location.pattern))


def _version(remotes: Remotes, location: Location) -> str | None:
    if location.pattern:
        return " ".join(f"{each.text} {each.entry.version}" for each in remotes.files(location))
    found = remotes.version(location)
    return found.digest if found else None
