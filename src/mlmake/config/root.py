"""Where a project is. Apart from `load`, which takes ten times as long to import."""

from __future__ import annotations

import os
from collections.abc import Callable

from mlmake.errors import UsageError
from mlmake.model.project import FILE


def find_root(start: str) -> str:
    """The nearest folder at or above `start` that holds a pipelines.toml. Raises UsageError."""
    folder = nearest_folder(start, lambda folder: os.path.exists(os.path.join(folder, FILE)))
    if folder is None:
        raise UsageError(
            f"no {FILE} in {os.path.abspath(start)} or any folder above it",
            hint="`mlmake init` makes a small project that builds",
        )
    return folder


def nearest_folder(start: str, is_wanted: Callable[[str], bool]) -> str | None:
    """The nearest folder at or above `start` that is wanted; None where there is none."""
    folder = os.path.abspath(start)
    while not is_wanted(folder):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None
    return folder
