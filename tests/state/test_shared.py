"""The shared cache over real stores and over such as fail: nothing half-written or forged is ever taken for whole."""

from __future__ import annotations

import errno
import json
import os
import random
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash

from mlmake.errors import StoreError, StoreUnavailable
from mlmake.model.caching import Link
from mlmake.state.cache import Action, Kept
from mlmake.state.database import empty
from mlmake.state.digests import Digests
from mlmake.state.manifests import Record, action_key, decoded, encoded
from mlmake.state.objects import FOLDERS, Objects, parsed
from mlmake.state.shared import Shared, sweep
from mlmake.stores.drive import Drive
from mlmake.stores.faulty import Fault, FaultyDrive
from mlmake.stores.local import LocalDrive
from mlmake.stores.memory import MemoryDrive
from mlmake.stores.patience import EAGER
from mlmake.stores.remote import RemoteDrive
from mlmake.stores.store import DriveStore
from mlmake.stores.voice import Voice
from servers import S3Server

KEY = "ab" * 32
OTHER = "cd" * 32
LARGE = 9 << 20


class Side:
    """One project's cache, and the shared cache as this project sees it."""

    def __init__(self, folder: Path, drive: Drive) -> None:
        self.folder = folder
        self.objects = Objects(str(folder / "cache"))
        self.notes: list[str] = []
        self.faulty = FaultyDrive(drive)
        self.shared = Shared(DriveStore(self.faulty, patience=EAGER), self.objects, self.notes.append)

    def file(self, content: bytes, *, executable: bool = False) -> Kept:
        """Keep a file."""
        path = self.folder / "new"
        path.write_bytes(content)
        path.chmod(0o755 if executable else 0o644)
        digest = xxhash.xxh3_128_hexdigest(content)
        self.objects.keep(str(path), digest, Link.COPY)
        return Kept("x", digest, len(content))

    def tree(self, files: dict[str, bytes]) -> Kept:
        """Keep a folder."""
        top = self.folder / f"tree{random.getrandbits(64):x}"
        for name, content in files.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(content)
        with closing(empty()) as connection:
            digests = Digests(connection)
            found = digests.of(str(top))
            listing = digests.listing(str(top))
        assert found is not None
        for member in parsed(listing):
            if member.digest:
                self.objects.keep(str(top / member.path), member.digest, Link.COPY)
        self.objects.keep_text(listing, found.digest)
        return Kept("d", found.digest, found.size)

    def action(self, *outputs: Kept, key: str = KEY) -> Action:
        return Action(key=key, step="p.s", outputs=outputs, seconds=1.5)

    def share(self, *outputs: Kept, key: str = KEY) -> Action:
        """Push an action of these."""
        action = self.action(*outputs, key=key)
        assert self.shared.push([action]).keys == (key,)
        return action

    def take(self, key: str = KEY) -> list[str]:
        """Pull an action; what was refused, in words."""
        record = self.shared.find(key)
        assert record is not None
        return [str(each) for each in self.shared.pull(self.shared.lacking([record]))]

    def incoming(self) -> list[str]:
        folder = Path(self.objects.folder) / "incoming"
        return [path.name for path in folder.iterdir()] if folder.exists() else []


def s3_drive(request: pytest.FixtureRequest) -> Drive:
    server: S3Server = request.getfixturevalue("s3")
    url = f"{server.bucket()}/a/cache"
    return RemoteDrive(url, server.options, Voice(name="cache", url=url))


def local_drive(request: pytest.FixtureRequest) -> Drive:
    folder: Path = request.getfixturevalue("tmp_path")
    return LocalDrive(str(folder / "store"), {}, Voice(name="cache", url="file:///store"))


DRIVES: dict[str, Callable[[pytest.FixtureRequest], Drive]] = {
    "memory": lambda _: MemoryDrive("cache"),
    "local": local_drive,
    "s3": s3_drive,
}


@pytest.fixture
def drive() -> Drive:
    return MemoryDrive("cache")


@pytest.fixture(params=DRIVES)
def any_drive(request: pytest.FixtureRequest) -> Drive:
    return DRIVES[request.param](request)


@pytest.fixture
def side(tmp_path: Path, drive: Drive) -> Side:
    return made(tmp_path, "one", drive)


@pytest.fixture
def other(tmp_path: Path, drive: Drive) -> Side:
    return made(tmp_path, "two", drive)


