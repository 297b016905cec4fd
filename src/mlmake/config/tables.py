"""The tables of pipelines.toml: each dataclass is a table, each field a key, each `doc` a line of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, NewType

from mlmake.model.caching import Link, Mode
from mlmake.model.data import InputMode, Scalar, Value
from mlmake.model.resources import Resources

Paths = NewType("Paths", tuple[str, ...])
"""One path or a list of paths."""
Reads = NewType("Reads", tuple[tuple[str, ...], InputMode])
"""Paths, and whether they are handed over as they are in their datastore: a path, a list of paths, or a table."""
Keys = NewType("Keys", dict[str, str])
"""Parameter keys: a list, or a table from the step's own name to the key."""
Axis = NewType("Axis", tuple[Scalar, ...])
"""The values of one axis of a matrix."""
Size = NewType("Size", int)
"""Bytes, from `8GiB`."""
Duration = NewType("Duration", float)
"""Seconds, from `2h`."""
Salt = NewType("Salt", str)
"""A text or a number, kept as text."""
Amount = NewType("Amount", float)
"""A number, zero or more."""
Count = NewType("Count", int)
"""A whole number, zero or more."""
Fetch = NewType("Fetch", str)
"""`always` or `needed`."""
Caching = NewType("Caching", object)
"""true or false, or a table with one of them for each output."""


def setting(doc: str, default: Any = MISSING) -> Any:
    """A key of a table with its line in the reference."""
    if default is MISSING:
        return field(metadata={"doc": doc})
    if default == {}:
        return field(default_factory=dict, metadata={"doc": doc})
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class ProjectTable:
    """`[project]`"""

    name: str = setting("The project's name; by default its folder's.", "")
    default: str = setting("What a bare `mlmake` builds: a pipeline, step or output. By default everything.", "")


@dataclass(frozen=True, kw_only=True)
class EnvironmentTable:
    """`[environments.NAME]`: the software a step runs in; exactly one of python, conda, image, dockerfile."""

    python: str = setting("A virtual environment of this Python version, such as `3.12`.", "")
    conda: str = setting("A conda environment file; needs micromamba, mamba or conda.", "")
    image: str = setting("A container image.", "")
    dockerfile: str = setting("A Dockerfile to build the image from.", "")
    packages: tuple[str, ...] = setting("With `python`: requirements to install, as pip takes them.", ())
    requirements: str = setting("With `python`: a requirements file to install.", "")
    variables: tuple[str, ...] = setting("Environment variables that must be set and whose values count as facts.", ())
    secrets: tuple[str, ...] = setting(
        "Environment variables that must be set to run a step, are no facts and are never written.", ()
    )


@dataclass(frozen=True, kw_only=True)
class CacheTable:
    """`[cache]`: results by content, so that none is computed twice; see how-to/cache."""

    enabled: bool = setting("`false` keeps nothing and restores nothing.", True)
    link: Link = setting(
        "How a result comes out: `copy` (a reflink where the system can), or read-only by `hardlink` or `symlink`.",
        Link.COPY,
    )
    size: Size = setting("Beyond this, what nobody needs goes, least recently used first: `50GiB`.", 0)
    runs: Count = setting("What so many of the newest runs wrote counts as needed.", 10)
    remote: str = setting("The shared cache: an fsspec URL such as `s3://…`, or a path on a datastore.", "")
    mode: Mode = setting("What is done with the shared cache: `read`, `write` or `read-write`.", Mode.BOTH)


@dataclass(frozen=True, kw_only=True)
class TrackingTable:
    """`[tracking]`: servers that are told of runs as well; see how-to/mlflow."""

    mlflow: str = setting("An MLflow tracking server: `http://127.0.0.1:5000`, or `${env:MLFLOW_TRACKING_URI}`.", "")


@dataclass(frozen=True, kw_only=True)
class OffersTable:
    """Keys that every compute target knows."""

    kind: str = setting("`local`, `ssh`, `docker` or `pool`.", "local")
    cpus: Amount | None = setting("CPUs that steps may use at once. By default all that the target has.", None)
    memory: Size | None = setting("Memory that steps may use at once, such as `64GiB`.", None)
    gpus: Count = setting("GPUs that steps may lease.", 0)
    resources: dict[str, Amount] = setting("Named resources, such as `{ licence = 2 }`.", {})


@dataclass(frozen=True, kw_only=True)
class LocalTable(OffersTable):
    """`kind = "local"`: this machine."""


