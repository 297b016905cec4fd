"""A job in a container: the command line that runs it, those that look after it, and what its end means.

Pure: whoever holds the job runs these command lines where the engine is, or where it can be asked (`copying`). The
job's tree has the same path inside and outside, so that every absolute path means the same file on both sides.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from mlmake.model.docker import DOCKER, explained
from mlmake.model.run import size_in_words

_LABEL = "mlmake."
_OWN = {
    *("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "SSH_AUTH_SOCK"),
    *("DOCKER_API_VERSION", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST"),
    *("DOCKER_DEFAULT_PLATFORM", "DOCKER_TLS", "DOCKER_TLS_VERIFY"),
}
"""Variables that would steer the docker program itself, were they passed on through its environment."""
_NEVER_STARTED = "0001-01-01"
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_SHELL = "mlmake"
USE = ".mlmake-use"
"""Where a container tells in its HOME what it has used."""
_LINES = (
    "trap : HUP INT QUIT USR1 USR2; mlmake_asked=; trap mlmake_asked=1 TERM",  # the job finds none of them ignored
    'exec 2>/dev/null; (exec "$@" 2>&1); mlmake_code=$?; mlmake_left=200',
    'while [ "$mlmake_asked" ] && [ $mlmake_left -gt 0 ] && kill -0 -1 && sleep 0.05',
    "do mlmake_left=$((mlmake_left - 1)); done",
    'mlmake_told() { read -r mlmake_n < "/sys/fs/cgroup/$2" && echo "$1 $mlmake_n"; }',
    "{ mlmake_told memory memory.peak || mlmake_told memory memory/memory.max_usage_in_bytes",
    f'mlmake_told cpu cpu.stat || mlmake_told cpu cpuacct/cpuacct.usage; }} > "$HOME/{USE}"; exit $mlmake_code',
)
_AROUND = ("/bin/sh", "-c", "\n".join(_LINES), _SHELL)
"""Around a job. Docker carries stdout and stderr apart, and loses which line came first. And a container ends with its
first process: where it was asked to end, what that has started has ten seconds more, if it is given as many. What it
used can be asked of its cgroup, of version 2 or 1, only from inside, and only as long as it runs."""
_SHARED = 16 << 30
"""Bytes that /dev/shm may grow to where no limit of memory says; Docker's 64 MiB break PyTorch's data loaders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Whose container it is.

    `root` is the folder on the engine's machine that holds its job. `project` tells the project apart from all others,
    so better its folder than its name.
    """

    root: str
    project: str
    run: str
    step: str
    job: str

    def options(self) -> Iterator[str]:
        for name in self.__slots__:
            yield from ("--label", f"{_LABEL}{name}={getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of the engine's machine, or a volume, as the container sees it."""

    source: str
    target: str
    is_read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Mount:
        """`source:target[:ro]`. Raises ValueError."""
        source, _, rest = text.partition(":")
        target, _, mode = rest.partition(":")
        if not source or not target.startswith("/") or mode not in ("", "ro", "rw"):
            raise ValueError(f"expected 'source:target' or 'source:target:ro', got {text!r}")
        if not source.startswith("/") and not _VOLUME.fullmatch(source):
            raise ValueError(f"expected an absolute path or the name of a volume before ':', got {text!r}")
        return cls(source, target, mode == "ro")

    def option(self) -> str:
        """As `--mount` wants it; unlike `--volume` it takes any path, and makes no folder that is not there."""
        kind = "bind" if self.source.startswith("/") else "volume"
        fields = [f"type={kind}", f"source={self.source}", f"target={self.target}"]
        fields += ["readonly"] if self.is_read_only else []
        return ",".join(map(_quoted, fields))


