"""Frames: how mlmake and its agent talk over a pipe. Eight bytes of lengths, a head in JSON, a body of bytes."""

from __future__ import annotations

import json
import struct
import threading
import zlib
from typing import IO, Any, Dict, Tuple

_LENGTHS = struct.Struct(">II")
_LONGEST_HEAD, _LONGEST_BODY = 1 << 26, 1 << 30
_SAMPLE = 4096
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

    def write(self, head: Head, body: bytes = b"", *, is_flushed: bool = True) -> None:
        """Send a frame, its body compressed where that pays. Raises Broken."""
        packed = _packed(body)
        if packed is not None:
            head, body = dict(head, z=len(body)), packed
        text = json.dumps(head).encode()
        try:
            with self._lock:
                self._outgoing.write(_LENGTHS.pack(len(text), len(body)) + text)
                if body:
                    self._outgoing.write(body)
                if is_flushed:
                    self._outgoing.flush()
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


def _packed(body: bytes) -> bytes | None:
    """The body compressed; None where that would not pay."""
    sample = body[:_SAMPLE]
    if len(body) < 512 or len(zlib.compress(sample, 1)) > _WORTH * len(sample):
        return None
    return zlib.compress(body, 1)
