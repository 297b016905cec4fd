"""A conversation with an agent: requests and their answers, and the news that it tells meanwhile."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mlmake.errors import HostError, HostUnavailable
from mlmake.transports.agent.wire import BROKEN, Broken, Head, Pipe
from mlmake.transports.base import Transport
from mlmake.transports.parcel import parcel

_NOISE = 1 << 20
"""Bytes that a shell's start-up files may print before the agent speaks."""
_GREETING = 300.0
"""Seconds for a connection, with a passphrase typed in."""
_SILENCE = 120.0
"""Seconds without any sign of life, while an answer is awaited."""
_LOOK = 0.2
_AHEAD = 16
"""Answers that wait to be taken; then the host must wait."""
_LAST_WORDS = 50
_MAY_PASS = {0, 255, BROKEN}
"""Exit codes of a conversation that had begun and broke: of ssh, or of an agent that heard no more."""

_DEAF = ("sh", "-c", 'trap "" INT QUIT; exec "$@"', "sh")
"""Ctrl-C is for mlmake, which may still have much to say to a host; ssh leaves alone what is ignored when it starts."""

News = Callable[[Head, bytes], None]
Check = Callable[[], bool]


def never() -> bool:
    """For what goes on however long it takes."""
    return False


class Refused(OSError):
    """The host could not do what it was asked: its own words, as an error of the system where it was one."""


class Link:
    """An agent that runs on a host. Every method may be called from any thread."""

    def __init__(
        self,
        transport: Transport,
        news: News | None = None,
        lost: Callable[[], None] | None = None,
        is_stopping: Check = never,
    ) -> None:
        """Connect. `news` takes what the agent tells unasked, `lost` is called when it is gone; both in another thread.

        Raises HostError, HostUnavailable.
        """
        self.is_stopping = is_stopping
        self._transport = transport
        self._news = news
        self._lost = lost
        self._said: deque[str] = deque(maxlen=_LAST_WORDS)
        self._process = _start(transport, self._said, is_stopping)
        self._answers: queue.Queue[tuple[Head, bytes] | None] = queue.Queue(_AHEAD)
        self._turn = threading.Lock()
        self._heard_at = time.monotonic()
        self._is_over = False
        assert self._process.stdout is not None and self._process.stdin is not None, "both are pipes"
        self._pipe = Pipe(self._process.stdout, self._process.stdin)
        threading.Thread(target=self._read, name=f"mlmake-{transport.name}", daemon=True).start()
        try:
            self.hello, _ = self.ask("hello")
        except BaseException:
            self.close()
            raise

    def ask(self, op: str, body: bytes = b"", **head: Any) -> tuple[Head, bytes]:
        """Ask and wait for the answer. Raises Refused, HostError, HostUnavailable."""
        with self._turn:
            self.tell(op, body, **head)
            return self.answer()

    def tell(self, op: str, body: bytes = b"", *, is_flushed: bool = True, **head: Any) -> None:
        """Send without waiting. Raises HostError, HostUnavailable."""
        try:
            self._pipe.write({"op": op, **head}, body, is_flushed=is_flushed)
        except Broken:
            raise self._gone() from None

    def answer(self) -> tuple[Head, bytes]:
        """The next answer. Raises Refused, HostError, HostUnavailable."""
        frame = self._next()
        if frame is None:
            with suppress(queue.Full):
                self._answers.put_nowait(None)
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
        _ended(self._process)

    def _next(self) -> tuple[Head, bytes] | None:
        while True:
            try:
                return self._answers.get(timeout=_LOOK)
            except queue.Empty:
                if self._is_over:
                    return None
                if time.monotonic() - self._heard_at > _SILENCE:
                    self._kill()
                    name = self._transport.name
                    raise HostUnavailable(f"host {name!r} gave no sign of life for {_SILENCE:g} s") from None

    def _read(self) -> None:
        try:
            while (frame := self._pipe.read()) is not None:
                self._heard_at = time.monotonic()
                if "ev" not in frame[0]:
                    self._put(frame)
                elif self._news and frame[0]["ev"] != "alive":
                    self._news(*frame)
        except Broken:
            pass
        finally:
            is_ours, self._is_over = self._is_over, True
            self._put(None)
            if self._lost and not is_ours:
                self._lost()

    def _put(self, frame: tuple[Head, bytes] | None) -> None:
        while True:
            try:
                self._answers.put(frame, timeout=_LOOK)
                return
            except queue.Full:
                if self._is_over:
                    return

    def _kill(self) -> None:
        """End it without a word: the reader sees the end, and tells of it."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def _gone(self) -> HostError:
        """What ended the conversation, in words; once begun, it may well be begun again."""
        code = _ended(self._process)
        error = self._transport.explain(255 if code is None else code, "\n".join(self._said))
        if isinstance(error, HostUnavailable) or not (code is None or code < 0 or code in _MAY_PASS):
            return error
        return HostUnavailable(f"the connection to {self._transport.name!r} broke", hint=error.hint)


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Wait a moment for the end of a process; its exit code, None if it had to be killed."""
    try:
        return process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _start(transport: Transport, said: deque[str], is_stopping: Check) -> subprocess.Popen[bytes]:
    """The process at whose other end the agent listens. Raises HostError, HostUnavailable."""
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
    listener = _thread(transport, "words", _listen, process, said)
    greeted = threading.Event()
    _thread(transport, "greeting", _limit, process, greeted, is_stopping)
    try:
        noise = _greeted(process, greeting, ours.content)
    finally:
        greeted.set()
    if noise is None:
        return process
    code = _ended(process)
    listener.join(2)
    if is_stopping():
        raise HostUnavailable(f"host {transport.name!r} was not waited for")
    if noise >= _NOISE:
        hint = "its shell's start-up files print without end; let them print only where there is a terminal"
        raise HostError(f"host {transport.name!r} says too much before our agent can", hint=hint)
    if code is None or code < 0:
        raise HostUnavailable(f"host {transport.name!r} did not let our agent begin within {_GREETING:g} s")
    raise transport.explain(code, "\n".join(said))


def _thread(transport: Transport, what: str, work: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, name=f"mlmake-{transport.name}-{what}", daemon=True)
    thread.start()
    return thread


def _greeted(process: subprocess.Popen[bytes], greeting: str, content: bytes) -> int | None:
    """Skip what shells print and send the agent if it is asked for, until it greets us; else how much was printed."""
    assert process.stdout is not None and process.stdin is not None, "both are pipes"
    noise = 0
    try:
        while noise < _NOISE and (line := process.stdout.readline(_NOISE)):
            words = line.strip()
            if words == greeting.encode():
                return None
            if words == f"{greeting} send".encode():
                process.stdin.write(content)
                process.stdin.flush()
            noise += len(line)
    except OSError:
        pass
    return noise


def _limit(process: subprocess.Popen[bytes], greeted: threading.Event, is_stopping: Check) -> None:
    """End a connection that takes too long, or that nobody waits for any more."""
    until = time.monotonic() + _GREETING
    while not greeted.wait(_LOOK):
        if is_stopping() or time.monotonic() > until:
            with suppress(ProcessLookupError):
                process.kill()
            return


def _listen(process: subprocess.Popen[bytes], said: deque[str]) -> None:
    """What the other side says beside the conversation: kept for when something goes wrong."""
    assert process.stderr is not None, "it is a pipe"
    for line in process.stderr:
        said.append(line.decode("utf-8", "replace").rstrip())
