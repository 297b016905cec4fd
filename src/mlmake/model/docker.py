"""The docker program as mlmake talks with it: a run of it, an engine, and what its errors mean and ask for.

Everything goes through the program rather than a library: it works on any host, and it reads the logins of registries
from Docker's own configuration. Which engine it asks is said by `DOCKER_HOST` in its environment, as always.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

DOCKER = "docker"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What a program that has ended said."""

    returncode: int
    stdout: str
    stderr: str = ""


Run = Callable[[Sequence[str]], Ran]
"""Runs a program to its end, on whatever host; raises OSError if it cannot start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """A Docker engine as it tells of itself.

    Attributes:
        cpus: as many as a container may be given.
        memory: bytes, likewise.
        is_rootless: it runs as a user, who is root inside its containers.
    """

    version: str
    cpus: int
    memory: int
    is_rootless: bool

    def user(self, uid: int, gid: int) -> str:
        """Whom a container runs as, so that what it writes belongs to a user of the engine's machine."""
        return "0:0" if self.is_rootless else f"{uid}:{gid}"


def engine_argv() -> tuple[str, ...]:
    """Asks an engine what it is."""
    return (DOCKER, "info", "--format", "{{json .}}")


def engine_of(run: Run) -> Engine | Trouble:
    """The engine that the docker program finds, or why it finds none. Raises OSError."""
    try:
        return engine_told(run(engine_argv()))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return explained(f"{DOCKER}: not found")


def engine_told(ran: Ran) -> Engine | Trouble:
    """What an engine said, or why it did not."""
    told = _read(ran.stdout)
    if ran.returncode or not told.get("ServerVersion"):
        errors = told.get("ServerErrors") or ()  # some versions of the program say it there, and end with 0
        return explained("\n".join([ran.stderr, *map(str, errors)]))
    options = [str(option) for option in told.get("SecurityOptions") or ()]
    return Engine(
        version=str(told["ServerVersion"]),
        cpus=int(told.get("NCPU") or 0),
        memory=int(told.get("MemTotal") or 0),
        is_rootless=any("name=rootless" in option for option in options),
    )


