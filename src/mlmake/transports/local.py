"""This machine, reached as if it were another."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from mlmake.errors import HostError
from mlmake.transports.base import last_line


@dataclass(frozen=True, slots=True)
class Local:
    """The agent as a process of this machine, run by a Python: by default this one."""

    root: str
    name: str = "this machine"
    python: str = sys.executable

    def argv(self, words: Sequence[str]) -> tuple[str, ...]:
        return (self.python, *words[1:]) if words[0] == "python3" else tuple(words)

    def explain(self, exit_code: int, said: str) -> HostError:
        return HostError(f"{self.name} ended our agent with exit code {exit_code}: {last_line(said)}")

    def close(self) -> None:
        """Nothing was kept."""
