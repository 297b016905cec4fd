"""Base `conda`: an environment from a conda file, made by micromamba, mamba or conda, whichever is present."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from mlmake.environments import probe
from mlmake.environments.base import Argv, Tools, key_of
from mlmake.errors import SoftwareError
from mlmake.model.project import Environment

_YES = ("env", "CONDA_ALWAYS_YES=true", "MAMBA_ALWAYS_YES=true")
"""Nobody is there to answer; not every version knows `--yes` for every command."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conda:
    """A conda environment, from an `environment.yml` or a list of exact packages."""

    base: ClassVar[str] = "conda"
    traces: ClassVar[tuple[str, ...]] = ("conda-meta/history", "bin/python")
    version: ClassVar[str] = ""

    file: str
    contents: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, environment: Environment, contents: Mapping[str, str]) -> Self:
        return cls(file=environment.conda, contents=contents)

    @property
    def wish(self) -> Mapping[str, str]:
        return self.contents

    @property
    def key(self) -> str:
        return key_of(self.base, self.wish)

    def commands(self, folder: str, tools: Tools) -> tuple[Argv, ...]:
        if not tools.conda:
            raise SoftwareError(
                f"no micromamba, mamba or conda on {tools.host}",
                hint="install one of them (micromamba is a single file), or use 'python' with 'packages'",
            )
        is_listed = self.file.endswith((".yml", ".yaml")) and os.path.basename(tools.conda) != "micromamba"
        create = ("env", "create") if is_listed else ("create",)
        return ((*_YES, tools.conda, *create, "--prefix", folder, "--file", self.file),)

    def probe(self, folder: str, tools: Tools) -> Argv:
        """Run by another Python than its own, as it may have none."""
        return probe.resolved(tools.own, folder)

    def python(self, folder: str) -> str:
        return os.path.join(folder, "bin", "python")

    def variables(self, folder: str, inherited: Mapping[str, str]) -> Mapping[str, str | None]:
        path = os.pathsep.join([os.path.join(folder, "bin"), inherited.get("PATH", os.defpath)])
        names = {"CONDA_PREFIX": folder, "CONDA_DEFAULT_ENV": folder}
        return {"PATH": path, **names, "VIRTUAL_ENV": None, "VIRTUAL_ENV_PROMPT": None, "PYTHONHOME": None}
