"""Environment `system`: the interpreter that mlmake itself runs on or, on a host, the one that it has."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from mlmake.environments.base import Facts

_FACT = "environment system"


@dataclass(frozen=True, slots=True)
class System:
    """This interpreter; `python` in a command finds it too, without its virtual environment being activated."""

    @property
    def facts(self) -> Facts:
        version = ".".join(map(str, sys.version_info[:3]))
        return Facts(values={_FACT: f"{sys.implementation.name} {version}"})

    @property
    def python(self) -> str:
        return sys.executable

    def variables(self, inherited: Mapping[str, str]) -> Mapping[str, str | None]:
        path = inherited.get("PATH", os.defpath)
        return {"PATH": os.pathsep.join([os.path.dirname(sys.executable), path])}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosted:
    """A host's own interpreter, as it was told when the host was last connected to; `place` is the file that holds it.

    Until then it is taken for that of this machine.
    """

    told: str
    place: str

    @property
    def facts(self) -> Facts:
        values = {_FACT: self.told} if self.told else System().facts.values
        return Facts(values=values, files=(self.place,))

    @property
    def python(self) -> str:
        return "python3"

    def variables(self, inherited: Mapping[str, str]) -> Mapping[str, str | None]:
        return {}