def _read(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong with Docker, the next move, and whether the same may go well later."""

    what: str
    hint: str = ""
    is_passing: bool = False

    def __str__(self) -> str:
        return f"{self.what}; {self.hint}" if self.hint else self.what


class _Known(NamedTuple):
    """An error of Docker's that we have words for; `{it}` in them is the first group of the pattern that has any."""

    pattern: str
    what: str
    hint: str
    is_passing: bool = False


_LOGIN = "correct the image's name, or run `docker login` where the docker program runs"
_TOOLKIT = "install the NVIDIA Container Toolkit on its machine, and restart the engine"
_START = "start it, or correct the target's `host`"

_KNOWN = (
    _Known(r"(docker): (?:command )?not found", "there is no program {it}", "install Docker, or correct PATH"),
    _Known(
        r"permission denied while trying to connect to the docker (?:daemon socket|api) at (\S+[^\s:;.,])",
        "no right to use the Docker engine at {it}",
        "add the user to the group `docker` there, and log in anew",
    ),
    _Known(r"cannot connect to the docker daemon at (\S+?)\. is the", "no Docker engine answers at {it}", _START, True),
    _Known(r"failed to connect to the docker api at (\S+?);", "no Docker engine answers at {it}", _START, True),
    _Known(r"stderr=(.+)", "the Docker engine's host does not let us in: {it}", _START, True),
    _Known(r"error during connect: (.+)", "no Docker engine answers: {it}", _START, True),
    _Known(
        r"(client version \S+ is too (?:new|old)[^\n]*)",
        "the docker program and the engine do not understand each other: {it}",
        "update the older of both, or set DOCKER_API_VERSION",
    ),
    _Known(r"nvidia-container-cli: device error: ([^\n]+)", "no such GPU: {it}", "correct the target's `gpus`"),
    _Known(
        r"could not select device driver|no known gpu vendor|unknown or invalid runtime name: nvidia"
        r"|unresolvable cdi devices|nvidia-container-cli: initialization error|nvidia-container-runtime-hook",
        "the Docker engine has no GPUs for containers",
        _TOOLKIT,
    ),
    _Known(
        r'container name "/?([^"]+)" is already in use',
        "another container has the name {it}",
        "`docker rm -f {it}` removes it",
    ),
    _Known(r"pull access denied(?: for ([^\s,]+))?", "there is no image {it}, or it needs a login", _LOGIN),
    _Known(r"(toomanyrequests[^\n]*)", "the registry wants to be left alone: {it}", "`docker login`, or wait", True),
    _Known(r"no matching manifest for (\S+)", "the image has no variant for {it}", "take one that has"),
    _Known(r"manifest for (\S+) not found", "no image {it} in its registry", "correct its tag or digest"),
    _Known(r"(manifest unknown|\S+: not found$)", "no such image in its registry: {it}", "correct its tag or digest"),
    _Known(
        r"(unauthorized: [^\n]*|no basic auth credentials|authentication required|denied: requested access[^\n]*)",
        "the registry refuses access: {it}",
        _LOGIN,
    ),
    _Known(r"(x509: [^\n]+)", "the Docker engine does not trust the registry: {it}", "give it the certificate"),
    _Known(
        r"((?:dial tcp|net/http|temporary failure in name resolution)[^\n]*|[^\n]*(?:i/o|handshake) timeout)",
        "the Docker engine cannot reach the registry: {it}",
        "look at the network of its machine",
        True,
    ),
    _Known(r"(invalid reference format[^\n]*)", "that is no name of an image: {it}", "correct it"),
    _Known(r"no such image: (\S+?)\.?$", "image {it} is not on the engine", "pull or build it there"),
    _Known(r"no space left on device", "the Docker engine's disk is full", "`docker system df` tells of what"),
    _Known(r"range of cpus is from \S+ to (\S+?),", "the engine's machine has but {it} CPUs", "ask for fewer"),
    _Known(r"(minimum memory limit allowed is \S+?)\.?$", "too little memory for a container: {it}", "ask for more"),
    _Known(
        r"bind source path does not exist: ([^\n]+?)\.?$",
        "{it}, to be mounted, is not on the engine's machine",
        "make it, or correct `mounts`",
    ),
    _Known(r"(docker-init)\b.*no(?:t found| such file)", "the Docker engine lacks {it}", "install tini on its machine"),
    _Known(
        r'exec:? "([^"]+)": (?:executable file not found|stat|no such file)'
        r"|^\[FATAL tini \(\d+\)\] exec (.+) failed: No such file",
        "the image has no {it}",
        "take one with a shell",
    ),
    _Known(
        r'error waiting for container: (?!context canceled)([^"\n]+)|(unexpected EOF|connection reset by peer)',
        "the Docker engine went away: {it}",
        "look at its log",
        True,
    ),
)
_FLAGS = re.IGNORECASE | re.MULTILINE
_PATTERNS = tuple((re.compile(known.pattern, _FLAGS), known) for known in _KNOWN)
_PREFIX = re.compile(r"^(?:docker: )?(?:ERROR: )?(?:Error response from daemon: )?", re.IGNORECASE)
_CHATTER = re.compile(r"^(?:See 'docker |Run 'docker |DEPRECATED: |(?:ERRO|time=).*context canceled)")


def explained(said: str) -> Trouble:
    """What an error of the docker program means, or its own last words."""
    return known(said) or Trouble(f"Docker failed: {last_words(said)}")


def known(said: str) -> Trouble | None:
    """What an error of the docker program means, if it is one that we know."""
    for pattern, words in _PATTERNS:
        if match := pattern.search(said):
            it = next((group for group in match.groups() if group), "").strip()
            return Trouble(words.what.format(it=it), words.hint.format(it=it), words.is_passing)
    return None


def last_words(said: str) -> str:
    """The last line of a program's errors that tells something."""
    lines = [line.strip() for line in said.splitlines()]
    telling = [line for line in lines if line and not _CHATTER.match(line)]
    return _PREFIX.sub("", telling[-1]) if telling else "it did not say why"
