"""What `stores/base.py` promises, point by point, held against every store; add yours to `PLACES`."""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlmake.errors import StoreChanged, StoreError, StoreMissing, StoreUnavailable
from mlmake.stores.base import Entry, Fetch, Send, Store
from mlmake.stores.drive import Drive
from mlmake.stores.faulty import Fault, FaultyDrive
from mlmake.stores.local import LocalDrive
from mlmake.stores.memory import MemoryDrive
from mlmake.stores.parts import SUFFIX
from mlmake.stores.patience import EAGER
from mlmake.stores.remote import RemoteDrive
from mlmake.stores.sftp import SftpDrive
from mlmake.stores.store import DriveStore
from mlmake.stores.voice import Voice
from servers import S3Server, SshServer, ssh_server

PART = 1000
"""Files larger than this come in ranges: small, so that a test's large file is small."""
ODD = (
    "with space.csv",
    "ünï/cödé-日本.txt",
    "a#b.txt",
    "100%.txt",
    "%41.txt",
    "a+b.txt",
    "what?.txt",
    "star*[1].txt",
    ".hidden",
    ".dot/.file",
    "quote's\".txt",
    "a&b=c;d.txt",
    "-dash",
    "back\\slash.txt",
    "no-suffix",
    "deep/" * 12 + "end",
)


@dataclass
class Rig:
    """A place, its store, and the same place with faults."""

    drive: Drive
    folder: Path

    def __post_init__(self) -> None:
        self.store: Store = self.over(self.drive)
        self.faulty = FaultyDrive(self.drive)
        self.shaky: Store = self.over(self.faulty)

    def over(self, drive: Drive) -> Store:
        return DriveStore(drive, patience=EAGER, part=PART)

    def file(self, data: bytes, name: str = "source") -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    def put(self, key: str, data: bytes) -> Entry:
        return self.store.put(self.file(data), key)

    def target(self, name: str = "target") -> Path:
        return self.folder / "here" / name

    def leftovers(self) -> list[str]:
        """Unfinished files on this machine."""
        return [path.name for path in self.folder.rglob("*") if path.name.endswith(SUFFIX)]


def data_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    return s3.bucket()


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def local_place(folder: Path, _: pytest.FixtureRequest) -> Drive:
    return LocalDrive(str(folder), {}, Voice(name="lake", url=str(folder)))


def file_place(folder: Path, _: pytest.FixtureRequest) -> Drive:
    return LocalDrive(f"file://{folder}", {}, Voice(name="lake", url=f"file://{folder}"))


def memory_place(folder: Path, _: pytest.FixtureRequest) -> Drive:
    return MemoryDrive("lake")


def fsspec_place(folder: Path, _: pytest.FixtureRequest) -> Drive:
    url = f"local://{folder}"  # a file system of fsspec that is not asynchronous, and no object store
    return RemoteDrive(url, {}, Voice(name="lake", url=url))


def s3_place(folder: Path, request: pytest.FixtureRequest) -> Drive:
    server: S3Server = request.getfixturevalue("s3")
    url = f"{request.getfixturevalue('bucket')}/{folder.parent.name}/{uuid.uuid4().hex}"
    return RemoteDrive(url, server.options, Voice(name="lake", url=url))


def sftp_place(folder: Path, request: pytest.FixtureRequest) -> Drive:
    server: SshServer = request.getfixturevalue("ssh")
    url = server.url(folder)
    return SftpDrive(url, server.options, Voice(name="lake", url=url))


PLACES = {
    "local": local_place,
    "file": file_place,
    "memory": memory_place,
    "fsspec": fsspec_place,
    "s3": s3_place,
    "sftp": sftp_place,
}


@pytest.fixture(params=PLACES)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    (tmp_path / "mine").mkdir()
    rig = Rig(PLACES[request.param](tmp_path / "place", request), tmp_path / "mine")
    yield rig
    rig.store.close()


class Moved:
    """A progress that adds up; it may be told from any thread."""

    def __init__(self) -> None:
        self.total = 0
        self._lock = threading.Lock()

    def __call__(self, moved: int) -> None:
        with self._lock:
            self.total += moved


# 1. Keys


