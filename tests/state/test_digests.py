"""Digests: equal content gives equal digests, other content never passes for known, whatever a clock says."""

from __future__ import annotations

import marshal
import os
import socket
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmake.home import Home
from mlmake.state import digests as module
from mlmake.state import stamps
from mlmake.state.database import connect, transaction
from mlmake.state.digests import Digest, Digests
from mlmake.state.stamps import Stamp

LIE = "f" * 32
"""A digest that no content of these tests has: where it comes back, a remembered digest was trusted."""
LATER = 3600 * 10**9


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    (tmp_path / "project").mkdir()
    connection = connect(Home(str(tmp_path / "project")), create=True)
    yield connection
    connection.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.txt"
    path.write_bytes(b"content")
    return path


def digest_of(path: Path | str, connection: sqlite3.Connection | None = None) -> str | None:
    """What is at a path, by an instance of its own."""
    found = Digests(connection or empty()).of(str(path))
    return found.digest if found else None


def empty() -> sqlite3.Connection:
    return connect(Home("/nowhere"), create=False)


def content_digest(content: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(content)


def remember(
    connection: sqlite3.Connection, path: Path, *, seen: int | None = None, digest: str = LIE, **other: int
) -> None:
    """Put into the state what `stat` says of a file, changed by `other`, with a digest that is not the file's."""
    status = path.stat()
    row = {
        "size": status.st_size,
        "mtime": status.st_mtime_ns,
        "ctime": status.st_ctime_ns,
        "inode": status.st_ino,
        "seen": max(status.st_ctime_ns, status.st_mtime_ns) + LATER if seen is None else seen,
        **other,
    }
    connection.execute(
        "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)", (os.fspath(path), *row.values(), digest)
    )


# Contents.

BLOCK = 1 << 18


@pytest.mark.parametrize("size", [0, 1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_a_files_digest_is_the_xxh3_of_its_content(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "x").write_bytes(content)
    assert Digests(empty()).of(str(tmp_path / "x")) == Digest(content_digest(content), size)


def test_what_is_not_there_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "file").write_text("x")
    for path in ["missing", "broken", "itself", "file/below", "a\0b", "x" * 5000]:
        assert Digests(empty()).of(f"{tmp_path}/{path}") is None


def test_what_is_neither_file_nor_folder_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        assert digest_of(tmp_path / "fifo") is None
        assert digest_of(tmp_path / "socket") is None
        assert digest_of("/dev/zero") is None
        assert digest_of(tmp_path) == digest_of_tree({})


def test_a_link_to_a_file_has_the_content_of_the_file(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    digests = Digests(empty())
    assert digests.of(str(tmp_path / "link")) == digests.of(str(file))
    (tmp_path / "other").write_bytes(b"CONTENT")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("other")
    assert digests.of(str(tmp_path / "link")) == Digest(content_digest(b"CONTENT"), 7)


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder that anyone may use, and no rights beyond those of others inside the block."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        was_root = os.geteuid() == 0
        try:
            if was_root:
                os.seteuid(65534)
            yield Path(name)
        finally:
            if was_root:
                os.seteuid(0)
            for folder, _, files in os.walk(name):
                for each in [folder, *(os.path.join(folder, file) for file in files)]:
                    os.chmod(each, 0o777)


def test_what_cannot_be_read_has_no_digest() -> None:
    with as_nobody() as folder:
        (folder / "file").write_text("x")
        (folder / "sub").mkdir()
        (folder / "sub" / "x").write_text("x")
        readable = digest_of(folder / "sub")
        (folder / "file").chmod(0)
        (folder / "sub").chmod(0)
        assert digest_of(folder / "file") is None
        assert digest_of(folder / "sub") is None
        assert digest_of(folder / "sub" / "x") is None
        (folder / "sub").chmod(0o700)
        assert digest_of(folder / "sub") == readable


def test_a_file_that_cannot_be_read_is_no_part_of_its_folder() -> None:
    with as_nobody() as folder:
        (folder / "a").write_text("a")
        alone = digest_of(folder)
        (folder / "b").write_text("b")
        both = digest_of(folder)
        (folder / "b").chmod(0)
        assert digest_of(folder) == alone
        (folder / "b").chmod(0o600)
        assert digest_of(folder) == both


# The memo.


def test_a_known_file_is_not_read_again(connection: sqlite3.Connection, file: Path) -> None:
    remember(connection, file)
    assert digest_of(file, connection) == LIE


@pytest.mark.parametrize("field", ["size", "mtime", "ctime", "inode"])
@pytest.mark.parametrize("by", [-1, 1, 10**9])
def test_a_file_is_read_again_when_stat_differs(
    connection: sqlite3.Connection, file: Path, field: str, by: int
) -> None:
    status = file.stat()
    value = {
        "size": status.st_size,
        "mtime": status.st_mtime_ns,
        "ctime": status.st_ctime_ns,
        "inode": status.st_ino,
    }[field]
    remember(connection, file, **{field: value + by})  # type: ignore[arg-type]
    assert digest_of(file, connection) == content_digest(b"content")


@pytest.mark.parametrize("age", [-LATER, -1, 0, 1, 10_000_000])
def test_a_file_as_young_as_the_clocks_step_is_read_again(connection: sqlite3.Connection, file: Path, age: int) -> None:
    status = file.stat()
    remember(connection, file, seen=max(status.st_mtime_ns, status.st_ctime_ns) + age)
    assert digest_of(file, connection) == content_digest(b"content")


def test_a_mtime_in_the_future_is_never_trusted(connection: sqlite3.Connection, file: Path) -> None:
    ahead = time.time_ns() + LATER
    os.utime(file, ns=(ahead, ahead))
    remember(connection, file, seen=time.time_ns() + 10**9)
    assert digest_of(file, connection) == content_digest(b"content")


def test_an_old_mtime_does_not_hide_a_young_ctime(connection: sqlite3.Connection, file: Path) -> None:
    os.utime(file, ns=(10**18, 10**18))
    remember(connection, file, seen=file.stat().st_ctime_ns + 1)
    assert digest_of(file, connection) == content_digest(b"content")


def test_what_was_learnt_is_kept_by_save(connection: sqlite3.Connection, tmp_path: Path, file: Path) -> None:
    digests = Digests(connection)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("x")
    digests.of(str(file))
    digests.of(str(tmp_path / "folder"))
    assert digests.learnt == 2
    with transaction(connection):
        digests.save()
    assert digests.learnt == 0
    rows = connection.execute("SELECT path, digest FROM digests").fetchall()
    assert dict(rows) == {str(file): content_digest(b"content")}
    assert connection.execute("SELECT path FROM trees").fetchall() == [(str(tmp_path / "folder"),)]
    age(connection)
    again = Digests(connection)
    assert again.of(str(file)) == Digest(content_digest(b"content"), 7)
    assert again.learnt == 0


def test_what_was_not_saved_is_learnt_again(connection: sqlite3.Connection, file: Path) -> None:
    Digests(connection).of(str(file))
    assert connection.execute("SELECT count(*) FROM digests").fetchone() == (0,)


def test_names_that_are_no_unicode_are_remembered(connection: sqlite3.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9.csv")
    (folder / name).write_text("x")
    digests = Digests(connection)
    expected = digests.of(str(folder))
    assert digests.of(str(folder / name)) == Digest(content_digest(b"x"), 1)
    with transaction(connection):
        digests.save()
    age(connection)
    again = Digests(connection)
    assert again.of(str(folder)) == expected
    assert again.learnt == 0


ODD: list[tuple[str, object]] = [
    *((column, value) for column in ("size", "mtime", "ctime", "inode", "seen") for value in (None, "odd", 1.5, b"1")),
    *(("digest", value) for value in (None, b"1")),
]


@pytest.mark.parametrize(("column", "value"), ODD)
def test_a_row_of_odd_types_is_not_trusted(
    connection: sqlite3.Connection, file: Path, column: str, value: object
) -> None:
    remember(connection, file)
    connection.execute(f"UPDATE digests SET {column} = ?", (value,))
    assert digest_of(file, connection) == content_digest(b"content")


def age(connection: sqlite3.Connection) -> None:
    """As if the files had been hashed long after they were written."""
    connection.execute("UPDATE digests SET seen = max(mtime, ctime) + ?", (LATER,))
    connection.execute("UPDATE trees SET seen = newest + ?", (LATER,))


# Changes that are hard to notice.


def test_a_rewrite_within_one_step_of_the_clock_is_noticed(connection: sqlite3.Connection, file: Path) -> None:
    digests = Digests(connection)
    digests.of(str(file))
    with transaction(connection):
        digests.save()
    old = file.stat()
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    # Forced: as if this second write carried the times of the first, which was hashed right after it.
    new = file.stat()
    assert (new.st_mtime_ns, new.st_size, new.st_ino) == (old.st_mtime_ns, old.st_size, old.st_ino)
    connection.execute("UPDATE digests SET ctime = ?, seen = ?", (new.st_ctime_ns, new.st_ctime_ns + 1))
    assert digest_of(file, connection) == content_digest(b"CONTENT")


def test_rewrites_as_fast_as_they_come_are_noticed(file: Path) -> None:
    digests = Digests(empty())
    for number in range(300):
        content = b"%07d" % number
        file.write_bytes(content)
        assert digests.of(str(file)) == Digest(content_digest(content), 7)


def test_a_swap_that_keeps_size_and_mtime_is_noticed(connection: sqlite3.Connection, file: Path) -> None:
    remember(connection, file)
    old = file.stat()
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert file.stat().st_mtime_ns == old.st_mtime_ns
    assert digest_of(file, connection) == content_digest(b"CONTENT")


def test_a_rename_over_that_keeps_size_and_mtime_is_noticed(
    connection: sqlite3.Connection, tmp_path: Path, file: Path
) -> None:
    remember(connection, file)
    old = file.stat()
    other = tmp_path / "other"
    other.write_bytes(b"CONTENT")
    os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))
    other.rename(file)
    assert digest_of(file, connection) == content_digest(b"CONTENT")


def test_two_files_that_swap_their_names_are_noticed(
    connection: sqlite3.Connection, tmp_path: Path, file: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"CONTENT")
    for path in (file, other):
        os.utime(path, ns=(10**18, 10**18))
    digests = Digests(connection)
    digests.of(str(file)), digests.of(str(other))
    file.rename(tmp_path / "third")
    other.rename(file)
    (tmp_path / "third").rename(other)
    assert digests.of(str(file)) == Digest(content_digest(b"CONTENT"), 7)
    assert digests.of(str(other)) == Digest(content_digest(b"content"), 7)


def test_a_touch_changes_nothing(file: Path) -> None:
    digests = Digests(empty())
    before = digests.of(str(file))
    os.utime(file)
    assert digests.of(str(file)) == before


@dataclass
class Disk:
    """A disk with a clock of its own: one file, whose times are cut to the disk's step."""

    step: int
    now: int
    written: int = 0
    content: bytes = b"0"

    def write(self, content: bytes) -> None:
        self.content = content
        self.written = self.now

    def stat(self, _: str) -> Any:
        time = self.written // self.step * self.step
        return SimpleNamespace(st_mode=0o100644, st_size=1, st_mtime_ns=time, st_ctime_ns=time, st_ino=1)


@contextmanager
def standing_on(disk: Disk) -> Iterator[None]:
    with patch.multiple(
        module,
        os=SimpleNamespace(stat=disk.stat, fsdecode=os.fsdecode),
        time=SimpleNamespace(time_ns=lambda: disk.now),
        _hash=lambda _: (disk.content.decode(), 1),
    ):
        yield


SECOND = 10**9
STEPS = st.sampled_from([1, 1000, 100_000, 1_000_000, 4_000_000, 10_000_000, SECOND, 2 * SECOND])
MOVES = st.one_of(
    st.just("look"),
    st.sampled_from("0123456789"),
    st.sampled_from([1, 500_000, 3_999_999, 9_999_999, 10**7, 3 * 10**7, 999_999_999, SECOND, 1_999_999_999]),
)


@given(step=STEPS, start=st.integers(10**18, 10**18 + 4 * SECOND), moves=st.lists(st.tuples(MOVES, MOVES), max_size=30))
@settings(max_examples=400, deadline=None)
def test_no_write_is_missed_on_a_disk_with_a_coarse_clock(
    step: int, start: int, moves: list[tuple[str | int, str | int]]
) -> None:
    # Kernels tick every 1 to 10 ms, FAT every 2 s, ext3 and HFS every second.
    disk = Disk(step, start, written=start)
    with standing_on(disk):
        digests = Digests(empty())
        for move in (each for pair in moves for each in pair):
            if isinstance(move, int):
                disk.now += move
            elif move == "look":
                assert digests.of("x") == Digest(disk.content.decode(), 1)
            else:
                disk.write(move.encode())
        assert digests.of("x") == Digest(disk.content.decode(), 1)


# Folders.

Tree = Mapping[str, "bytes | Tree"]


def grow(folder: Path, tree: Tree) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in tree.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            grow(folder / name, content)
    return folder


def digest_of_tree(tree: Tree) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        return digest_of(grow(Path(folder), tree))


def test_a_folders_digest_says_names_contents_and_shape() -> None:
    trees: list[Tree] = [
        {},
        {"a": b""},
        {"b": b""},
        {"a": b"", "b": b""},
        {"a": b"1"},
        {"a": b"1", "b": b"2"},
        {"a": b"2", "b": b"1"},
        {"a": {}},
        {"a": {"b": b""}},
        {"a": {"b": {}}},
        {"a": {}, "b": b""},
        {"a": {"b": b"1"}},
        {"a b": b"1"},
        {"a\nb": b"1"},
        {"a": {"b": b"1"}, "c": b"2"},
        {"a": {"b": b"1", "c": b"2"}},
        {"ab": {"c": b"1"}},
        {"a": {"bc": b"1"}},
        {"x": b"x", "-": b"-"},
        {"-": b"x", "x": b"-"},
    ]
    digests = [digest_of_tree(tree) for tree in trees]
    assert len(set(digests)) == len(trees)
    assert digests == [digest_of_tree(tree) for tree in trees]


NAMES = st.sampled_from(["a", "b", "ab", "x", "-", "a b", "é", "a\n", os.fsdecode(b"\xff"), "." * 3])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(NAMES, st.binary(max_size=2), max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(st.binary(max_size=2), inner), max_size=3),
    max_leaves=6,
)


@given(TREES, TREES)
@settings(max_examples=150, deadline=None)
def test_folders_have_equal_digests_only_if_they_are_equal(one: Tree, other: Tree) -> None:
    assert (digest_of_tree(one) == digest_of_tree(other)) == (one == other)


@given(TREES)
@settings(max_examples=50, deadline=None)
def test_a_folders_size_is_that_of_its_files(tree: Tree) -> None:
    def size(tree: Tree) -> int:
        return sum(len(each) if isinstance(each, bytes) else size(each) for each in tree.values())

    with tempfile.TemporaryDirectory() as folder:
        found = Digests(empty()).of(str(grow(Path(folder), tree)))
    assert found is not None
    assert found.size == size(tree)


def test_a_folder_is_the_same_wherever_it_stands_and_in_whatever_order_it_grew(tmp_path: Path) -> None:
    one = grow(tmp_path / "one", {"a": b"1", "b": {"c": b"2"}})
    (tmp_path / "two" / "b").mkdir(parents=True)
    (tmp_path / "two" / "b" / "c").write_bytes(b"2")
    (tmp_path / "two" / "a").write_bytes(b"1")
    assert digest_of(one) == digest_of(tmp_path / "two") == digest_of(f"{tmp_path}/two/")


def test_the_right_to_execute_counts_in_a_folder(tmp_path: Path) -> None:
    folder = grow(tmp_path / "folder", {"run.sh": b"echo"})
    digests = Digests(empty())
    before = digests.of(str(folder))
    (folder / "run.sh").chmod(0o755)
    assert digests.of(str(folder)) != before
    (folder / "run.sh").chmod(0o640)
    assert digests.of(str(folder)) == before


def test_a_link_in_a_folder_is_what_it_leads_to(tmp_path: Path) -> None:
    grow(tmp_path, {"real": {"a": b"1", "in": {"b": b"2"}}, "linked": {}})
    (tmp_path / "linked" / "a").symlink_to("../real/a")
    (tmp_path / "linked" / "in").symlink_to("../real/in")
    assert digest_of(tmp_path / "linked") == digest_of(tmp_path / "real")
    (tmp_path / "real" / "in" / "b").write_bytes(b"3")
    assert digest_of(tmp_path / "linked") == digest_of(tmp_path / "real")
    (tmp_path / "whole").symlink_to("real")
    assert digest_of(tmp_path / "whole") == digest_of(tmp_path / "real")


def test_a_link_to_nowhere_is_no_part_of_a_folder(tmp_path: Path) -> None:
    folder = grow(tmp_path / "folder", {"a": b"1"})
    before = digest_of(folder)
    (folder / "gone").symlink_to("nowhere")
    (folder / "self").symlink_to("self")
    assert digest_of(folder) == before


def test_links_that_lead_around_in_circles_end(tmp_path: Path) -> None:
    folder = grow(tmp_path / "folder", {"a": b"1", "b": {"c": {"d": b"2"}}})
    plain = digest_of(folder)
    (folder / "b" / "up").symlink_to("../")
    (folder / "here").symlink_to(".")
    (folder / "b" / "c" / "top").symlink_to(folder)
    looped = digest_of(folder)
    assert looped is not None
    assert looped != plain
    (folder / "b" / "c" / "d").write_bytes(b"3")
    assert digest_of(folder) != looped


def learn(connection: sqlite3.Connection, folder: Path) -> Digest | None:
    """Look at a folder long after it was written, and keep what was learnt."""
    digests = Digests(connection)
    found = digests.of(str(folder))
    with transaction(connection):
        digests.save()
    age(connection)
    return found


def test_a_known_folder_is_not_read_again(connection: sqlite3.Connection, tmp_path: Path) -> None:
    folder = grow(tmp_path / "folder", {"a": b"1", "b": {"c": b"2"}})
    learn(connection, folder)
    connection.execute("UPDATE trees SET digest = ?", (LIE,))
    assert digest_of(folder, connection) == LIE


def test_a_known_file_of_a_changed_folder_is_not_read_again(connection: sqlite3.Connection, tmp_path: Path) -> None:
    folder = grow(tmp_path / "folder", {"a": b"1", "b": b"2"})
    learn(connection, folder)
    (blob,) = connection.execute("SELECT rows FROM folders").fetchone()
    size, mtime, ctime, inode, _, _ = marshal.loads(blob)["a"]
    known = {"a": (size, mtime, ctime, inode, max(mtime, ctime) + LATER, LIE)}
    connection.execute("UPDATE folders SET rows = ?", (marshal.dumps(known),))
    before = digest_of(folder)
    (folder / "b").write_bytes(b"2, and more")
    after = digest_of(folder, connection)
    assert after not in (before, digest_of(folder)), "the lie about a was believed, and b was read"


@pytest.mark.parametrize("damage", [b"", b"odd", marshal.dumps([1]), None])
def test_damaged_memory_of_a_folder_is_read_anew(
    connection: sqlite3.Connection, tmp_path: Path, damage: bytes | None
) -> None:
    folder = grow(tmp_path / "folder", {"a": b"1"})
    right = learn(connection, folder)
    connection.execute("DELETE FROM trees")
    connection.execute("UPDATE folders SET rows = ?", (damage,))
    assert Digests(connection).of(str(folder)) == right


@pytest.mark.parametrize("change", ["edit", "swap", "add", "remove", "rename", "add folder", "remove folder"])
def test_changes_below_a_folder_are_noticed(tmp_path: Path, change: str) -> None:
    folder = grow(tmp_path / "folder", {"a": b"1", "b": {"c": b"2", "d": {}}})
    digests = Digests(empty())
    before = digests.of(str(folder))
    deep = folder / "b" / "c"
    status = deep.stat()
    if change == "edit":
        deep.write_bytes(b"22")
    elif change == "swap":
        deep.write_bytes(b"3")
        os.utime(deep, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "add":
        (folder / "b" / "e").write_bytes(b"")
    elif change == "remove":
        deep.unlink()
    elif change == "rename":
        deep.rename(folder / "b" / "e")
    elif change == "add folder":
        (folder / "b" / "e").mkdir()
    else:
        (folder / "b" / "d").rmdir()
    assert digests.of(str(folder)) != before


def test_a_file_where_a_folder_was_and_the_other_way_round(tmp_path: Path) -> None:
    place = grow(tmp_path / "place", {"a": b"1"})
    digests = Digests(empty())
    as_folder = digests.of(str(place))
    (place / "a").unlink()
    place.rmdir()
    place.write_bytes(b"1")
    assert digests.of(str(place)) == Digest(content_digest(b"1"), 1)
    place.unlink()
    grow(place, {"a": b"1"})
    assert digests.of(str(place)) == as_folder


# Renames of our own.


def test_what_is_known_of_a_file_goes_along_with_it(connection: sqlite3.Connection, tmp_path: Path, file: Path) -> None:
    remember(connection, file)
    digests = Digests(connection)
    new = tmp_path / "new"
    file.rename(new)
    digests.moved(str(file), str(new))
    assert digests.of(str(new)) == Digest(LIE, 7)
    with transaction(connection):
        digests.save()
    assert digest_of(new, connection) == LIE


def test_what_was_just_learnt_is_saved_under_the_new_name_only(
    connection: sqlite3.Connection, tmp_path: Path, file: Path
) -> None:
    digests = Digests(connection)
    digests.of(str(file))
    new = tmp_path / "new"
    file.rename(new)
    digests.moved(str(file), str(new))
    with transaction(connection):
        digests.save()
    rows = connection.execute("SELECT path, digest FROM digests").fetchall()
    assert rows == [(str(new), content_digest(b"content"))]


def test_what_is_known_of_a_folder_goes_along(connection: sqlite3.Connection, tmp_path: Path) -> None:
    old = grow(tmp_path / "old", {"a": b"1", "b": {"c": b"2"}})
    digests = Digests(connection)
    known = digests.of(str(old))
    old.rename(tmp_path / "new")
    digests.moved(str(old), str(tmp_path / "new"))
    with transaction(connection):
        digests.save()
    assert connection.execute("SELECT path FROM trees").fetchall() == [(str(tmp_path / "new"),)]
    folders = connection.execute("SELECT path FROM folders ORDER BY path").fetchall()
    assert folders == [(str(tmp_path / "new"),), (str(tmp_path / "new" / "b"),)]
    age(connection)
    assert Digests(connection).of(str(tmp_path / "new")) == known


@pytest.mark.parametrize("change", ["size", "mtime", "inode"])
def test_another_file_at_the_new_place_does_not_inherit(
    connection: sqlite3.Connection, tmp_path: Path, file: Path, change: str
) -> None:
    remember(connection, file)
    digests = Digests(connection)
    new = tmp_path / "new"
    old = file.stat()
    if change == "inode":
        new.write_bytes(b"CONTENT")
        os.utime(new, ns=(old.st_atime_ns, old.st_mtime_ns))
    else:
        file.rename(new)
        new.write_bytes(b"CONTENT" if change == "mtime" else b"more content")
        os.utime(new, ns=(old.st_atime_ns, old.st_mtime_ns + (change == "mtime")))
    content = new.read_bytes()
    digests.moved(str(file), str(new))
    assert digests.of(str(new)) == Digest(content_digest(content), len(content))


def test_a_move_over_a_known_file_forgets_what_was_there(
    connection: sqlite3.Connection, tmp_path: Path, file: Path
) -> None:
    new = tmp_path / "new"
    new.write_bytes(b"CONTENT")
    digests = Digests(connection)
    digests.of(str(new))
    file.rename(new)
    digests.moved(str(file), str(new))
    assert digests.of(str(new)) == Digest(content_digest(b"content"), 7)


def test_a_file_changed_between_hash_and_move_is_read_again(
    connection: sqlite3.Connection, tmp_path: Path, file: Path
) -> None:
    digests = Digests(connection)
    digests.of(str(file))
    old = file.stat()
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    new = tmp_path / "new"
    file.rename(new)
    digests.moved(str(file), str(new))
    assert digests.of(str(new)) == Digest(content_digest(b"CONTENT"), 7)


# Folders that take long.


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every look through a folder takes a quarter of a second; the folders that were looked through."""
    looks: list[str] = []
    stamp = stamps.stamp

    def slow_stamp(top: str) -> Stamp:
        looks.append(top)
        time.sleep(0.25)
        return stamp(top)

    monkeypatch.setattr(module, "stamp", slow_stamp)
    return looks


def test_a_look_that_takes_long_is_believed_until_something_may_have_been_written(
    connection: sqlite3.Connection, tmp_path: Path, slow: list[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("one")
    with patch.object(module, "is_racy", return_value=False):
        digests = Digests(connection)
        first = digests.of(str(folder))  # hashed, not only looked through
        assert digests.of(str(folder)) == digests.of(str(folder)) == first
        assert len(slow) == 1
        (folder / "file").write_text("two!")
        assert digests.of(str(folder)) == first
        digests.look_again()
        assert digests.of(str(folder)) != first


def test_a_look_that_took_long_is_not_believed_for_longer(
    connection: sqlite3.Connection, tmp_path: Path, slow: list[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("one")
    with patch.object(module, "is_racy", return_value=False):
        digests = Digests(connection)
        digests.of(str(folder))
        first = digests.of(str(folder))
        (folder / "file").write_text("two!")
        time.sleep(0.6)
        assert digests.of(str(folder)) != first


def test_another_name_for_a_file_is_no_write_to_its_folder(connection: sqlite3.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("one")
    digests = Digests(connection)
    before = digests.written(str(folder))
    os.link(folder / "file", tmp_path / "other")
    assert digests.written(str(folder)) == before
    (folder / "file").write_text("one")
    assert digests.written(str(folder)) != before
