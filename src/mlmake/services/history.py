"""A project's history as lineage: every text of the past is found where it points to now."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache

from mlmake.config.places import locate
from mlmake.config.problems import Wrong
from mlmake.model.lineage import Where
from mlmake.model.project import Project
from mlmake.services.lineage import Lineage
from mlmake.state.history import activities

PROJECT = "project"
"""The store of what lies in the project's own folder."""


def lineage(project: Project, connection: sqlite3.Connection) -> Lineage:
    """The lineage of all that runs of a project made and used. Raises StateError."""
    return Lineage(activities(connection), places(project))


def places(project: Project) -> Callable[[str], Where]:
    """What says where a text points to; a text that means nothing any more is a place of its own."""

    @cache
    def where(text: str) -> Where:
        scheme, mark, rest = text.partition("://")
        store, path = (scheme, rest) if mark else (PROJECT, text)
        try:
            place = locate(text, project.root, project.datastores)
        except Wrong:
            return Where(key=text.rstrip("/"), store=store, path=path, is_folder=text.endswith("/"))
        return Where(
            key=place.path.rstrip("/"), store=store, path=path, is_folder=place.is_folder, is_remote=place.is_remote
        )

    return where