def test_odd_names_are_taken_as_they_are(rig: Rig) -> None:
    sources = [Send(source=rig.file(key.encode(), f"odd/{number}"), key=key) for number, key in enumerate(ODD)]
    assert list(rig.store.put_many(sources)) == [None] * len(ODD)
    assert sorted(entry.key for entry in rig.store.list()) == sorted(ODD)
    for number, key in enumerate(ODD):
        assert rig.store.read(key) == key.encode()
        rig.store.get(key, str(rig.target(str(number))))
        assert rig.target(str(number)).read_bytes() == key.encode()
    rig.store.remove(["star*[1].txt", "what?.txt"])
    assert len(rig.store.list()) == len(ODD) - 2


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a//b", "../a", "a/../b", "a/.", "a/", "a\0b"])
def test_what_is_no_key_is_refused(rig: Rig, key: str) -> None:
    for call in (rig.store.stat, rig.store.read, rig.store.address):
        with pytest.raises(StoreError, match="is no key"):
            call(key)
    with pytest.raises(StoreError, match="is no key"):
        rig.store.put(rig.file(b"x"), key)


def test_there_are_no_folders(rig: Rig) -> None:
    rig.put("a/b/c.txt", b"x")
    assert rig.store.stat("a") is None
    assert rig.store.stat("a/b") is None
    assert rig.store.list("a/b/c.txt") == []
    with pytest.raises(StoreMissing):
        rig.store.read("a/b")


def test_unfinished_files_are_not_seen(rig: Rig) -> None:
    rig.drive.send([(rig.file(b"half"), f"a/.x{SUFFIX}")], lambda moved: None)
    assert rig.store.list() == []


# 2. Looking


def test_nothing_is_there(rig: Rig) -> None:
    assert rig.store.stat("a.txt") is None
    assert rig.store.stat("no/such/folder/a.txt") is None
    assert rig.store.list() == []
    assert rig.store.list("no/such/folder") == []


def test_list_and_stat_tell_the_same(rig: Rig) -> None:
    for key in ("a.txt", "b/c.txt", "b/d/e.txt", "bb/f.txt"):
        rig.put(key, key.encode())
    entries = rig.store.list()
    assert [entry.key for entry in entries] == ["a.txt", "b/c.txt", "b/d/e.txt", "bb/f.txt"]
    assert [rig.store.stat(entry.key) for entry in entries] == entries
    assert [entry.size for entry in entries] == [5, 7, 9, 8]
    assert {entry.is_exact for entry in entries} == {rig.store.traits.exact}
    assert [entry.key for entry in rig.store.list("b")] == ["b/c.txt", "b/d/e.txt"]
    assert [entry.key for entry in rig.store.list("b/")] == ["b/c.txt", "b/d/e.txt"]


def test_another_content_is_another_version(rig: Rig) -> None:
    first = rig.put("a.txt", b"one")
    assert rig.store.stat("a.txt") == first
    second = rig.put("a.txt", b"three")
    assert (first.size, second.size) == (3, 5)
    assert first.version != second.version


def test_a_version_says_what_it_is(rig: Rig) -> None:
    entry = rig.put("a.txt", b"one")
    word = entry.version.partition(" ")[0]
    assert word in (("md5", "etag", "generation") if entry.is_exact else ("size",))
    assert entry.is_exact or entry.version.startswith("size 3 mtime ")


def test_many_files_are_one_listing(rig: Rig) -> None:
    count = S3Server.PAGE + 10
    source = rig.file(b"x")
    rig.store.put_many([Send(source=source, key=f"many/{number % 7}/{number:04}") for number in range(count)])
    entries = rig.shaky.list("many")
    assert len(entries) == count
    assert entries == sorted(entries, key=lambda entry: entry.key)
    assert rig.faulty.calls == {"list": 1}


# 3. Reading


def test_read_ranges(rig: Rig) -> None:
    rig.put("a.txt", b"0123456789")
    assert rig.store.read("a.txt") == b"0123456789"
    assert rig.store.read("a.txt", 3) == b"3456789"
    assert rig.store.read("a.txt", 3, 5) == b"34"
    assert rig.store.read("a.txt", 8, 99) == b"89"
    assert rig.store.read("a.txt", 4, 4) == b""


