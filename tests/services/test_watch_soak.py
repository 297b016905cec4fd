"""The soak of a watch, for some seconds; `python tests/soak_watch.py` does it for an hour."""

from __future__ import annotations

from projects import Folder
from soak_watch import soak


def test_a_short_soak(project: Folder) -> None:
    soak(project, 6.0, seed=7)