def made(tmp_path: Path, name: str, drive: Drive) -> Side:
    (tmp_path / name).mkdir()
    return Side(tmp_path / name, drive)


def put(drive: Drive, key: str, data: bytes, tmp_path: Path) -> None:
    """Write to the store behind everybody's back."""
    path = tmp_path / "raw"
    path.write_bytes(data)
    assert drive.send([(str(path), key)], lambda _: None) == [None]


# There and back.


def test_what_one_pushes_the_other_can_have(tmp_path: Path, any_drive: Drive) -> None:
    one, two = made(tmp_path, "one", any_drive), made(tmp_path, "two", any_drive)
    tree = {"a": b"a", "deep/er/b": b"b", "same": b"a", "large": random.Random(7).randbytes(LARGE)}
    action = one.share(one.file(b"hello", executable=True), one.tree(tree))
    assert two.take() == []
    record = two.shared.find(KEY)
    assert record is not None
    assert (record.action.outputs, record.action.seconds) == (action.outputs, 1.5)
    for number, kept in enumerate(action.outputs):
        assert two.objects.has(kept.digest)
        two.objects.bring(kept.digest, str(two.folder / f"out{number}"), Link.COPY)
    assert (two.folder / "out0").read_bytes() == b"hello"
    assert os.access(two.folder / "out0", os.X_OK)
    assert {name: (two.folder / "out1" / name).read_bytes() for name in tree} == tree
    assert two.shared.lacking([record]) == []
    assert one.incoming() == two.incoming() == []


def test_only_what_is_lacking_comes(side: Side, other: Side) -> None:
    side.share(side.tree({"a": b"a" * 1000, "b": b"b" * 1000}))
    other.file(b"a" * 1000)
    assert other.take() == []
    assert 1000 <= other.faulty.bytes_read < 2000, "one of two files, their listing and the record"


def test_only_what_is_lacking_is_sent(side: Side, other: Side) -> None:
    side.share(side.file(b"same"))
    before = other.faulty.calls["send"]
    pushed = other.shared.push([other.action(other.file(b"same"), other.file(b"new"), key=OTHER)])
    assert (pushed.objects, pushed.size) == (1, 3)
    assert other.faulty.calls["send"] - before == 2, "the new content and the record"


def test_what_is_known_to_be_there_is_not_asked_for_again(side: Side) -> None:
    kept = side.file(b"once")
    side.share(kept)
    asked = side.faulty.calls["stat"]
    side.share(kept, key=OTHER)
    assert side.faulty.calls["stat"] == asked


def test_nothing_is_there(side: Side) -> None:
    assert side.shared.find(KEY) is None
    assert side.shared.find_many([KEY, OTHER]) == []
    assert side.shared.pull([]) == []
    assert side.shared.push([]).keys == ()
    assert side.shared.load([]).actions == ()


def test_many_are_found_at_once(any_drive: Drive, tmp_path: Path) -> None:
    side = made(tmp_path, "one", any_drive)
    side.share(side.file(b"1"))
    found = side.shared.find_many([OTHER, KEY])
    assert [record.action.key for record in found] == [KEY]
    assert found == [side.shared.find(KEY)]
    assert side.incoming() == []


def test_a_load_is_what_the_store_lacks(side: Side, other: Side) -> None:
    side.share(side.file(b"there"))
    actions = [other.action(other.file(b"there")), other.action(other.file(b"new"), other.file(b"there"), key=OTHER)]
    load = other.shared.load(actions)
    assert load.actions == (actions[1],)
    assert load.size == 3
    assert other.shared.push(load.actions, lacking=load.contents.keys()).objects == 1
    assert other.shared.load(actions).actions == ()


@pytest.mark.parametrize("count", [10, 400], ids=["asked for", "listed"])
def test_much_and_little(count: int, side: Side, other: Side) -> None:
    """Few contents are asked for one by one; many in an almost empty store are listed."""
    files = {str(number): f"content {number}".encode() for number in range(count)}
    side.share(side.tree(files))
    pushed = other.shared.push([other.action(other.tree(files | {"new": b"new"}), key=OTHER)])
    assert pushed.objects == 2, "one file, and the new listing"
    assert bool(other.faulty.calls["list"]) is (count > 100)
    assert (other.faulty.calls["stat"] > count) is (count < 100)


