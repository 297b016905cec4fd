"""How much a version of a datastore is worth."""

from __future__ import annotations

import pytest

from mlmake.plan.identity import told_by
from mlmake.stores.base import Entry


@pytest.mark.parametrize(
    ("version", "is_exact", "words"),
    [
        ("etag 9b2c", True, "told by the store's etag"),
        ("md5 9b2c", True, "told by the store's md5"),
        ("generation 17", True, "told by the store's generation"),
        ("size 12 mtime 1712345678.25", False, "told by size and time only: this store has no checksum"),
        ("etag W/9b2c", False, "told by a weak etag only: this store has no checksum"),
    ],
)
def test_told_by(version: str, is_exact: bool, words: str) -> None:
    assert told_by(Entry(key="x", size=12, version=version, is_exact=is_exact)) == words
