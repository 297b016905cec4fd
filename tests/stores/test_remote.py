"""What real drivers do with what real servers say: busy, forbidden, gone, hung up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlmake.errors import StoreError, StoreMissing, StoreUnavailable
from mlmake.stores.base import Store
from mlmake.stores.opening import open_store
from mlmake.stores.patience import EAGER
from mlmake.stores.version import entry_of
from servers import Answer, S3Server, WebServer, web_server

SECRET = "s3cr3t-v4lue"
BODY = b"0123456789"
WELL = Answer(200, BODY, {"ETag": '"e781e9c7b7a1d5e3e4a5b7d6e8c9d0f1"', "Accept-Ranges": "bytes"})


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def amazon(web: WebServer) -> Store:
    """A store of S3's driver at a server that answers as the test wants."""
    options = {"key": "k", "secret": "${env:SECRET}", "endpoint_url": web.url}
    return open_store("lake", "s3://bucket/x", options, {"SECRET": SECRET}, patience=EAGER)


def at_web(web: WebServer) -> Store:
    return open_store("lake", f"{web.url}/x", {}, {}, patience=EAGER)


STORES = {"s3": amazon, "http": at_web}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, web: WebServer) -> Store:
    made: Store = STORES[request.param](web)
    return made


def said(status: int, code: str = "") -> Answer:
    return Answer(status, f"<Error><Code>{code or status}</Code><Message>{SECRET} told</Message></Error>".encode())


def in_turn(*answers: Answer) -> Callable[[str, str, str], Answer]:
    """These answers, the last of them again and again."""
    waiting = list(answers)
    return lambda method, path, wanted: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_busy_server_is_asked_again(web: WebServer, store: Store, status: int) -> None:
    web.answer = in_turn(said(status), said(status), WELL)
    assert store.read("a.txt") == BODY
    assert len(web.asked) == 3


def test_one_that_stays_busy_is_given_up(web: WebServer, store: Store) -> None:
    web.answer = in_turn(said(503, "SlowDown"))
    with pytest.raises(StoreUnavailable) as caught:
        store.read("a.txt")
    assert len(web.asked) == EAGER.tries
    assert SECRET not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_final(web: WebServer, store: Store, status: int) -> None:
    web.answer = in_turn(said(status, "AccessDenied"))
    calls: list[Callable[[], object]] = [lambda: store.read("a.txt"), store.list]
    for call in calls:
        web.asked.clear()
        with pytest.raises(StoreError, match="access denied") as caught:
            call()
        assert not isinstance(caught.value, StoreUnavailable | StoreMissing)
        assert len(web.asked) == 1
        assert SECRET not in str(caught.value)
        assert "datastore lake" in caught.value.hint


@pytest.mark.parametrize("status", [403, 503])
def test_stat_does_not_take_trouble_for_absence(web: WebServer, store: Store, status: int) -> None:
    web.answer = in_turn(said(status))
    with pytest.raises(StoreError):
        store.stat("a.txt")


def test_what_is_absent_is_absent(web: WebServer, store: Store) -> None:
    web.answer = in_turn(Answer(404))
    with pytest.raises(StoreMissing):
        store.read("a.txt")


def test_a_server_that_hangs_up(web: WebServer, store: Store, tmp_path: Path) -> None:
    half = Answer(WELL.status, WELL.body, WELL.headers, sends=4)
    web.answer = in_turn(half, half, WELL)
    assert store.read("a.txt") == BODY
    assert len(web.asked) == 3
    web.answer = in_turn(WELL, half, half, WELL)  # the first is asked for the version
    store.get("a.txt", str(tmp_path / "a.txt"))
    assert (tmp_path / "a.txt").read_bytes() == BODY


def test_names_in_a_url(web: WebServer) -> None:
    web.answer = in_turn(WELL)
    assert at_web(web).read("a b/ü#?%41+.txt") == BODY
    assert web.asked == ["GET /x/a%20b/%C3%BC%23%3F%2541%2B.txt"]


def test_no_such_bucket(s3: S3Server, tmp_path: Path) -> None:
    store = open_store("lake", "s3://not-made", s3.options, {}, patience=EAGER)
    (tmp_path / "a.txt").touch()
    calls: list[Callable[[], object]] = [
        store.list,
        lambda: store.stat("a"),
        lambda: store.read("a"),
        lambda: store.put(str(tmp_path / "a.txt"), "a"),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="datastore lake: s3://not-made: no such bucket") as caught:
            call()
        assert not isinstance(caught.value, StoreMissing)


def test_parts_of_a_real_upload(s3: S3Server, tmp_path: Path) -> None:
    """More than one part of the driver's, whose etag is no md5."""
    data = bytes(range(256)) * (4096 * 101)
    source = tmp_path / "a.bin"
    source.write_bytes(data)
    store = open_store("lake", s3.bucket(), s3.options, {}, patience=EAGER)
    entry = store.put(str(source), "a.bin")
    assert entry.size == len(data) and entry.version.endswith("-3")
    store.get("a.bin", str(tmp_path / "b.bin"), entry=entry)
    assert (tmp_path / "b.bin").read_bytes() == data
    store.copy("a.bin", "c.bin")
    copied = store.stat("c.bin")
    assert copied is not None and copied.size == len(data)


@pytest.mark.parametrize(
    ("info", "version", "is_exact"),
    [
        ({"md5Hash": "kAFQmDzST7DWlj99KOF/cg==", "generation": "17"}, "md5 900150983cd24fb0d6963f7d28e17f72", True),
        ({"generation": "17", "etag": "x"}, "generation 17", True),
        ({"ETag": '"abc-2"'}, "etag abc-2", True),
        ({"etag": "0x8DC"}, "etag 0x8DC", True),
        ({"ETag": 'W/"abc"'}, 'etag W/"abc', False),
        ({"mtime": 1.5}, "size 3 mtime 1.5", False),
        ({"LastModified": datetime(2024, 5, 1, tzinfo=UTC)}, "size 3 mtime 2024-05-01T00:00:00+00:00", False),
        ({}, "size 3 mtime unknown", False),
    ],
)
def test_the_best_version_that_there_is(info: dict[str, Any], version: str, is_exact: bool) -> None:
    entry = entry_of("a", {"size": 3, **info})
    assert (entry.version, entry.is_exact) == (version, is_exact)
