"""A conversation with an agent: requests and their answers, and the news that it tells meanwhile."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mlmake.errors import HostError, HostUnavailable
from mlmake.transports.agent.wire import Broken, Head, Pipe
from mlmake.transports.base import Transport
from mlmake.transports.parcel import parcel

_NOISE = 1 << 20
"""Bytes that a shell's start-up files may print before the agent speaks."""
_SILENCE = 120.0
_LAST_WORDS = 50

_DEAF = ("sh", "-c", 'trap "" INT QUIT; exec "$@"', "sh")
"""Ctrl-C is for mlmake, which may still have much to say to a host; ssh leaves alone what is ignored when it starts."""

News = Callable[[Head, bytes], None]


class Refused(OSError):
    """The host could not do what it was asked: its own words, as an error of the system where it was one."""


class Link:
    """An agent that runs on a host. Every method may be called from any thread."""

    def __init__(self, transport: Transport, news: News | None = None, lost: Callable[[], None] | None = None) -> None:
        """Connect. `news` takes what the agent tells unasked, `lost` is called when it is gone; both in another thread.

        Raises HostError, HostUnavailable.
        """
        self._transport = transport
        self._news = news
        self._lost = lost
        self._said: deque[str] = deque(maxlen=_LAST_WORDS)
        self._process = _start(transport, self._said)
        self._answers: queue.SimpleQueue[tuple[Head, bytes] | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._is_over = False
        assert self._process.stdout is not None and self._process.stdin is not None, "both are pipes"
        self._pipe = Pipe(self._process.stdout, self._process.stdin)
        threading.Thread(target=self._read, name=f"mlmake-{transport.name}", daemon=True).start()
        self.hello, _ = self.ask("hello")

    def ask(self, op: str, body: bytes = b"", **head: Any) -> tuple[Head, bytes]:
        """Ask and wait for the answer. Raises Refused, HostError, HostUnavailable."""
        with self._turn:
            self.tell(op, body, **head)
            return self.answer()

    def tell(self, op: str, body: bytes = b"", *, is_flushed: bool = True, **head: Any) -> None:
        """Send without waiting. Raises HostUnavailable."""
        try:
            self._pipe.write({"op": op, **head}, body, is_flushed=is_flushed)
        except Broken:
            raise self._gone() from None

    def answer(self) -> tuple[Head, bytes]:
        """The next answer. Raises Refused, HostError, HostUnavailable."""
        try:
            frame = self._answers.get(timeout=_SILENCE)
        except queue.Empty:
            self.close()
            raise HostUnavailable(f"host {self._transport.name!r} gave no answer for {_SILENCE:g} s") from None
        if frame is None:
            self._answers.put(None)
            raise self._gone()
        head, body = frame
        if "error" in head:
            raise Refused(head["errno"] or None, f"{head['error']} on {self._transport.name}", head["path"] or None)
        return head, body

    @property
    def is_alive(self) -> bool:
        """Whether the other side is still there, as far as is known."""
        return not self._is_over and self._process.poll() is None

    def close(self) -> None:
        """End the conversation; jobs go on."""
        self._is_over = True
        with suppress(OSError, ValueError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        try:
            while (frame := self._pipe.read()) is not None:
                if "ev" in frame[0]:
                    if self._news:
                        self._news(*frame)
                else:
                    self._answers.put(frame)
        except Broken:
            pass
        self._answers.put(None)
        if self._lost and not self._is_over:
            self._lost()

    def _gone(self) -> HostError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        code = self._process.poll()
        return self._transport.explain(255 if code is None else code, "\n".join(self._said))


def _start(transport: Transport, said: deque[str]) -> subprocess.Popen[bytes]:
    """The process at whose other end the agent listens. Raises HostError."""
    ours = parcel()
    greeting = f"mlmake-{os.urandom(8).hex()}"
    argv = transport.argv(ours.command("python3", transport.root, greeting))
    try:
        process = subprocess.Popen(
            (*_DEAF, *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise HostError(f"cannot start {_DEAF[0]}: {error.strerror}") from None
    listener = threading.Thread(
        target=_listen, args=(process, said), name=f"mlmake-{transport.name}-words", daemon=True
    )
    listener.start()
    if not _greeted(process, greeting, ours.content):
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
        process.kill()
        listener.join(2)
        raise transport.explain(process.wait(), "\n".join(said))
    return process


def _greeted(process: subprocess.Popen[bytes], greeting: str, content: bytes) -> bool:
    """Skip what shells print, send the agent if it is asked for, until it greets us."""
    assert process.stdout is not None and process.stdin is not None, "both are pipes"
    noise = 0
    try:
        while noise < _NOISE and (line := process.stdout.readline(_NOISE)):
            words = line.decode("utf-8", "replace").split()
            if words[-1:] == [greeting]:
                return True
            if words[-2:] == [greeting, "send"]:
                process.stdin.write(content)
                process.stdin.flush()
            noise += len(line)
    except OSError:
        pass
    return False


def _listen(process: subprocess.Popen[bytes], said: deque[str]) -> None:
    """What the other side says beside the conversation: kept for when something goes wrong."""
    assert process.stderr is not None, "it is a pipe"
    for line in process.stderr:
        said.append(line.decode("utf-8", "replace").rstrip())