@dataclass(frozen=True, kw_only=True)
class SshTable(OffersTable):
    """`kind = "ssh"`: a host over SSH."""

    host: str = setting("An alias of ~/.ssh/config, or `user@host:port`.")
    user: str = setting("The user to log in as.", "")
    port: Count = setting("The port of sshd.", 0)
    key: str = setting("A private key file.", "")
    config: str = setting("An SSH configuration to use in place of ~/.ssh/config.", "")
    known_hosts: str = setting("A file of host keys to use in place of ~/.ssh/known_hosts.", "")
    root: str = setting("The folder on the host that holds all that mlmake writes there.", "~/.mlmake")
    store_limit: Size = setting("What `mlmake compute clean` keeps there of what was sent: `50GiB`. By default all.", 0)
    fetch: Fetch = setting("When outputs come back: `always`, or only when they are `needed` here.", "always")


@dataclass(frozen=True, kw_only=True)
class DockerTable(OffersTable):
    """`kind = "docker"`: containers."""

    host: str = setting(
        "The engine: `ssh://host`, `tcp://host:2376` or `unix:///path`. By default that of the docker program.", ""
    )
    via: str = setting("An ssh target whose engine is used.", "")
    network: bool = setting("Whether containers have a network.", True)
    mounts: tuple[str, ...] = setting("Extra mounts, `source:target[:ro]`.", ())
    root: str = setting("The folder on the engine's machine that holds all that mlmake writes there.", "~/.mlmake")
    store_limit: Size = setting("What `mlmake compute clean` keeps there of what was sent: `50GiB`. By default all.", 0)


@dataclass(frozen=True, kw_only=True)
class PoolTable(OffersTable):
    """`kind = "pool"`: the first of several targets with room."""

    of: tuple[str, ...] = setting("The members, by name.")


COMPUTE_TABLES: Mapping[str, type[OffersTable]] = {
    "local": LocalTable,
    "ssh": SshTable,
    "docker": DockerTable,
    "pool": PoolTable,
}


@dataclass(frozen=True, kw_only=True)
class PipelineTable:
    """`[pipelines.NAME]`"""

    description: str = setting("A sentence for people.", "")
    params: dict[str, Value] = setting("Parameters, nested as you like; steps name those that count for them.", {})
    triggers: dict[str, Value] = setting("When a watch builds it, beside being asked for.", {})
    steps: dict[str, Value] = setting("The steps, a table each.", {})


@dataclass(frozen=True, kw_only=True)
class TriggersTable:
    """`[pipelines.NAME.triggers]`: when `mlmake watch` builds the pipeline; see how-to/watch."""

    on_change: Paths = setting("Paths, folders or globs: when one of these files changes, comes or goes.", ())
    every: Duration = setting("How long after the last build, such as `1h`.", 0.0)
    cron: str = setting("Times of the clock, as in a crontab: `0 6 * * 1-5`.", "")
    timezone: str = setting("The clock of `cron`, such as `Europe/Berlin`. By default this machine's.", "")


@dataclass(frozen=True, kw_only=True)
class StepTable:
    """`[pipelines.NAME.steps.NAME]`: the keys of every kind of step."""

    kind: str = setting("The kind; `script` and `command` name theirs by themselves.", "")
    description: str = setting("A sentence for people.", "")
    tags: tuple[str, ...] = setting("Words for people; never facts.", ())
    inputs: dict[str, Reads] = setting(
        "What it reads: name -> path, folder/, glob, datastore path or @step.output; "
        '`{ path = "lake://x", mode = "path" }` hands over the URL itself, '
        '`{ path = "raw://*.csv", mode = "folder" }` one folder with just these files.',
        {},
    )
    outputs: dict[str, str] = setting("What it writes: name -> path or folder/.", {})
    metrics: dict[str, str] = setting("JSON outputs whose numbers the run remembers.", {})
    params: Keys = setting("The parameters that count: keys, or a table from an own name to a key.", {})
    matrix: dict[str, Axis] = setting("One step per combination of these values.", {})
    code: Paths = setting(
        "Globs of project files that count as code although no import shows them; with `!` in front, a file that does "
        "not although the command names it.",
        (),
    )
    after: tuple[str, ...] = setting("Steps that come first without handing over data.", ())
    compute: str = setting("The compute target.", "local")
    environment: str = setting("The environment.", "system")
    resources: Resources = setting(
        "What it takes of its target: cpus, memory, gpus, named resources. In containers cpus and memory are limits.",
        Resources(),
    )
    retries: Count = setting("How often a failed attempt is tried again.", 0)
    timeout: Duration = setting("When an attempt is ended, such as `2h`.", 0.0)
    in_place: bool = setting("The script writes to the real output paths; old outputs are set aside meanwhile.", False)
    cache: Caching = setting("`false` keeps no result; `{ NAME = false }` leaves out one output.", True)
    reuse: bool = setting("`false` runs it in every build.", True)
    version: Salt = setting("A salt: another value makes it stale.", "")
