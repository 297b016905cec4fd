"""Environment `system`: the interpreter that mlmake itself runs on."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from mlmake.environments.base import Facts


@dataclass(frozen=True, slots=True)
class System:
    """This interpreter; `python` in a command finds it too, without its virtual environment being activated."""

    @property
    def facts(self) -> Facts:
        version = ".".join(map(str, sys.version_info[:3]))
        return Facts(values={"environment system": f"{sys.implementation.name} {version}"})

    @property
    def python(self) -> str:
        return sys.executable

    def variables(self, inherited: Mapping[str, str]) -> Mapping[str, str | None]:
        path = inherited.get("PATH", os.defpath)
        return {"PATH": os.pathsep.join([os.path.dirname(sys.executable), path])}