def test_read_what_is_not_there(rig: Rig) -> None:
    with pytest.raises(StoreMissing, match=r"datastore lake: .*gone\.txt: is not there"):
        rig.store.read("gone.txt")


# 4. Getting


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 17 * PART + 3])
def test_get(rig: Rig, size: int) -> None:
    data = data_of(size)
    entry = rig.put("b/a.bin", data)
    assert entry.size == size
    for wanted in (None, entry):
        moved = Moved()
        assert rig.store.get("b/a.bin", str(rig.target("deep/er/a.bin")), entry=wanted, progress=moved) == entry
        assert rig.target("deep/er/a.bin").read_bytes() == data
        assert moved.total == size
    assert rig.leftovers() == []


def test_get_replaces_what_was_there(rig: Rig) -> None:
    rig.put("a.txt", b"new")
    rig.target().parent.mkdir()
    rig.target().write_bytes(b"old and longer")
    rig.store.get("a.txt", str(rig.target()))
    assert rig.target().read_bytes() == b"new"


def test_get_what_is_not_there_leaves_the_target(rig: Rig) -> None:
    rig.target().parent.mkdir()
    rig.target().write_bytes(b"old")
    with pytest.raises(StoreMissing):
        rig.store.get("gone.txt", str(rig.target()))
    assert rig.target().read_bytes() == b"old"
    assert rig.leftovers() == []


def test_a_large_file_comes_in_ranges(rig: Rig) -> None:
    entry = rig.put("a.bin", data_of(10 * PART + 1))
    rig.shaky.get("a.bin", str(rig.target()), entry=entry)
    assert rig.faulty.calls["read"] == 11
    assert rig.faulty.calls["fetch"] == 0


def test_after_a_break_only_the_rest_comes(rig: Rig) -> None:
    data = data_of(20 * PART)
    entry = rig.put("a.bin", data)
    rig.faulty.faults.append(Fault(call="read", at=12 * PART + 5))
    with pytest.raises(StoreUnavailable):
        rig.shaky.get("a.bin", str(rig.target()), entry=entry)
    assert not rig.target().exists()
    rig.faulty.heal()
    rig.faulty.bytes_read = 0
    moved = Moved()
    rig.shaky.get("a.bin", str(rig.target()), progress=moved)
    assert rig.target().read_bytes() == data
    assert rig.faulty.bytes_read == 8 * PART
    assert moved.total == 20 * PART
    assert rig.leftovers() == []


def test_a_break_that_passes_is_not_noticed(rig: Rig) -> None:
    data = data_of(5 * PART)
    entry = rig.put("a.bin", data)
    rig.faulty.faults.append(Fault(call="read", at=3 * PART + 1, times=2))
    rig.shaky.get("a.bin", str(rig.target()), entry=entry)
    assert rig.target().read_bytes() == data


def test_a_beginning_of_another_version_is_not_used(rig: Rig) -> None:
    entry = rig.put("a.bin", data_of(20 * PART, seed=1))
    rig.faulty.faults.append(Fault(call="read", at=12 * PART))
    with pytest.raises(StoreUnavailable):
        rig.shaky.get("a.bin", str(rig.target()), entry=entry)
    rig.faulty.heal()
    data = data_of(21 * PART, seed=2)
    rig.put("a.bin", data)
    rig.shaky.get("a.bin", str(rig.target()))
    assert rig.target().read_bytes() == data
    assert rig.leftovers() == []


@pytest.mark.parametrize("sizes", [(9, 9), (9, 4), (9, 12), (9, 0)])
def test_a_file_replaced_in_mid_fetch_is_never_mixed(rig: Rig, sizes: tuple[int, int]) -> None:
    old, new = data_of(sizes[0] * PART, seed=1), data_of(sizes[1] * PART + 1, seed=2)
    entry = rig.put("a.bin", old)
    replace = Fault(call="read", after=4, times=1, status=0, action=lambda: rig.put("a.bin", new))
    rig.faulty.faults.append(replace)
    moved = Moved()
    assert rig.shaky.get("a.bin", str(rig.target()), progress=moved).size == len(new)
    assert rig.target().read_bytes() == new
    assert moved.total == len(new)

    rig.put("a.bin", old)
    rig.faulty.faults[:] = [Fault(call="read", after=4, times=1, status=0, action=lambda: rig.put("a.bin", new))]
    with pytest.raises(StoreChanged, match=r"a\.bin: was replaced by another version"):
        rig.shaky.get("a.bin", str(rig.target("second")), entry=rig.store.stat("a.bin"))
    assert not rig.target("second").exists()
    assert entry.size == len(old)
    assert rig.leftovers() == []