# Damaged, gone, forged.


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"HELLO", "holds other bytes than its record names"),
        (b"hell", "holds other bytes than its record names"),
        (b"", "holds other bytes than its record names"),
        (None, "is gone"),
    ],
    ids=["replaced", "cut short", "empty", "gone"],
)
def test_a_content_that_is_not_what_it_was_is_refused(
    data: bytes | None, why: str, side: Side, other: Side, drive: Drive, tmp_path: Path
) -> None:
    kept = side.file(b"hello")
    side.share(kept)
    key = f"files/{kept.digest[:2]}/{kept.digest[2:]}"
    if data is None:
        drive.remove([key])
    else:
        put(drive, key, data, tmp_path)
    assert other.take() == [f"{key} {why}"]
    assert not other.objects.has(kept.digest)
    assert other.incoming() == []

    other.share(other.file(b"hello"))
    assert drive.read(key, 0, None) == b"hello", "whoever saw the damage and has the content sends it anew"


@pytest.mark.parametrize("size", [LARGE - 1, LARGE], ids=["shorter", "as long"])
def test_a_large_content_that_was_replaced(size: int, side: Side, other: Side, drive: Drive, tmp_path: Path) -> None:
    kept = side.file(bytes(LARGE))
    side.share(kept)
    key = f"files/{kept.digest[:2]}/{kept.digest[2:]}"
    put(drive, key, b"x" * size, tmp_path)
    before = other.faulty.bytes_read
    (why,) = other.take()
    assert why.startswith(key)
    assert (other.faulty.bytes_read - before < 1 << 20) is (size != LARGE), "another size is seen beforehand"
    assert not other.objects.has(kept.digest)


def test_a_content_with_the_right_xxh3_and_another_sha256_is_refused(
    side: Side, other: Side, drive: Drive, tmp_path: Path
) -> None:
    """As if somebody had found two contents of one xxh3; a record that names another SHA-256 is the same case."""
    kept = side.file(b"hello")
    side.share(kept)
    record = side.shared.find(KEY)
    assert record is not None
    forged = Record(record.action, (replace(record.contents[0], sha256="0" * 64),))
    put(drive, action_key(KEY), encoded(forged), tmp_path)
    assert other.take() == [f"{record.contents[0].key} holds other bytes than its record names"]
    assert not other.objects.has(kept.digest)


def test_a_folder_comes_back_only_whole(side: Side, other: Side, drive: Drive) -> None:
    kept = side.tree({"a": b"a", "b": b"b"})
    side.share(kept)
    digest = xxhash.xxh3_128_hexdigest(b"b")
    drive.remove([f"files/{digest[:2]}/{digest[2:]}"])
    assert len(other.take()) == 1
    assert other.objects.kind_of(kept.digest) == FOLDERS
    assert not other.objects.has(kept.digest)


@pytest.mark.parametrize("line", ["../../out/", "/out/", "a/../../out/", "../out\0-" + "0" * 32])
def test_a_listing_that_leads_out_of_its_folder_is_none(line: str, side: Side) -> None:
    """Who may write records can name any listing in them."""
    text = f"{line}\0".encode()
    digest = xxhash.xxh3_128_hexdigest(text)
    side.objects.keep_text(text, digest)
    with pytest.raises(ValueError, match="leads out"):
        list(parsed(text))
    assert side.shared.push([side.action(Kept("d", digest, 1))]).keys == ()
    assert not side.objects.has(digest)


def told(side: Side) -> dict[str, Any]:
    record = side.shared.find(KEY)
    assert record is not None
    found: dict[str, Any] = json.loads(encoded(record))
    return found


BAD_RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "of another format": lambda told: told | {"format": 2},
    "of another key": lambda told: told | {"key": OTHER},
    "no table": lambda told: [told],
    "nothing in it": lambda told: {},
    "a number": lambda told: 3,
    "no contents": lambda told: told | {"contents": []},
    "contents that are no list": lambda told: told | {"contents": {"a": 1}},
    "a content of three": lambda told: told | {"contents": [["a", "b", 3]]},
    "a digest that leads out": lambda told: (
        told | {"contents": [["../../../../../../etc/passwd0000", "files", 1, "0", 0]]}
    ),
    "a kind that leads out": lambda told: told | {"contents": [[told["contents"][0][0], "../..", 1, "0", False]]},
    "an output that leads out": lambda told: told | {"outputs": [["x", "../../x", 1, False]]},
    "a negative size": lambda told: told | {"outputs": [["x", "0" * 32, -1, False]]},
    "a size without end": lambda told: told | {"outputs": [["x", "0" * 32, float("inf"), False]]},
    "seconds that are none": lambda told: told | {"seconds": float("nan")},
    "seconds without end": lambda told: told | {"seconds": 10**400},
    "seconds in words": lambda told: told | {"seconds": "1"},
    "half a letter": lambda told: told | {"step": "\ud800"},
    "a step that is none": lambda told: told | {"step": None},
}


