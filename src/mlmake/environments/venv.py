"""Base `python`: a virtual environment, made by uv where that is present, else by venv and pip."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from mlmake.environments import probe
from mlmake.environments.base import Argv, Tools, key_of
from mlmake.errors import SoftwareError
from mlmake.model.project import Environment

_OLDEST = (3, 8)
"""Older ones cannot say which packages they have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Venv:
    """A virtual environment of one Python version, from packages and a requirements file."""

    base: ClassVar[str] = "python"
    traces: ClassVar[tuple[str, ...]] = ("bin/python",)

    version: str
    packages: tuple[str, ...] = ()
    requirements: str = ""
    contents: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, environment: Environment, contents: Mapping[str, str]) -> Self:
        return cls(
            version=environment.python,
            packages=environment.packages,
            requirements=environment.requirements,
            contents=contents,
        )

    @property
    def wish(self) -> Mapping[str, str]:
        packages = {"packages": json.dumps(self.packages, ensure_ascii=False)} if self.packages else {}
        return {"python": self.version, **packages, **self.contents}

    @property
    def key(self) -> str:
        return key_of(self.base, self.wish)

    def commands(self, folder: str, tools: Tools) -> tuple[Argv, ...]:
        if tuple(map(int, self.version.split(".")[:2])) < _OLDEST[: len(self.version.split("."))]:
            raise SoftwareError(f"Python {self.version} is too old", hint="name 3.8 or a newer one")
        if tools.uv:
            made: Argv = (tools.uv, "venv", "--python", tools.python or self.version, folder)
            install: Argv = (tools.uv, "pip", "install", "--python", self.python(folder))
        elif tools.python:
            made = (tools.python, "-m", "venv", folder)
            install = (self.python(folder), "-m", "pip", "install", "--disable-pip-version-check", "--no-input")
        else:
            raise SoftwareError(
                f"no Python {self.version} on {tools.host}; found {', '.join(tools.pythons) or 'none'}",
                hint="install it, or uv, which fetches it, or name another version in 'python'",
            )
        words = tuple(self._words())
        return (made, (*install, *words)) if words else (made,)

    def probe(self, folder: str, tools: Tools) -> Argv:
        return probe.resolved(self.python(folder), folder)

    def python(self, folder: str) -> str:
        return os.path.join(folder, "bin", "python")

    def variables(self, folder: str, inherited: Mapping[str, str]) -> Mapping[str, str | None]:
        path = os.pathsep.join([os.path.join(folder, "bin"), inherited.get("PATH", os.defpath)])
        return {"PATH": path, "VIRTUAL_ENV": folder, "VIRTUAL_ENV_PROMPT": None, "PYTHONHOME": None}

    def _words(self) -> Iterator[str]:
        """What to install; an option with its value, `-e libs/features`, is two words."""
        for package in self.packages:
            yield from package.split(None, 1) if package.startswith("-") else (package,)
        if self.requirements:
            yield from ("-r", self.requirements)