def test_a_small_file_replaced_in_mid_fetch(rig: Rig) -> None:
    entry = rig.put("a.txt", b"old")
    rig.faulty.faults.append(
        Fault(call="fetch", times=1, status=0, action=lambda: rig.put("a.txt", b"newer")),
    )
    with pytest.raises(StoreChanged):
        rig.shaky.get("a.txt", str(rig.target()), entry=entry)
    assert not rig.target().exists()
    assert rig.shaky.get("a.txt", str(rig.target())).size == 5


def test_a_file_that_never_rests(rig: Rig) -> None:
    sizes = iter(range(3, 1000))
    rig.put("a.txt", b"xx")
    again = Fault(call="fetch", status=0, action=lambda: rig.put("a.txt", b"x" * next(sizes)))
    rig.faulty.faults.append(again)
    with pytest.raises(StoreUnavailable, match="replaced again and again"):
        rig.shaky.get("a.txt", str(rig.target()))
    assert rig.leftovers() == []


def test_two_at_the_same_target(rig: Rig) -> None:
    data = data_of(30 * PART)
    entry = rig.put("a.bin", data)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(rig.store.get, "a.bin", str(rig.target()), entry=entry) for _ in range(4)]:
            done.result()
    assert rig.target().read_bytes() == data
    assert rig.leftovers() == []


# 5. Putting


def test_put_replaces(rig: Rig) -> None:
    rig.put("a/b.txt", b"old and long")
    moved = Moved()
    entry = rig.store.put(rig.file(b"new"), "a/b.txt", moved)
    assert entry == rig.store.stat("a/b.txt")
    assert rig.store.read("a/b.txt") == b"new"
    assert moved.total == 3
    assert [entry.key for entry in rig.drive.list("")] == ["a/b.txt"]


@pytest.mark.parametrize("call", ["send", "rename"])
def test_a_put_that_breaks_leaves_what_was_there(rig: Rig, call: str) -> None:
    if call == "rename" and rig.store.traits.atomic:
        pytest.skip("nothing is renamed here")
    rig.put("a.bin", b"old")
    rig.faulty.faults.append(Fault(call=call, at=700 if call == "send" else None))
    with pytest.raises(StoreUnavailable):
        rig.shaky.put(rig.file(data_of(PART)), "a.bin")
    with pytest.raises(StoreUnavailable):
        rig.shaky.put(rig.file(data_of(PART)), "new.bin")
    assert rig.store.read("a.bin") == b"old"
    assert rig.store.stat("new.bin") is None
    assert [entry.key for entry in rig.drive.list("")] == ["a.bin"]


class Killed(BaseException):
    """The process ends here: nothing that would clean up runs."""


def test_a_put_that_is_killed_leaves_nothing_to_read(rig: Rig) -> None:
    def die() -> None:
        raise Killed

    rig.put("a.bin", b"old")
    last = "send" if rig.store.traits.atomic else "rename"
    rig.faulty.faults.append(Fault(call=last, status=0, action=die))
    for key in ("a.bin", "new.bin"):
        with pytest.raises(Killed):
            rig.shaky.put(rig.file(data_of(PART)), key)
    assert [entry.key for entry in rig.store.list()] == ["a.bin"]
    assert rig.store.read("a.bin") == b"old"


def test_put_what_is_not_there(rig: Rig) -> None:
    with pytest.raises(FileNotFoundError):
        rig.store.put(str(rig.folder / "no-such-file"), "a.txt")
    assert rig.store.list() == []


def test_readers_never_see_a_half(rig: Rig) -> None:
    contents = [bytes([letter]) * 900 for letter in b"abcdef"]
    rig.put("a.bin", contents[0])
    sources = [rig.file(data, f"whole/{number}") for number, data in enumerate(contents)]
    done = threading.Event()

    def write() -> None:
        for _ in range(5):
            for source in sources:
                rig.store.put(source, "a.bin")
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not done.is_set() and not writing.done():
            assert rig.store.read("a.bin", 0, None) in contents
        writing.result()


