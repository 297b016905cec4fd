"""Where a project is. Apart from `load`, which takes ten times as long to import."""

from __future__ import annotations

import os

from mlmake.errors import UsageError
from mlmake.model.project import FILE


def find_root(start: str) -> str:
    """The nearest folder at or above `start` that holds a pipelines.toml. Raises UsageError."""
    folder = os.path.abspath(start)
    while not os.path.exists(os.path.join(folder, FILE)):
        above = os.path.dirname(folder)
        if above == folder:
            raise UsageError(
                f"no {FILE} in {os.path.abspath(start)} or any folder above it",
                hint="`mlmake init` makes a small project that builds",
            )
        folder = above
    return folder
