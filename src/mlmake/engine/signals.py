"""Signals that end a build: told to the one who can end it cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from mlmake.errors import Interrupted

INTERRUPT = signal.SIGINT
ENDING = (signal.SIGTERM, signal.SIGHUP)


def interrupt(name: str, _: bool) -> None:
    """What a signal means before anything has run. Raises Interrupted."""
    raise Interrupted(f"stopped by {name}")


@contextmanager
def heeded(stop: Callable[[str, bool], object], numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Call `stop` with a signal's name, and whether it is the first.

    What the parent had ignored stays ignored, as `nohup` and a shell's `&` mean it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        seen.append(number)
        stop(signal.Signals(number).name, len(seen) == 1)

    taken = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    old: Mapping[int, object] = {number: signal.signal(number, handle) for number in taken}
    try:
        yield
    finally:
        for number, handler in old.items():
            with suppress(TypeError, ValueError):
                signal.signal(number, handler)  # type: ignore[arg-type]