# 6. Many


def many(rig: Rig, count: int) -> list[Send]:
    return [
        Send(source=rig.file(b"%d" % number, f"many/{number}"), key=f"d{number % 5}/{number}")
        for number in range(count)
    ]


def test_many_files_there_and_back(rig: Rig) -> None:
    sends = many(rig, 150)
    moved = Moved()
    assert list(rig.store.put_many(sends, moved)) == [None] * 150
    size = sum(os.path.getsize(send.source) for send in sends)
    assert moved.total == size
    moved = Moved()
    entries = {entry.key: entry for entry in rig.store.list()}
    fetches = [Fetch(key=send.key, target=str(rig.target(send.key)), entry=entries[send.key]) for send in sends]
    assert list(rig.store.get_many(fetches, moved)) == [None] * 150
    assert moved.total == size
    assert all(Path(fetch.target).read_bytes() == fetch.key.partition("/")[2].encode() for fetch in fetches)
    assert rig.leftovers() == []


def test_without_entries_nothing_is_looked_up(rig: Rig) -> None:
    rig.store.put_many(many(rig, 5))
    fetches = [Fetch(key=f"d{number}/{number}", target=str(rig.target(str(number)))) for number in range(5)]
    assert list(rig.shaky.get_many(fetches)) == [None] * 5
    assert rig.faulty.calls == {"fetch": 5}
    assert rig.target("4").read_bytes() == b"4"


def test_one_failure_stops_no_other(rig: Rig) -> None:
    sends = many(rig, 10)
    sends[3] = Send(source=str(rig.folder / "no-such-file"), key="d3/3")
    outcomes = rig.store.put_many(sends)
    assert isinstance(outcomes[3], FileNotFoundError)
    assert [outcome for outcome in outcomes if outcome is None] == [None] * 9
    large = rig.put("large", data_of(3 * PART))
    stale = rig.put("stale", b"1")
    rig.put("stale", b"22")
    fetches = [
        *(Fetch(key=f"d{number % 5}/{number}", target=str(rig.target(str(number)))) for number in range(10)),
        Fetch(key="stale", target=str(rig.target("stale")), entry=stale),
        Fetch(key="large", target=str(rig.target("large")), entry=large),
    ]
    outcomes = rig.store.get_many(fetches)
    assert isinstance(outcomes[3], StoreMissing)
    assert isinstance(outcomes[10], StoreChanged)
    assert [outcome for outcome in outcomes if outcome is None] == [None] * 10
    assert not rig.target("3").exists() and not rig.target("stale").exists()
    assert rig.target("large").read_bytes() == data_of(3 * PART)
    assert rig.leftovers() == []


def test_only_what_was_unavailable_is_tried_again(rig: Rig) -> None:
    rig.faulty.faults.append(Fault(call="send", times=3))
    assert list(rig.shaky.put_many(many(rig, 10))) == [None] * 10
    assert rig.faulty.calls["send"] == 13
    rig.faulty.faults.append(Fault(call="fetch", times=3))
    fetches = [Fetch(key=f"d{n % 5}/{n}", target=str(rig.target(str(n)))) for n in range(10)]
    assert list(rig.shaky.get_many(fetches)) == [None] * 10
    assert rig.faulty.calls["fetch"] == 13


def test_none_are_many_too(rig: Rig) -> None:
    assert list(rig.store.put_many([])) == []
    assert list(rig.store.get_many([])) == []
    rig.store.remove([])


# 7. Copying and removing


def test_copy(rig: Rig) -> None:
    rig.put("a.txt", b"one")
    rig.put("c/d.txt", b"old")
    for to in ("b.txt", "c/d.txt", "e/f/g.txt"):
        rig.store.copy("a.txt", to)
        assert rig.store.read(to) == b"one"
    assert rig.store.read("a.txt") == b"one"
    assert len(rig.drive.list("")) == 4
    with pytest.raises(StoreMissing):
        rig.store.copy("gone.txt", "h.txt")