def _quoted(text: str) -> str:
    """A field of a CSV line, as which Docker reads some options."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n ') else text


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One job in a container.

    Attributes:
        image: an id, or a name that the engine has; nothing is pulled.
        name: the container's; see `named`.
        argv: the command line; the image's entrypoint is left out.
        tree: the job's private folder, at its own path.
        folder: the working folder; "" for the tree.
        home: what HOME is, a folder; mounted at its own path where it lies outside the tree.
        env: what the job finds in its environment beside what the image says.
        user: `uid:gid`, whom all that it writes belongs to; "" for whom the image says.
        cpus: as many as it may use; 0 for all.
        memory: bytes that it may use, swap included; 0 for all.
        gpus: indices of those that it sees.
        network: whether it has one.
        mounts: more of the engine's machine.
        read_only: files and folders of the tree that it must not write to.
        is_copied: the engine's machine does not have the tree: it is copied into the container, and back what is
            `brought`, which are paths in it.
    """

    image: str
    name: str
    argv: tuple[str, ...]
    tree: str
    home: str
    labels: Labels
    folder: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    cpus: float = 0
    memory: int = 0
    gpus: tuple[int, ...] = ()
    network: bool = True
    mounts: tuple[Mount, ...] = ()
    read_only: tuple[str, ...] = ()
    is_copied: bool = False
    brought: tuple[str, ...] = ()


def named(root: str, job: str) -> str:
    """A container's name, from its job and the folder that holds the jobs: another's jobs may have the same names."""
    return f"mlmake-{sha256(os.fsencode(root)).hexdigest()[:8]}-{_UNSAFE.sub('_', job)}"


def run_argv(container: Container) -> tuple[str, ...]:
    """Runs a container to its end, with its output as ours; to be run with the environment `client_env`.

    It is not removed: how it ended is read from it first.
    """
    return (DOCKER, "run", *creation(container))


def creation(container: Container) -> tuple[str, ...]:
    """What `docker run` and `docker create` take."""
    options = (
        *("--name", container.name, *container.labels.options()),
        *("--pull", "never", "--init", "--entrypoint", ""),
        *("--log-driver", "none"),  # the output comes to us; Docker would keep all of it a second time
        *("--security-opt", "label=disable"),  # where SELinux is on, the tree could not be read otherwise
        *_limits(container),
        *_view(container),
        *_variables(container),
    )
    return (*options, container.image, *_AROUND, *container.argv)


def _limits(container: Container) -> Iterator[str]:
    if container.user:
        yield from ("--user", container.user)
    if container.cpus:
        yield from ("--cpus", f"{container.cpus:.3f}".rstrip("0").rstrip("."))
    if container.memory:
        yield from ("--memory", str(container.memory), "--memory-swap", str(container.memory))
    yield from ("--shm-size", str(container.memory or _SHARED))
    if container.gpus:
        yield from ("--gpus", f'"device={",".join(map(str, container.gpus))}"')
    if not container.network:
        yield from ("--network", "none")


def _view(container: Container) -> Iterator[str]:
    """What it sees of the engine's machine, and where it stands in it."""
    own = [] if container.is_copied else _own_mounts(container)
    for mount in (*own, *container.mounts):
        yield from ("--mount", mount.option())
    yield from ("--workdir", container.folder or container.tree)


