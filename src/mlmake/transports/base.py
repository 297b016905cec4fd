"""What a way to a host is to the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mlmake.errors import HostError


class Transport(Protocol):
    """A way to start a program on a host and talk with it over its standard input and output.

    1. `argv` is the command line, on this machine, that starts `words` on the host. It asks for nothing on the host
       but a POSIX shell.
    2. `explain` turns the way in which that command failed, and what it said, into an error that names the host and
       the next move. HostUnavailable is one that may pass, HostError one that will not.
    3. `close` ends what was kept for the next `argv`, such as a connection.
    4. `name` is how people call the host; `root` the folder there that holds all that is ours.
    """

    @property
    def name(self) -> str: ...

    @property
    def root(self) -> str: ...

    def argv(self, words: Sequence[str]) -> tuple[str, ...]: ...

    def explain(self, exit_code: int, said: str) -> HostError: ...

    def close(self) -> None: ...


def last_line(said: str) -> str:
    """The last thing that was said, "" if nothing was."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][-500:] if lines else ""