def test_a_copy_inside_moves_nothing_here(rig: Rig) -> None:
    rig.put("a.txt", b"one")
    rig.shaky.copy("a.txt", "b.txt")
    assert (rig.faulty.bytes_read == 0) == rig.store.traits.server_copy


def test_remove(rig: Rig) -> None:
    for key in ("a.txt", "b/c.txt", "b/d.txt"):
        rig.put(key, b"x")
    rig.store.remove(["b/c.txt", "gone.txt", "no/such/folder.txt", "a.txt"])
    assert [entry.key for entry in rig.store.list()] == ["b/d.txt"]


# 8. Errors


CALLS: dict[str, Callable[[Store, Rig], object]] = {
    "stat": lambda store, rig: store.stat("a.txt"),
    "list": lambda store, rig: store.list(),
    "read": lambda store, rig: store.read("a.txt"),
    "fetch": lambda store, rig: store.get("a.txt", str(rig.target())),
    "send": lambda store, rig: store.put(rig.file(b"x"), "a.txt"),
    "remove": lambda store, rig: store.remove(["a.txt"]),
}


@pytest.mark.parametrize("call", CALLS)
def test_unavailable_is_tried_again(rig: Rig, call: str) -> None:
    rig.put("a.txt", b"x")
    rig.faulty.faults.append(Fault(call=call, times=EAGER.tries - 1))
    CALLS[call](rig.shaky, rig)
    assert rig.faulty.calls[call] == EAGER.tries
    rig.put("a.txt", b"x")
    rig.faulty.faults[:] = [Fault(call=call)]
    rig.faulty.calls.clear()
    with pytest.raises(StoreUnavailable):
        CALLS[call](rig.shaky, rig)
    assert rig.faulty.calls[call] == EAGER.tries


@pytest.mark.parametrize("call", CALLS)
def test_refused_is_refused_at_once(rig: Rig, call: str) -> None:
    rig.put("a.txt", b"x")
    rig.faulty.faults.append(Fault(call=call, status=403))
    with pytest.raises(StoreError) as caught:
        CALLS[call](rig.shaky, rig)
    assert not isinstance(caught.value, StoreUnavailable)
    assert rig.faulty.calls[call] == 1


def test_a_listing_that_lags_loses_nothing(rig: Rig) -> None:
    stale = rig.put("a.txt", b"one")
    rig.put("gone.txt", b"two")
    rig.faulty.lag()
    rig.put("a.txt", b"three")
    rig.put("new.txt", b"four")
    rig.store.remove(["gone.txt"])
    entries = rig.shaky.list()
    assert [entry.key for entry in entries] == ["a.txt", "gone.txt"]
    fetches = [Fetch(key=entry.key, target=str(rig.target(entry.key)), entry=entry) for entry in entries]
    outcomes: Sequence[object] = rig.shaky.get_many(fetches)
    assert isinstance(outcomes[0], StoreChanged)
    assert isinstance(outcomes[1], StoreMissing)
    assert not rig.target("a.txt").exists()
    assert rig.shaky.get("a.txt", str(rig.target("a.txt"))) != stale
    assert rig.target("a.txt").read_bytes() == b"three"
    assert rig.shaky.read("new.txt") == b"four"


def test_errors_of_this_machine_are_its_own(rig: Rig) -> None:
    rig.put("a.txt", b"x")
    blocked = rig.folder / "blocked"
    blocked.write_bytes(b"a file")
    with pytest.raises(OSError):
        rig.store.get("a.txt", str(blocked / "a.txt"))
    rig.target().mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        rig.store.get("a.txt", str(rig.target()))
    assert rig.leftovers() == []


# 9. Threads


def test_any_thread_may_call(rig: Rig) -> None:
    def work(number: int) -> None:
        key, target = f"t/{number}", str(rig.target(f"t{number}"))
        rig.store.put(rig.file(b"%d" % number, f"t/{number}"), key)
        assert rig.store.stat(key) is not None
        rig.store.get(key, target)
        assert rig.store.read(key) == Path(target).read_bytes() == b"%d" % number

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(40)))
    assert len(rig.store.list("t")) == 40


def test_a_closed_store_opens_again(rig: Rig) -> None:
    rig.put("a.txt", b"x")
    rig.store.close()
    rig.store.close()
    assert rig.store.read("a.txt") == b"x"
