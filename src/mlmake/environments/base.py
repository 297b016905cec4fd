"""What an environment is to the rest: facts, an interpreter, variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Software(Protocol):
    """The software of one environment, on the machine where a step runs.

    1. `facts` says what would make a step compute something else; an equal text means equal software.
    2. `python` is the interpreter for python steps.
    3. `variables` are set for the step, over those that it inherits.
    """

    @property
    def facts(self) -> str: ...

    @property
    def python(self) -> str: ...

    def variables(self, inherited: Mapping[str, str]) -> Mapping[str, str]: ...
