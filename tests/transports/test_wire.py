"""Frames on a pipe."""

from __future__ import annotations

import io
import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmake.transports.agent import wire
from mlmake.transports.agent.wire import Broken, Frame, Head, Pipe

HEADS = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))


def sent(*frames: Frame) -> bytes:
    out = io.BytesIO()
    pipe = Pipe(io.BytesIO(), out)
    for head, body in frames:
        pipe.write(head, body)
    return out.getvalue()


def read(content: bytes) -> list[Frame]:
    pipe = Pipe(io.BytesIO(content), io.BytesIO())
    return list(iter(pipe.read, None))


@given(st.lists(st.tuples(HEADS, st.binary(max_size=3000))))
def test_what_is_sent_arrives(frames: list[Frame]) -> None:
    frames = [({key: value for key, value in head.items() if key != "z"}, body) for head, body in frames]
    assert [(_bare(head), body) for head, body in read(sent(*frames))] == frames


def _bare(head: Head) -> Head:
    return {key: value for key, value in head.items() if key != "z"}


class Slow(io.BytesIO):
    """A line of so many bytes a second."""

    pace = 0.0

    def write(self, block: Any) -> int:
        time.sleep(len(block) * self.pace)
        return super().write(block)


def test_a_slow_line_gets_what_is_compressed() -> None:
    body = b"0123456789" * 100_000
    out = Slow()
    out.pace = 1e-7
    pipe = Pipe(io.BytesIO(), out)
    for _ in range(4):
        pipe.write({}, body)
    assert len(out.getvalue()) < 1.5 * len(body), "all but the first, which tells the pace"
    assert [frame[1] for frame in read(out.getvalue())] == [body] * 4
    noise = os.urandom(1_000_000)
    before = len(out.getvalue())
    pipe.write({}, noise)
    assert len(out.getvalue()) - before < len(noise) + 100


def test_a_fast_line_does_not_wait_for_the_press(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = SimpleNamespace(monotonic=time.thread_time)  # what else runs on this machine makes no line slow
    monkeypatch.setattr(wire, "time", alone)
    body = b"0123456789" * 100_000
    out = io.BytesIO()
    pipe = Pipe(io.BytesIO(), out)
    for _ in range(8):
        pipe.write({}, body)
    assert len(out.getvalue()) > 6 * len(body)
    assert [frame[1] for frame in read(out.getvalue())] == [body] * 8


def test_what_is_small_shrinks_everywhere() -> None:
    body = b"0123456789" * 5_000
    assert len(sent(({}, body))) < len(body) / 10


def test_names_that_are_no_text() -> None:
    assert read(sent(({"path": "\udcff\n"}, b""))) == [({"path": "\udcff\n"}, b"")]


@pytest.mark.parametrize("length", range(1, 30))
def test_an_end_within_a_frame_is_told(length: int) -> None:
    whole = sent(({"op": "x"}, b"0123456789"))
    with pytest.raises(Broken):
        read(whole[: min(length, len(whole) - 1)])


@pytest.mark.parametrize("garbage", [b"Welcome to this machine\n", b"\xff" * 40, b"\0\0\0\2\0\0\0\0{]"])
def test_garbage_is_told(garbage: bytes) -> None:
    with pytest.raises(Broken):
        read(garbage)


def test_many_threads_write_whole_frames() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as incoming, os.fdopen(writer, "wb") as outgoing:
        pipe = Pipe(incoming, outgoing)

        def write(number: int) -> None:
            for _ in range(50):
                pipe.write({"n": number}, bytes([number]) * 20_000)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            frame = pipe.read()
            assert frame is not None
            assert frame[1] == bytes([frame[0]["n"]]) * 20_000
        for thread in threads:
            thread.join()


def test_a_closed_pipe_is_broken() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(Broken), os.fdopen(writer, "wb", buffering=0) as outgoing:
        Pipe(io.BytesIO(), outgoing).write({}, b"x")
