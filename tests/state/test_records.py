"""Records: what is put is what is got, by this process and the next."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlmake.errors import StateError
from mlmake.home import Home
from mlmake.model.run import Item, Record
from mlmake.state.database import connect, transaction
from mlmake.state.records import Records, decode_items, encode_items

TEXTS = st.text(max_size=8) | st.just(os.fsdecode(b"caf\xe9"))
ITEMS = st.builds(Item, TEXTS, TEXTS, st.integers(0, 2**62))
RECORDS = st.builds(
    Record,
    step=st.sampled_from(["p.a", "p.b[x=1]", "p.ü"]),
    run=st.integers(1, 2**60),
    facts=st.dictionaries(TEXTS, TEXTS, max_size=3),
    inputs=st.dictionaries(TEXTS, st.lists(ITEMS, max_size=3).map(tuple), max_size=2),
    outputs=st.lists(ITEMS, max_size=3).map(tuple),
    finished=st.floats(allow_nan=False, allow_infinity=False),
    seconds=st.floats(0, 1e9),
    target=st.sampled_from(["", "local", "box"]),
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(Home(str(tmp_path)), create=True)
    yield connection
    connection.close()


def record(step: str = "p.a", run: int = 1) -> Record:
    return Record(step=step, run=run, facts={"kind": "x"}, inputs={}, outputs=(), finished=1.0, seconds=2.0)


def put(connection: sqlite3.Connection, *records: Record) -> None:
    store = Records(connection)
    with transaction(connection):
        for each in records:
            store.put(each)


@given(records=st.lists(RECORDS, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
def test_what_is_put_is_what_is_got(connection: sqlite3.Connection, records: list[Record]) -> None:
    store = Records(connection)
    with transaction(connection):
        for each in records:
            store.put(each)
    newest = {each.step: each for each in records}
    for reader in (store, Records(connection)):
        assert {step: reader.get(step) for step in newest} == newest


@given(items=st.lists(ITEMS, max_size=5))
def test_items_survive_as_lists(items: list[Item]) -> None:
    assert decode_items(encode_items(items)) == tuple(items)


def test_a_step_that_never_ran_has_no_record(connection: sqlite3.Connection) -> None:
    put(connection, record("p.a"))
    assert Records(connection).get("p.b") is None


def test_the_order_of_facts_and_inputs_is_kept(connection: sqlite3.Connection) -> None:
    facts = {name: name for name in "zmab"}
    inputs = {name: (Item(name, "d", 1),) for name in "zmab"}
    put(connection, Record(step="p.a", run=1, facts=facts, inputs=inputs, outputs=(), finished=1.0, seconds=1.0))
    found = Records(connection).get("p.a")
    assert found is not None
    assert (list(found.facts), list(found.inputs)) == (list("zmab"), list("zmab"))


def test_a_later_record_takes_the_place_of_an_earlier_one(connection: sqlite3.Connection) -> None:
    put(connection, record(run=1), record(run=2))
    found = Records(connection).get("p.a")
    assert found is not None
    assert found.run == 2
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (1,)


def test_a_record_of_a_transaction_that_failed_is_not_there(connection: sqlite3.Connection) -> None:
    store = Records(connection)
    with pytest.raises(ZeroDivisionError), transaction(connection):
        store.put(record())
        raise ZeroDivisionError
    assert Records(connection).get("p.a") is None


@pytest.mark.parametrize(
    "change",
    [
        "facts = '{'",
        "facts = '[]'",
        "facts = '\"x\"'",
        "facts = NULL",
        "run = 'x'",
        "run = NULL",
        "finished = 'x'",
        "seconds = NULL",
        "inputs = '[1]'",
        'inputs = \'{"a": [["x"]]}\'',
        "outputs = '3'",
        "outputs = '[[1, 2, 3, 4]]'",
        "outputs = '[3]'",
    ],
)
def test_a_record_that_cannot_be_is_damage(connection: sqlite3.Connection, change: str) -> None:
    put(connection, record())
    connection.execute(f"UPDATE records SET {change}")
    store = Records(connection)
    with pytest.raises(StateError, match=r"state\.db is damaged") as caught:
        store.get("p.a")
    assert "mv" in caught.value.hint


# Texts of code.


def keep(connection: sqlite3.Connection, path: Path, digest: str = "") -> str:
    digest = digest or xxhash.xxh3_128_hexdigest(path.read_bytes())
    with transaction(connection):
        Records(connection).keep_texts({str(path): digest})
    return digest


@given(content=st.binary(max_size=100).filter(lambda content: b"\0" not in content))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_texts_are_kept_by_content(connection: sqlite3.Connection, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "code.py"
    path.write_bytes(content)
    digest = keep(connection, path)
    path.write_bytes(b"other")
    keep(connection, path)
    assert Records(connection).text(digest) == content.decode("utf-8", "replace")


def test_a_text_that_changed_since_it_was_hashed_is_not_kept_under_the_wrong_digest(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "code.py"
    path.write_text("new")
    digest = keep(connection, path, xxhash.xxh3_128_hexdigest(b"old"))
    assert Records(connection).text(digest) is None


@pytest.mark.parametrize("content", [b"\0binary", b"x" * ((1 << 18) + 1)])
def test_binary_and_very_long_code_is_not_kept(connection: sqlite3.Connection, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "code.py"
    path.write_bytes(content)
    assert Records(connection).text(keep(connection, path)) is None


def test_code_that_went_away_is_not_kept(connection: sqlite3.Connection, tmp_path: Path) -> None:
    assert Records(connection).text(keep(connection, tmp_path / "missing", "d" * 32)) is None


def test_an_equal_text_is_kept_once(connection: sqlite3.Connection, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("same")
        keep(connection, tmp_path / name)
    assert connection.execute("SELECT count(*) FROM texts").fetchone() == (1,)


@pytest.mark.parametrize("body", ["x'00'", "NULL", "3", "'text'"])
def test_a_text_that_cannot_be_is_damage(connection: sqlite3.Connection, body: str) -> None:
    connection.execute(f"INSERT INTO texts VALUES ('d', {body})")
    with pytest.raises(StateError, match="damaged"):
        Records(connection).text("d")
