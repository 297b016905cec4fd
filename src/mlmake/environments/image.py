"""Bases `image` and `dockerfile`: software in an image, at which nobody can look from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlmake.environments.base import Facts


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """The software of an image: what pipelines.toml says of it and, once an engine had it, its id, kept in `place`."""

    facts: Facts
    place: str

    @property
    def python(self) -> str:
        return "python3"

    def variables(self, inherited: Mapping[str, str]) -> Mapping[str, str | None]:
        return {}
