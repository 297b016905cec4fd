"""Hosts as people look after them: is all there that a step needs, and what did old jobs leave."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlmake.errors import HostError, UsageError
from mlmake.model.project import Compute, Project
from mlmake.model.run import size_in_words
from mlmake.transports.base import Transport
from mlmake.transports.link import Link, Refused
from mlmake.transports.ssh import Ssh

_LITTLE = 1 << 30
"""Bytes free below which a host is said to be short of disk."""
_CLOCK = 60.0
"""Seconds by which the clocks may differ before it is said."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out about a target: what, how it stands, and the next move where something is wrong."""

    what: str
    value: str
    move: str = ""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed from a host: jobs, environments, bytes of contents; and the bytes that are kept."""

    jobs: tuple[str, ...]
    environments: tuple[str, ...]
    dropped: int
    kept: int


def check(compute: Compute, root: str) -> list[Finding]:
    """Connect to a target and look at it. What is wrong is a finding too."""
    try:
        began = time.monotonic()
        with _connected(compute, root) as link:
            connected = time.monotonic() - began
            told, _ = link.ask("probe")
            return [Finding("reachable", f"yes, in {connected:.1f} s"), *_findings(compute, link, told)]
    except HostError as error:
        return [Finding("reachable", f"no: {error.message}", error.hint or "see what `ssh -v` says")]
    except Refused as error:
        return [Finding("usable", f"no: {error}", f"look at {compute.options.get('root', '')} on the host")]


def clean(compute: Compute, root: str, age: float, limit: int | None) -> Cleaned:
    """Remove jobs that ended longer ago than `age` seconds, environments that nobody has used for so long, and of the
    contents what is over `limit` bytes.

    Raises HostError.
    """
    with _connected(compute, root) as link:
        told, _ = link.ask("clean", age=age, limit=1 << 62 if limit is None else limit)
    return Cleaned(tuple(told["jobs"]), tuple(told["environments"]), told["dropped"], told["kept"])


def hosts(project: Project, name: str) -> list[Compute]:
    """The targets that are hosts; with a name, just this one. Raises UsageError."""
    found = [compute for compute in project.computes.values() if compute.kind == "ssh"]
    if not name:
        return found
    chosen = [compute for compute in found if compute.name == name]
    if not chosen:
        known = ", ".join(compute.name for compute in found) or "none"
        raise UsageError(f"{name!r} is no compute target of kind ssh; known: {known}")
    return chosen


def transport_of(compute: Compute, root: str) -> Transport:
    """The way to a target."""
    return Ssh.of(compute, root)


@contextmanager
def _connected(compute: Compute, root: str) -> Iterator[Link]:
    transport = transport_of(compute, root)
    try:
        link = Link(transport)
        try:
            yield link
        finally:
            link.close()
    finally:
        transport.close()


def _findings(compute: Compute, link: Link, told: Mapping[str, Any]) -> Iterator[Finding]:
    hello = link.hello
    yield Finding("host key", "known")
    yield Finding("round trip", f"{_round_trip(link) * 1000:.1f} ms")
    yield Finding("system", f"{told['host']}, {told['system']}")
    yield Finding("python", f"{hello['software']} ({hello['python']})")
    yield Finding("cpus", _beside(str(hello["cpus"]), compute.offers.cpus if compute.offers else 0))
    yield Finding("memory", size_in_words(told["memory"]))
    yield from _gpus(compute, told["gpus"])
    free = Finding("disk", f"{size_in_words(told['free'])} free at {hello['root']}")
    yield free if told["free"] >= _LITTLE else Finding(free.what, free.value, f"`mlmake compute clean {compute.name}`")
    yield Finding("docker", told["docker"] or "none that answers")
    yield _clock(told["time"] - time.time())
    hashing = "xxh3" if hello["digest"] else "no xxh3: what arrives is checked by blake2b"
    yield Finding("hashing", hashing, "" if hello["digest"] else "install python3-xxhash or libxxhash there")
    running = sum(job["runs"] for job in told["jobs"])
    yield Finding("jobs", f"{running} running, {len(told['jobs']) - running} ended and not fetched")
    yield Finding("environments", str(len(told["environments"])))
    yield Finding("kept", f"{told['objects']} contents, {size_in_words(told['size'])}")


def _gpus(compute: Compute, gpus: list[Mapping[str, Any]]) -> Iterator[Finding]:
    declared = compute.offers.gpus if compute.offers else 0
    found = ", ".join(f"{gpu['index']}: {gpu['name']} ({size_in_words(gpu['memory'])})" for gpu in gpus) or "none"
    move = f"gpus = {declared} is declared: does nvidia-smi run there?" if declared > len(gpus) else ""
    yield Finding("gpus", found, move)


def _clock(difference: float) -> Finding:
    if abs(difference) < _CLOCK:
        return Finding("clock", "as here" if abs(difference) < 1 else f"{difference:+.0f} s from here")
    return Finding("clock", f"{difference:+.0f} s from here", "let it keep time by NTP: times in logs will not fit")


def _beside(found: str, declared: float) -> str:
    return f"{found}, of which {declared:g} are for steps" if declared else found


def _round_trip(link: Link) -> float:
    times = []
    for _ in range(3):
        began = time.monotonic()
        link.ask("hello")
        times.append(time.monotonic() - began)
    return min(times)
