"""What datastores have: versions, listings in one sweep, and what versions are known to hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from mlmake.errors import UsageError
from mlmake.model.data import Datastore, Location
from mlmake.state.database import empty
from mlmake.state.digests import Digest
from mlmake.state.remotes import Remotes, newest_contents
from mlmake.stores.base import Entry
from mlmake.stores.memory import MemoryDrive
from mlmake.stores.store import DriveStore

URL = "s3://acme/flights"


class Counting(MemoryDrive):
    """Counts the questions."""

    def __init__(self) -> None:
        super().__init__("lake")
        self.asked: Counter[str] = Counter()

    def stat(self, key: str) -> Entry | None:
        self.asked["stat"] += 1
        return super().stat(key)

    def list(self, folder: str) -> list[Entry]:
        self.asked["list"] += 1
        return super().list(folder)


class Lake:
    """A store in memory under a project's datastore."""

    def __init__(self, remotes: Remotes, drive: Counting, folder: Path) -> None:
        self.remotes = remotes
        self.drive = drive
        self._folder = folder

    def write(self, **files: str) -> None:
        for key, text in files.items():
            path = self._folder / "file"
            path.write_text(text)
            failed: Sequence[object] = self.drive.send([(str(path), key.replace("__", "/"))], lambda _: None)
            assert not any(failed)


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lake]:
    drive = Counting()
    monkeypatch.setattr("mlmake.stores.opening.open_store", lambda *_: DriveStore(drive))
    with closing(empty()) as connection:
        yield Lake(Remotes({"lake": Datastore("lake", URL)}, connection), drive, tmp_path)


def at(key: str, pattern: str = "") -> Location:
    is_folder = key.endswith("/") and not pattern
    text = f"lake://{key}{pattern}"
    return Location(text, f"{URL}/{key}".rstrip("/"), is_folder, pattern, is_remote=True)


def test_a_few_files_are_asked_for_and_many_are_one_listing(lake: Lake) -> None:
    lake.write(**{f"raw__{n}": str(n) for n in range(50)})
    versions = [lake.remotes.version(at(f"raw/{n}")) for n in range(50)]
    assert all(versions)
    assert len({*versions}) == 50
    assert lake.drive.asked == {"stat": 2, "list": 1}
    assert lake.remotes.version(at("raw/99")) is None
    assert lake.drive.asked == {"stat": 2, "list": 1}


def test_a_folder_is_listed_once(lake: Lake) -> None:
    lake.write(raw__a="1", raw__in__b="2", other="3")
    first = lake.remotes.version(at("raw/"))
    assert first is not None
    assert first.size == 2
    assert [file.inner for file in lake.remotes.files(at("raw/"))] == ["a", "in/b"]
    assert lake.drive.asked == {"list": 1}
    lake.write(raw__in__b="4")
    assert lake.remotes.version(at("raw/")) == first
    lake.remotes.look_again()
    assert lake.remotes.version(at("raw/")) not in (first, None)


def test_the_names_in_a_folder_count(lake: Lake) -> None:
    lake.write(raw__a="1", raw__b="2")
    first = lake.remotes.version(at("raw/"))
    lake.drive.remove(["raw/b"])
    lake.write(raw__c="2")
    lake.remotes.look_again()
    assert lake.remotes.version(at("raw/")) != first


def test_globs(lake: Lake) -> None:
    lake.write(raw__a="1", raw__in__b="2", raw__in__c="3")
    files = lake.remotes.files(at("raw", "**/[bc]"))
    assert [file.inner for file in files] == ["in/b", "in/c"]


def test_what_is_not_there_has_no_version(lake: Lake) -> None:
    assert lake.remotes.version(at("raw/")) is None
    assert lake.remotes.version(at("raw/a")) is None
    assert lake.remotes.files(at("raw", "*")) == []


def test_contents_are_remembered_by_version(lake: Lake, tmp_path: Path) -> None:
    one, two = Digest("1" * 32, 1), Digest("2" * 32, 2)
    lake.remotes.learn(f"{URL}/a", "etag 1", one)
    assert lake.remotes.content(f"{URL}/a", "etag 1") == one
    assert lake.remotes.content(f"{URL}/a", "etag 2") is None
    lake.remotes.save()
    lake.remotes.learn(f"{URL}/a", "etag 2", two)
    lake.remotes.learn(f"{URL}/in/b", "etag 2", one)
    lake.remotes.learn(f"{URL}2/b", "etag 2", one)
    lake.remotes.save()
    assert lake.remotes.content(f"{URL}/a", "etag 1") == one
    assert lake.remotes.contents_below(f"{URL}/in") == {(f"{URL}/in/b", "etag 2"): one}
    assert len(lake.remotes.contents_below(URL)) == 3
    assert newest_contents(lake.remotes._connection) == {one.digest, two.digest}


@pytest.mark.parametrize("url", ["s3://bucket", "zip::s3://b/x.zip"])
def test_a_url_that_names_no_file_of_a_store(lake: Lake, url: str) -> None:
    with pytest.raises(UsageError, match="names no file of a store"):
        lake.remotes.place(Location(url, url, is_remote=True))
