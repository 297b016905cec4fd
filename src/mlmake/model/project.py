"""A project: its pipelines, and the datastores, environments and compute targets that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlmake.model.caching import CachePolicy
from mlmake.model.data import Datastore, Value
from mlmake.model.resources import Resources
from mlmake.model.step import Step
from mlmake.model.trigger import Trigger

FILE = "pipelines.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """The software that a step runs in: exactly one base of python, conda, image, dockerfile.

    Attributes:
        variables: environment variables whose values are facts.
        secrets: environment variables that are handed over, and neither a fact nor ever written.
    """

    name: str
    python: str = ""
    conda: str = ""
    image: str = ""
    dockerfile: str = ""
    packages: tuple[str, ...] = ()
    requirements: str = ""
    variables: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        """The kind of base: `python`, `conda`, `image` or `dockerfile`."""
        return next(base for base in ("python", "conda", "image", "dockerfile") if getattr(self, base))


@dataclass(frozen=True, kw_only=True, slots=True)
class Compute:
    """A compute target: where steps run, and what it offers. `options` are the keys of its kind."""

    name: str
    kind: str
    offers: Resources | None = None
    options: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """A named set of steps with parameters of its own; `steps` in the order of the file."""

    name: str
    description: str = ""
    params: Mapping[str, Value] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    trigger: Trigger | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """All that a `pipelines.toml` says, checked and expanded.

    Attributes:
        root: absolute path of the folder that holds the file.
        default: what a bare `mlmake` builds; "" means everything.
        steps: every step by id, each after all that come before it.
        owners: output path -> id of the step that makes it.
        tracking: kind of tracking server -> its address, with `${env:NAME}` unfilled.
    """

    root: str
    name: str
    default: str = ""
    datastores: Mapping[str, Datastore] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    computes: Mapping[str, Compute] = field(default_factory=dict)
    pipelines: Mapping[str, Pipeline] = field(default_factory=dict)
    cache: CachePolicy = field(default_factory=CachePolicy)
    steps: Mapping[str, Step] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    tracking: Mapping[str, str] = field(default_factory=dict)

    def members(self, target: str) -> tuple[str, ...]:
        """The targets behind a name: of a pool all in it, else itself."""
        compute = self.computes.get(target)
        if compute is None or compute.kind != "pool":
            return (target,)
        return tuple(name for member in compute.options["of"] for name in self.members(member))

    def kind(self, target: str) -> str:
        """The kind of a target that is no pool; one without a table is this machine."""
        compute = self.computes.get(target)
        return compute.kind if compute else "local"

    def shown(self, step: str) -> str:
        """A step's id as people write it: without its pipeline where there is only one."""
        return step.partition(".")[2] if len(self.pipelines) == 1 else step
