"""The beginnings of large files: whose they are, and what becomes of them."""

from __future__ import annotations

import fcntl
from pathlib import Path

from mlmake.stores.base import Entry
from mlmake.stores.parts import SUFFIX, begun


def entry(version: str) -> Entry:
    return Entry(key="a.bin", size=9, version=version, is_exact=True)


def start(target: Path, version: str, data: bytes = b"half") -> Path:
    with begun(str(target), entry(version)) as path:
        Path(path).write_bytes(data)
    return Path(path)


def test_a_beginning_is_found_again(tmp_path: Path) -> None:
    first = start(tmp_path / "a.bin", "etag 1")
    assert first.name.endswith(SUFFIX) and first.parent == tmp_path
    with begun(str(tmp_path / "a.bin"), entry("etag 1")) as path:
        assert Path(path).read_bytes() == b"half"


def test_one_of_another_version_is_removed(tmp_path: Path) -> None:
    first = start(tmp_path / "a.bin", "etag 1")
    other = start(tmp_path / "b.bin", "etag 1")
    second = start(tmp_path / "a.bin", "etag 2")
    assert not first.exists()
    assert other.exists() and second.exists()


def test_one_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    first = start(tmp_path / "a.bin", "etag 1")
    with first.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        same = start(tmp_path / "a.bin", "etag 1", b"own")
        assert same != first and not same.exists()
        start(tmp_path / "a.bin", "etag 2")
        assert first.read_bytes() == b"half"


def test_what_holds_nothing_is_removed(tmp_path: Path) -> None:
    assert not start(tmp_path / "a.bin", "etag 1", b"").exists()


def test_a_long_name(tmp_path: Path) -> None:
    assert start(tmp_path / ("ü" * 127), "etag 1").exists()
