"""A step: as declared (`StepSpec`, matrix unexpanded) and as it runs (`Step`, one per combination)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from mlmake.model.data import Input, InputMode, Output, Scalar, Value
from mlmake.model.resources import Resources
from mlmake.model.template import Call

NO_CODE = "!"
"""Before an item of a step's `code`: a file that is none, although the command names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """The project files that are a step's code.

    Attributes:
        scripts: must be there; Python ones are followed through their imports.
        mentioned: words that are code only if the project has a file of that name.
    """

    scripts: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()


class Kind(Protocol):
    """What a step does.

    1. A kind is a frozen dataclass; its fields are its keys in pipelines.toml.
    2. It is pure: no disk, no processes, no clock.
    3. `version` grows when the same fields start to mean another command line; it is a fact.
    4. A kind may have a ClassVar `delivers = True`: it reads its inputs in datastores and writes its outputs there by
       itself. Nothing is fetched or sent for it, and no result of it is kept in the cache.
    5. A kind may have a method `problems(step: Step) -> Iterator[tuple[str, str]]`: what is wrong with a step whose
       inputs and outputs are known, each with the key that it is about.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    def words(self) -> tuple[str, ...]:
        """The command line before any value is filled in: the fact `args`, and where placeholders stand."""

    def code(self) -> Code:
        """The files whose content decides what the step does."""

    def argv(self, call: Call) -> tuple[str, ...]:
        """The command line with every value filled in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSpec:
    """A step as its table declares it; names and texts still hold their placeholders.

    Attributes:
        inputs: name -> paths, globs or references, each handed over in order.
        params: the step's own name for a parameter -> its key in the pipeline's `params`.
        matrix: axis -> its values; one step per combination, the last axis fastest.
        code: globs of project files that static reading cannot see; with `!`, files that are no code after all.
        after: steps that come first without handing over data.
        retries: how often a failed attempt is tried again.
        timeout: seconds after which an attempt is ended; 0 for none.
        modes: how inputs are handed over, if not as paths.
        in_place: the script writes to the real output paths.
        reuse: False runs it in every build.
        cache: False keeps no result; a table says so by output.
        version: a salt; changing it makes the step stale.
    """

    name: str
    kind: Kind
    description: str = ""
    tags: tuple[str, ...] = ()
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    matrix: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    compute: str = "local"
    environment: str = "system"
    resources: Resources = Resources()
    retries: int = 0
    timeout: float = 0.0
    modes: Mapping[str, InputMode] = field(default_factory=dict)
    in_place: bool = False
    reuse: bool = True
    cache: bool | Mapping[str, bool] = True
    version: str = ""

    @property
    def unseen_code(self) -> tuple[str, ...]:
        """Globs of code that static reading cannot see."""
        return tuple(each for each in self.code if not each.startswith(NO_CODE))

    @property
    def no_code(self) -> tuple[str, ...]:
        """Files that are no code although the command names them."""
        return tuple(each.removeprefix(NO_CODE) for each in self.code if each.startswith(NO_CODE))

    @property
    def delivers(self) -> bool:
        """Whether its kind moves what is in datastores itself."""
        return bool(getattr(self.kind, "delivers", False))

    def caches(self, output: str) -> bool:
        """Whether what stands at an output is kept in the cache."""
        if self.delivers:
            return False
        return self.cache if isinstance(self.cache, bool) else self.cache.get(output, True)


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a step: the step's own name for it, its key in the pipeline, its value."""

    name: str
    key: str
    value: Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step that can run: every reference resolved, every combination of a matrix a step of its own.

    Attributes:
        id: `train.fit[fold=0]`, unique in the project.
        name: `fit[fold=0]`, unique in its pipeline.
        producers: ids of the steps whose outputs it reads.
        after: ids of the steps that come first without handing over data.
    """

    id: str
    name: str
    pipeline: str
    spec: StepSpec
    matrix: Mapping[str, Scalar]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    params: tuple[Param, ...]
    producers: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The name that selects all combinations: `fit`."""
        return self.spec.name

    @property
    def upstream(self) -> tuple[str, ...]:
        """Ids of all steps that come first."""
        return self.producers + self.after