def _own_mounts(container: Container) -> list[Mount]:
    own = [Mount(container.tree, container.tree)]
    if not _lies_in(container.home, container.tree):
        own.append(Mount(container.home, container.home))
    return own + [Mount(path, path, True) for path in _outermost(container.read_only)]


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _outermost(paths: tuple[str, ...]) -> list[str]:
    """Those that lie in no other: what is inside of one is read-only with it."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: path.split("/")):
        if not kept or not _lies_in(path, kept[-1]):
            kept.append(path)
    return kept


def _variables(container: Container) -> Iterator[str]:
    """Values come through the environment, where no list of processes shows them, but for those of no secrets."""
    told = {
        "HOME": container.home,
        "TINI_KILL_PROCESS_GROUP": "1",  # a shell in front of the program must not keep a signal to itself
        **_gpu_variables(container),
    }
    yield from _options(f"{name}={value}" for name, value in told.items())
    yield from _options(_variable(name, value) for name, value in container.env.items() if name not in told)


def _options(variables: Iterator[str]) -> Iterator[str]:
    for variable in variables:
        yield from ("--env", variable)


def _variable(name: str, value: str) -> str:
    return f"{name}={value}" if name in _OWN else name


def _gpu_variables(container: Container) -> dict[str, str]:
    """Inside, the GPUs of a container are counted from 0. Without any, it sees none, whatever its image says."""
    if not container.gpus:
        return {"NVIDIA_VISIBLE_DEVICES": "void"}
    return {"CUDA_VISIBLE_DEVICES": ",".join(str(number) for number, _ in enumerate(container.gpus))}


def client_env(container: Container, own: Mapping[str, str]) -> dict[str, str]:
    """The environment of the docker program: its own, and the values that `run_argv` only names."""
    passed = {name: value for name, value in container.env.items() if name not in _OWN}
    return {**own, **passed}


def inspect_argv(name: str) -> tuple[str, ...]:
    """Tells the state of a container, for `ended`."""
    return (DOCKER, "container", "inspect", "--format", "{{json .State}}", name)


def remove_argv(*names: str) -> tuple[str, ...]:
    """Ends containers if they run, and removes them with their anonymous volumes; one that is not there is no error."""
    return (DOCKER, "rm", "--force", "--volumes", *names)


def find_argv(**labels: str) -> tuple[str, ...]:
    """Lists the containers that have these labels, for `found`."""
    parts = ["json .ID", "json .Names", "json .State"]
    parts += [f'json (.Label "{_LABEL}{name}")' for name in Labels.__slots__]
    line = f"[{','.join(f'{{{{{part}}}}}' for part in parts)}]"
    filters = (word for name, value in labels.items() for word in ("--filter", f"label={_LABEL}{name}={value}"))
    return (DOCKER, "ps", "--all", "--no-trunc", *filters, "--format", line)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A container of ours."""

    id: str
    name: str
    runs: bool
    labels: Labels


def found(listing: str) -> list[Found]:
    """What `find_argv` listed."""
    return [_found(*json.loads(line)) for line in listing.splitlines() if line]


def _found(container: str, name: str, state: str, *labels: str) -> Found:
    told = Labels(**dict(zip(Labels.__slots__, labels, strict=True)))
    return Found(id=container, name=name, runs=state in ("running", "paused", "restarting"), labels=told)


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended: its exit code, and the reason where that alone would mislead."""

    exit_code: int
    problem: str = ""


def ended(container: Container, code: int, state: str, tail: str) -> End:
    """What the end of a container means.

    Args:
        code: what the docker program ended with.
        state: what `inspect_argv` said; "" where it found none.
        tail: the end of the job's log, in which the docker program complains too.
    """
    told = _state(state)
    if not told:
        return _unseen(code, tail)
    if told["Running"]:
        return End(255, f"the docker program ended with {code}, and the container still runs")
    exit_code = int(told["ExitCode"])
    if told["StartedAt"].startswith(_NEVER_STARTED):
        return End(exit_code or code or 255, str(explained(told["Error"] or tail)))
    if told["OOMKilled"] and exit_code:
        return End(exit_code, _out_of_memory(container))
    if container.is_copied and code and not exit_code:
        return End(code, f"what it wrote cannot be had from its container: {explained(_last(tail))}")
    return End(exit_code, _unstarted(container, exit_code, tail))


def _state(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _unseen(code: int, tail: str) -> End:
    """The end of a container that is not there: it never was, or the engine went away, or somebody removed it."""
    if code == 125:
        return End(code, str(explained(tail)))
    return End(code, "somebody removed its container" if code else "")


def _out_of_memory(container: Container) -> str:
    if not container.memory:
        return "out of memory"
    return f"out of memory: it was given {size_in_words(container.memory)}; ask for more in `resources`"


def _unstarted(container: Container, code: int, tail: str) -> str:
    """Why the job could not start in its container: with 126 or 127, and a last word of what was to start it."""
    last = _last(tail)
    if code not in (126, 127) or not last.startswith((f"{_SHELL}: ", "[FATAL tini")):
        return ""
    if not last.startswith(_SHELL):
        return str(explained(last))
    program = container.argv[0]
    if code == 127:
        return f"the image has no program {program}, or not the interpreter that it names"
    if "ermission denied" in last or "irectory" in last:
        return f"{program} is no program: it may not be executed"
    return f"{program} is no program that this machine can run; take an image for its platform"


def _last(text: str) -> str:
    """The last line of a text."""
    return text.rstrip().rpartition("\n")[2]
