"""What a folder of this machine has beside files: links."""

from __future__ import annotations

from pathlib import Path

from mlmake.stores.local import LocalDrive
from mlmake.stores.voice import Voice


def test_links(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    (folder / "a").mkdir(parents=True)
    other.mkdir()
    (other / "x.txt").write_text("x")
    (folder / "linked").symlink_to(other)
    (folder / "file.txt").symlink_to(other / "x.txt")
    (folder / "broken").symlink_to(other / "gone")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "a" / "y.txt").write_text("y")
    drive = LocalDrive(str(folder), {}, Voice(name="raw", url=str(folder)))
    assert [entry.key for entry in drive.list("")] == ["a/y.txt", "file.txt", "linked/x.txt"]
    assert drive.stat("linked/x.txt") is not None
    assert drive.stat("broken") is None
