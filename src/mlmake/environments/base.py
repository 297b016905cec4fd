"""What an environment is to the rest: how it is made, and the software that it is then."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol, Self, TypeAlias

import xxhash

from mlmake.model.project import Environment
from mlmake.model.reason import Reason

Argv: TypeAlias = tuple[str, ...]


class Ran(NamedTuple):
    """How a command ended: its exit code (negative for a signal), and all that it said."""

    code: int
    output: str


Run: TypeAlias = Callable[[Sequence[str]], Ran]
"""Runs a command on the host that an environment is for, in the project's folder there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of an environment at one moment, and what that goes by.

    Attributes:
        values: name -> value of every fact that is known.
        unknown: names of facts that only the made environment will tell; empty if it is there.
        missing: why it cannot be made.
        variables: names of environment variables whose values are facts too.
        sources: absolute path -> digest of the files that it is made from.
        shown: those of them whose text may be kept, for `why`.
        texts: digest -> text of what a value stands for, to be kept for `why`.
        files: absolute paths of all files that decided, also of those that would if they were there.
        listings: folders whose names decided -> these names.
        globs: (folder, pattern) -> what it matched.
        folders: absolute paths of packages that it is made from and that are folders.
        links: absolute paths of folders that hold packages to choose from.
        editable: paths of packages that run from where they stand, relative to the project.
    """

    values: Mapping[str, str]
    unknown: tuple[str, ...] = ()
    missing: tuple[Reason, ...] = ()
    variables: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    shown: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    listings: Mapping[str, list[str]] = field(default_factory=dict)
    globs: Mapping[tuple[str, str], list[str]] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    editable: tuple[str, ...] = ()


class Software(Protocol):
    """The software of one environment, on the machine where a step runs.

    1. `facts` says what would make a step compute something else; equal values mean equal software.
    2. `python` is the interpreter for python steps.
    3. `variables` are set for the step, over those that it inherits; None takes one away.
    """

    @property
    def facts(self) -> Facts: ...

    @property
    def python(self) -> str: ...

    def variables(self, inherited: Mapping[str, str]) -> Mapping[str, str | None]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What a host has to make environments with; a path that is empty stands for what it has not.

    Attributes:
        own: a Python that runs scripts of ours.
        host: what people call the host.
        python: the Python that was asked for.
        pythons: versions of all that were found while it was looked for.
        conda: micromamba, mamba or conda.
    """

    own: str
    host: str = "this machine"
    python: str = ""
    pythons: tuple[str, ...] = ()
    uv: str = ""
    conda: str = ""


class Recipe(Protocol):
    """How an environment is made in a folder of its own. Pure: no disk, no processes, so that any host can do it.

    1. `of` takes what pipelines.toml says, and by the name of its fact the digest of each file behind that.
    2. `wish` are the facts that decide how it is made; `key` is their digest, and names its folder.
    3. `commands` make it in `folder`, which does not exist yet; they run in the project's folder, one after the other.
       Raises SoftwareError if `tools` lack something.
    4. `probe` prints what `Resolved` reads.
    5. `version` is that of the Python to look for; "" if none is needed.
    6. `traces` are files below the folder that change when the software does.
    """

    base: ClassVar[str]
    traces: ClassVar[tuple[str, ...]]

    @classmethod
    def of(cls, environment: Environment, contents: Mapping[str, str]) -> Self: ...

    @property
    def version(self) -> str: ...

    @property
    def wish(self) -> Mapping[str, str]: ...

    @property
    def key(self) -> str: ...

    def commands(self, folder: str, tools: Tools) -> tuple[Argv, ...]: ...

    def probe(self, folder: str, tools: Tools) -> Argv: ...

    def python(self, folder: str) -> str: ...

    def variables(self, folder: str, inherited: Mapping[str, str]) -> Mapping[str, str | None]: ...


def key_of(base: str, wish: Mapping[str, str]) -> str:
    """The key of a recipe, which names its folder; short, as a path in a script's first line has to be."""
    text = json.dumps([base, sorted(wish.items())], ensure_ascii=False)
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogateescape"))[:20]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was installed after all.

    Attributes:
        interpreter: `cpython 3.11.7`; "" where there is none.
        packages: names and versions, in order.
    """

    interpreter: str
    packages: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, said: str) -> Self:
        """From the last line of what a probe said. Raises ValueError."""
        lines = said.strip().splitlines() or [""]
        try:
            told = json.loads(lines[-1])
            packages = sorted((str(name), str(version)) for name, version in told["packages"].items())
            return cls(str(told["interpreter"]), tuple(packages))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no list of packages: {lines[-1][:200]}") from error

    @property
    def text(self) -> str:
        """All of it, a line each: the interpreter, then the packages."""
        return "".join(f"{name} {version}\n" for name, version in self.lines)

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The interpreter and the packages, each with its version."""
        name, _, version = self.interpreter.partition(" ")
        return ((name, version), *self.packages) if name else self.packages

    @property
    def digest(self) -> str:
        return xxhash.xxh3_128_hexdigest(self.text.encode("utf-8", "surrogateescape"))

    @property
    def value(self) -> str:
        """The fact's value: short, whatever their number, as every step of the environment has it in its record."""
        count = len(self.packages)
        packages = f"{count} package{'' if count == 1 else 's'} {self.digest}"
        return ", ".join(filter(None, (self.interpreter, packages)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """An environment in a folder of its own, as it is now: made, or not yet.

    On a host it is as that last told; until then its folder is not known.
    """

    recipe: Recipe
    folder: str
    facts: Facts

    @property
    def python(self) -> str:
        return self.recipe.python(self.folder)

    def variables(self, inherited: Mapping[str, str]) -> Mapping[str, str | None]:
        return self.recipe.variables(self.folder, inherited)
