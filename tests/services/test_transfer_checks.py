"""What a transfer believes: stores that tell checksums, those that do not, and those that lose bytes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mlmake.errors import StoreChanged, StoreError
from mlmake.home import Home
from mlmake.model.data import Location
from mlmake.model.project import Project
from mlmake.services.transfer.arriving import Arriving
from mlmake.services.transfer.local_target import LocalTarget
from mlmake.services.transfer.moving import move
from mlmake.services.transfer.sides import File, Sides
from mlmake.services.transfer.store_target import StoreTarget
from mlmake.state.database import connect, empty
from mlmake.state.remotes import Place
from mlmake.stores.base import Entry, Outcome, Progress
from mlmake.stores.drive import Pair
from mlmake.stores.faulty import Fault, FaultyDrive
from mlmake.stores.memory import MemoryDrive
from mlmake.stores.patience import EAGER
from mlmake.stores.store import DriveStore


class Lossy(MemoryDrive):
    """Loses what it is told to of what is sent; tells versions of the given form."""

    def __init__(self, version: str = "md5", lost: bytes = b"") -> None:
        super().__init__()
        self._version = version
        self._lost = lost

    def send(self, pairs: Sequence[Pair], progress: Progress) -> Sequence[Outcome]:
        for path, _ in pairs if self._lost else ():
            content = Path(path).read_bytes()
            Path(path).write_bytes(content.replace(self._lost, b"?" * len(self._lost)))
        outcomes = super().send(pairs, progress)
        for path, _ in pairs if self._lost else ():
            content = Path(path).read_bytes()
            Path(path).write_bytes(content.replace(b"?" * len(self._lost), self._lost))
        return outcomes

    def stat(self, key: str) -> Entry | None:
        found = super().stat(key)
        if found is None or self._version == "md5":
            return found
        told = (
            f"{self._version} {found.version.removeprefix('md5 ')}-2" if self._version == "etag" else "size 1 mtime 2"
        )
        return replace(found, version=told, is_exact=self._version == "etag")


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(Project(root=str(tmp_path), name="p"), empty())


def source(sides: Sides, tmp_path: Path, content: bytes) -> list[File]:
    (tmp_path / "a").write_bytes(content)
    return sides.files([Location("a", str(tmp_path / "a"))], into_folder=False)


def sent(sides: Sides, tmp_path: Path, drive: MemoryDrive, files: list[File]) -> Outcome:
    store = DriveStore(drive, patience=EAGER)
    target = StoreTarget(sides, Place(store, "a"), Arriving(str(tmp_path / "arriving"), sides), is_folder=False)
    assert not target.has(files[0])
    return target.bring(files, lambda moved: None)[0]


@pytest.mark.parametrize("version", ["md5", "etag", "none"])
def test_what_arrived_whole_is_believed(sides: Sides, tmp_path: Path, version: str) -> None:
    files = source(sides, tmp_path, b"one two")
    drive = Lossy(version)
    assert sent(sides, tmp_path, drive, files) is None
    assert drive.read("a", 0, None) == b"one two"


@pytest.mark.parametrize("version", ["md5", "etag", "none"])
def test_other_bytes_are_not_believed(sides: Sides, tmp_path: Path, version: str) -> None:
    files = source(sides, tmp_path, b"one two")
    outcome = sent(sides, tmp_path, Lossy(version, b"two"), files)
    assert isinstance(outcome, StoreError)
    assert "a arrived with other bytes than were sent" in outcome.message


def test_an_edit_while_it_is_sent(sides: Sides, tmp_path: Path) -> None:
    files = source(sides, tmp_path, b"one")
    edit = Fault(call="send", status=0, times=1, action=lambda: (tmp_path / "a").write_bytes(b"two"))
    outcome = sent(sides, tmp_path, FaultyDrive(MemoryDrive(), edit), files)  # type: ignore[arg-type]
    assert isinstance(outcome, StoreError)
    assert "was replaced while it was sent" in outcome.message


def test_a_copy_of_a_source_that_is_replaced(sides: Sides, tmp_path: Path) -> None:
    inner = MemoryDrive()
    (tmp_path / "x").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    inner.send([(str(tmp_path / "old"), "in/a")], lambda moved: None)
    swap = Fault(call="copy", status=0, times=1, action=lambda: inner.send([(str(tmp_path / "x"), "in/a")], print))
    store = DriveStore(FaultyDrive(inner, swap), patience=EAGER)
    target = StoreTarget(sides, Place(store, "out"), Arriving(str(tmp_path / "arriving"), sides), is_folder=True)
    files = [File("a", store, store.list("in")[0])]
    (outcome,) = target.bring(files, lambda moved: None)
    assert isinstance(outcome, StoreError)
    assert "was replaced while it was copied" in outcome.message


def test_what_is_learnt_outlives_the_process(tmp_path: Path) -> None:
    home = Home(str(tmp_path))
    with closing(connect(home, create=True)) as connection:
        sides = Sides(Project(root=str(tmp_path), name="p"), connection)
        drive = Lossy("none")
        files = source(sides, tmp_path, b"one")
        assert sent(sides, tmp_path, drive, files) is None
        sides.save()
    with closing(connect(home, create=True)) as connection:
        sides = Sides(Project(root=str(tmp_path), name="p"), connection)
        store = DriveStore(drive, patience=EAGER)
        target = StoreTarget(sides, Place(store, "a"), Arriving(str(tmp_path / "arriving"), sides), is_folder=False)
        assert target.has(files[0])


def test_an_edit_of_the_old_target_is_not_taken_over(sides: Sides, tmp_path: Path) -> None:
    for name, content in {"in/a": b"a", "in/b": b"b", "out/a": b"a"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    files = sides.files([Location("in/", str(tmp_path / "in"), is_folder=True)], into_folder=True)
    out = Location("out/", str(tmp_path / "out"), is_folder=True)
    target = LocalTarget(sides, out, str(tmp_path / "private"), Arriving(str(tmp_path / "arriving"), sides))
    assert [target.has(file) for file in files] == [True, False]
    assert target.bring(files[1:], lambda moved: None) == [None]
    (tmp_path / "out/a").write_bytes(b"x")
    with pytest.raises(StoreChanged, match="out/a was edited"):
        target.settle(files)
    move(
        sides, Home(str(tmp_path)), [Location("in/", str(tmp_path / "in"), is_folder=True)], out, str(tmp_path / "new")
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {"a": b"a", "b": b"b"}
