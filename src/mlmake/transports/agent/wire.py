"""Frames: how mlmake and its agent talk over a pipe. Eight bytes of lengths, a head in JSON, a body of bytes."""

from __future__ import annotations

import json
import struct
import threading
import time
import zlib
from typing import IO, Any, Dict, Tuple

_LENGTHS = struct.Struct(">II")
_LONGEST_HEAD, _LONGEST_BODY = 1 << 26, 1 << 30
_SAMPLE, _SMALL, _LARGE = 4096, 512, 1 << 16
_WORTH = 0.8
"""What a sample must shrink to for the whole to be compressed."""

BROKEN = 75
"""An agent's exit code where the conversation broke: EX_TEMPFAIL, try again."""

Head = Dict[str, Any]
Frame = Tuple[Head, bytes]


class Broken(Exception):
    """The other side is gone, or says what is no frame."""


class Pipe:
    """Frames in both directions; writing is safe from any thread, reading is for one."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = threading.Lock()
        self._press = _Press()

    def write(self, head: Head, body: bytes = b"", *, is_flushed: bool = True) -> None:
        """Send a frame, its body compressed where that pays. Raises Broken."""
        packed = self._press.packed(body)
        if packed is not None:
            head, body = dict(head, z=len(body)), packed
        text = json.dumps(head).encode()
        try:
            with self._lock:
                began = time.monotonic()
                self._outgoing.write(_LENGTHS.pack(len(text), len(body)) + text)
                if body:
                    self._outgoing.write(body)
                if is_flushed:
                    self._outgoing.flush()
                self._press.went(len(body), time.monotonic() - began)
        except (OSError, ValueError) as error:
            raise Broken(str(error)) from None

    def read(self) -> Frame | None:
        """The next frame; None at the end. Raises Broken where it ends within a frame."""
        try:
            start = self._incoming.read(_LENGTHS.size)
            if not start:
                return None
            head_size, body_size = _LENGTHS.unpack(start)
            if head_size > _LONGEST_HEAD or body_size > _LONGEST_BODY:
                raise Broken("what came is no frame")
            text, body = self._incoming.read(head_size), self._incoming.read(body_size)
            if len(text) < head_size or len(body) < body_size:
                raise Broken("it ended within a frame")
            head = json.loads(text)
            return head, (zlib.decompress(body) if "z" in head else body)
        except (OSError, ValueError, struct.error, zlib.error) as error:
            raise Broken(str(error)) from None


class _Press:
    """Compresses what is worth it: on a slow line all that shrinks, on a fast one only what is quicker for it.

    Attributes:
        pace: seconds in which a byte goes out, as last seen; 0 before the first large body.
        cost: seconds in which a byte is compressed.
        share: of a byte that is left then.
    """

    def __init__(self) -> None:
        self.pace = self.cost = 0.0
        self.share = 0.5

    def packed(self, body: bytes) -> bytes | None:
        """The body compressed; None where that would not pay."""
        sample = body[:_SAMPLE]
        if len(body) < _SMALL or not self._pays(len(body)) or len(zlib.compress(sample, 1)) > _WORTH * len(sample):
            return None
        began = time.monotonic()
        packed = zlib.compress(body, 1)
        if len(body) >= _LARGE:
            self.cost = (time.monotonic() - began) / len(body)
            self.share = len(packed) / len(body)
        return packed

    def went(self, size: int, seconds: float) -> None:
        """A body of so many bytes went out."""
        if size >= _LARGE:
            self.pace = seconds / size

    def _pays(self, size: int) -> bool:
        if size < _LARGE:
            return True
        return self.cost + self.pace * self.share < self.pace
