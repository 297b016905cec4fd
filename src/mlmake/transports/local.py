"""This machine, reached as if it were another."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from mlmake.errors import HostError


@dataclass(frozen=True, slots=True)
class Local:
    """The agent as a process of this machine, run by this Python."""

    root: str
    name: str = "this machine"

    def argv(self, words: Sequence[str]) -> tuple[str, ...]:
        return (sys.executable, *words[1:]) if words[0] == "python3" else tuple(words)

    def explain(self, exit_code: int, said: str) -> HostError:
        return HostError(f"the agent on this machine ended with exit code {exit_code}: {said.strip()[-500:]}")

    def close(self) -> None:
        """Nothing was kept."""