@pytest.mark.parametrize("change", BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_record_that_says_what_none_can_say_is_none(
    change: Callable[[dict[str, Any]], object], side: Side, other: Side, drive: Drive, tmp_path: Path
) -> None:
    side.share(side.file(b"hello"))
    put(drive, action_key(KEY), json.dumps(change(told(side))).encode(), tmp_path)
    assert other.shared.find(KEY) is None
    assert other.shared.find_many([KEY]) == []
    assert len(other.notes) == 2
    assert other.notes[0].startswith(action_key(KEY)), "it is told by its name"


def test_no_part_of_a_record_is_taken_for_a_record(side: Side) -> None:
    side.share(side.tree({"a": b"a"}))
    record = side.shared.find(KEY)
    assert record is not None
    text = encoded(record)
    assert decoded(text, KEY) == record
    assert all(decoded(text[:end], KEY) is None for end in range(len(text)))


@pytest.mark.parametrize("text", [b"\xff\xfe", b"[" * 100_000, b"\0" * 100], ids=["no text", "deep", "zeros"])
def test_rubbish_is_no_record(text: bytes) -> None:
    assert decoded(text, KEY) is None


# Faults on the way.


def test_a_push_that_breaks_leaves_no_record(side: Side, other: Side) -> None:
    tree = {str(number): bytes([number]) * 100 for number in range(20)}
    side.faulty.faults.append(Fault(call="send", after=7, status=403))
    action = side.action(side.tree(tree))
    with pytest.raises(StoreError):
        side.shared.push([action])
    assert other.shared.find(KEY) is None
    assert side.incoming() == []
    side.faulty.heal()
    before = side.faulty.calls["send"]
    assert side.shared.push([action]).objects == 21 - 7
    assert side.faulty.calls["send"] - before == 21 - 7 + 1, "what had gone well is not sent again"
    assert other.take() == []


@pytest.mark.parametrize("cut", [0, 1, 50])
def test_a_content_that_is_cut_while_it_is_sent_is_never_read(cut: int, tmp_path: Path) -> None:
    drive = LocalDrive(str(tmp_path / "store"), {}, Voice(name="cache", url="file:///store"))
    one, two = made(tmp_path, "one", drive), made(tmp_path, "two", drive)
    one.faulty.faults.append(Fault(call="send", at=cut))
    with pytest.raises(StoreUnavailable):
        one.shared.push([one.action(one.file(b"x" * 100))])
    assert two.shared.find(KEY) is None
    assert drive.list("files") == [] or all(entry.key.endswith(".mlmake-part") for entry in drive.list("files"))
    one.faulty.heal()
    one.share(one.file(b"x" * 100))
    assert two.take() == []


def test_a_pull_that_breaks_now_and_then(side: Side, other: Side) -> None:
    side.share(side.tree({str(number): bytes([number]) * 100 for number in range(20)}))
    other.faulty.faults.append(Fault(call="fetch", at=10, times=30))
    assert other.take() == []


def test_a_pull_that_breaks_for_good_takes_nothing_half(side: Side, other: Side) -> None:
    kept = side.file(b"x" * 100)
    side.share(kept)
    other.faulty.faults.append(Fault(call="fetch", at=10))
    with pytest.raises(StoreUnavailable):
        other.take()
    assert not other.objects.has(kept.digest)
    assert other.incoming() == []


def test_a_listing_that_lags_costs_at_most_a_second_sending(side: Side, other: Side) -> None:
    other.faulty.lag()
    files = {str(number): str(number).encode() for number in range(200)}
    side.share(side.tree(files))
    pushed = other.shared.push([other.action(other.tree(files), key=OTHER)])
    assert pushed.keys == (OTHER,)
    assert side.take(OTHER) == []


def test_a_listing_that_still_shows_what_is_gone(side: Side, other: Side, drive: Drive) -> None:
    """The record then names what nobody can have: whoever wants it is told, and sends it anew."""
    files = {str(number): str(number).encode() for number in range(200)}
    side.share(side.tree(files))
    other.faulty.lag()
    drive.remove([entry.key for entry in drive.list("")])
    other.share(other.tree(files), key=OTHER)
    third = made(side.folder.parent, "three", drive)
    assert len(third.take(OTHER)) == 201
    assert third.shared.push([third.action(third.tree(files), key=OTHER)]).objects == 201
    assert side.take(OTHER) == []


def test_who_may_write_and_not_read_still_pushes(side: Side, other: Side) -> None:
    for call in ("stat", "list", "read", "fetch"):
        side.faulty.faults.append(Fault(call=call, status=403))
    side.share(side.file(b"hello"))
    assert other.take() == []


def test_a_full_disk_here(side: Side, other: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = side.file(b"hello")
    side.share(kept)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "incoming")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryDrive, "fetch", lambda self, pairs, progress: [_full() for _ in pairs])
        with pytest.raises(OSError, match="No space left"):
            other.take()
    with monkeypatch.context() as patch:
        patch.setattr(Objects, "adopt", full)
        with pytest.raises(OSError, match="No space left"):
            other.take()
    assert not other.objects.has(kept.digest)
    assert other.incoming() == []
    assert other.take() == []


