"""Keys that are pressed while a command goes on, one by one and without Return."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def pressed(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell every key, from another thread. The terminal is as it was afterwards."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    end_of, end = os.pipe()
    thread = threading.Thread(target=_read, args=(terminal, end_of, tell), name="keys", daemon=True)
    tty.setcbreak(terminal, termios.TCSADRAIN)
    thread.start()
    try:
        yield
    finally:
        os.close(end)
        thread.join()
        os.close(end_of)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _read(terminal: int, end: int, tell: Callable[[str], None]) -> None:
    while True:
        ready, _, _ = select.select([terminal, end], [], [])
        if end in ready:
            return
        try:
            typed = os.read(terminal, 64)
        except OSError:  # the terminal went away
            return
        if not typed:
            return
        for key in typed.decode("ascii", "ignore"):
            tell(key)