def _full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "incoming")


# What is wrong here.


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "damaged"])
def test_what_is_not_whole_here_is_not_sent(is_gone: bool, side: Side, other: Side) -> None:
    bad, good = side.file(b"bad"), side.file(b"good")
    path = Path(side.objects.path(bad.digest))
    path.unlink()
    if not is_gone:
        path.write_bytes(b"BAD")
    actions = [side.action(bad, good), side.action(good, key=OTHER)]
    pushed = side.shared.push(actions)
    assert (pushed.keys, pushed.unsound) == ((OTHER,), (actions[0],))
    assert other.shared.find(KEY) is None
    assert other.take(OTHER) == []


def test_a_content_that_goes_while_it_is_sent(side: Side, other: Side) -> None:
    kept = side.file(b"here")
    action = side.action(kept)
    side.faulty.faults.append(Fault(call="send", status=0, times=1, action=lambda: _unlink(side, kept)))
    assert side.shared.push([action]).unsound == (action,)
    assert other.shared.find(KEY) is None


def _unlink(side: Side, kept: Kept) -> None:
    Path(side.objects.path(kept.digest)).unlink()


def test_what_others_left_on_its_way_is_swept(side: Side) -> None:
    left = Path(side.objects.folder) / "incoming" / "abc"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    sweep(side.objects)
    assert side.incoming() == []
    sweep(side.objects)


# At once.


def test_two_write_the_same_at_once(any_drive: Drive, tmp_path: Path) -> None:
    sides = [made(tmp_path, str(number), any_drive) for number in range(3)]
    files = {str(number): bytes([number]) * 1000 for number in range(15)}
    actions = [side.action(side.tree(files)) for side in sides]
    ready = threading.Barrier(len(sides))
    failures: list[Exception] = []

    def push(side: Side, action: Action) -> None:
        ready.wait(60)
        try:
            side.shared.push([action])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=push, args=pair) for pair in zip(sides, actions, strict=True)]
    for thread in threads:
        thread.start()
    reader = made(tmp_path, "reader", any_drive)
    seen = 0
    while any(thread.is_alive() for thread in threads):
        record = reader.shared.find(KEY)
        if record and not seen:
            seen = 1
            assert reader.shared.pull(reader.shared.lacking([record])) == [], "a record that is seen can be had"
    for thread in threads:
        thread.join()
    assert failures == []
    assert made(tmp_path, "late", any_drive).take() == []


def test_two_pull_the_same_at_once(side: Side, other: Side) -> None:
    side.share(side.tree({str(number): bytes([number]) * 1000 for number in range(15)}))
    ready = threading.Barrier(4)
    refused: list[list[str]] = []

    def take() -> None:
        ready.wait(60)
        refused.append(other.take())

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == [[]] * 4
    assert other.incoming() == []
