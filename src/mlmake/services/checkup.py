"""What `mlmake compute check` finds: is all there that a step needs, and what is the next move where it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlmake.errors import HostError
from mlmake.model.docker import Run, Trouble, engine_of
from mlmake.model.project import Compute, Project
from mlmake.model.run import size_in_words
from mlmake.services.hosts import connected, docker_program
from mlmake.transports.link import Link, Refused

_LITTLE = 1 << 30
"""Bytes free below which a host is said to be short of disk."""
_CLOCK = 60.0
"""Seconds by which the clocks may differ before it is said."""
_NOMINAL = 1.1
"""A machine that is called one of 64 GiB has a little less."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out about a target: what, how it stands, and the next move where something is wrong."""

    what: str
    value: str
    move: str = ""


def check(project: Project, compute: Compute) -> list[Finding]:
    """Connect to a target and look at it. What is wrong is a finding too."""
    try:
        began = time.monotonic()
        with connected(project, compute) as link:
            reachable = Finding("reachable", f"yes, in {time.monotonic() - began:.1f} s")
            told, _ = link.ask("probe")
            return [reachable, *_findings(compute, link, told, docker_program(project, compute, link))]
    except HostError as error:
        return [Finding(error.about, f"no: {error.message}", error.hint or "see what `ssh -v` says")]
    except Refused as error:
        return [Finding("usable", f"no: {error}", f"look at {compute.options['root']} on the host")]


def _findings(compute: Compute, link: Link, told: Mapping[str, Any], run: Run | None) -> Iterator[Finding]:
    hello = link.hello
    offers = compute.offers
    if _is_far(compute):
        yield Finding("host key", "known")
    yield Finding("round trip", f"{_round_trip(link) * 1000:.1f} ms")
    yield Finding("system", f"{told['host']}, {told['system']}")
    yield Finding("python", f"{hello['software']} ({hello['python']})")
    yield _amount("cpus", hello["cpus"], str(hello["cpus"]), offers.cpus if offers else 0)
    yield _amount("memory", told["memory"], size_in_words(told["memory"]), offers.memory if offers else 0)
    yield from _gpus(compute, told["gpus"])
    free = Finding("disk", f"{size_in_words(told['free'])} free at {hello['root']}")
    yield free if told["free"] >= _LITTLE else Finding(free.what, free.value, f"`mlmake compute clean {compute.name}`")
    yield _engine(run) if run else Finding("docker", told["docker"] or "none that answers")
    yield _clock(told["time"] - time.time())
    hashing = "xxh3" if hello["digest"] else "no xxh3: what arrives is checked by blake2b"
    yield Finding("hashing", hashing, "" if hello["digest"] else "install python3-xxhash or libxxhash there")
    running = sum(job["runs"] for job in told["jobs"])
    yield Finding("jobs", f"{running} running, {len(told['jobs']) - running} ended and not fetched")
    yield Finding("environments", str(len(told["environments"])))
    yield Finding("kept", f"{told['objects']} contents, {size_in_words(told['size'])}")


def _is_far(compute: Compute) -> bool:
    """It is reached through sshd."""
    host = str(compute.options["host"])
    return compute.kind == "ssh" or bool(compute.options["via"]) or host.startswith("ssh://")


def _amount(what: str, there: float, shown: str, declared: float) -> Finding:
    """What there is of a resource, beside what the target's table offers of it."""
    if not declared:
        return Finding(what, shown)
    said = size_in_words(int(declared)) if what == "memory" else f"{declared:g}"
    move = f"its table offers {said}: set {what!r} to what is there" if declared > there * _NOMINAL else ""
    return Finding(what, f"{shown}, of which {said} for steps" if not move else shown, move)


def _gpus(compute: Compute, gpus: list[Mapping[str, Any]]) -> Iterator[Finding]:
    declared = compute.offers.gpus if compute.offers else 0
    found = ", ".join(f"{gpu['index']}: {gpu['name']} ({size_in_words(gpu['memory'])})" for gpu in gpus) or "none"
    move = f"its table offers {declared}: does `nvidia-smi` run there?" if declared > len(gpus) else ""
    yield Finding("gpus", found, move)


def _engine(run: Run) -> Finding:
    """The engine of a target that has containers."""
    told = engine_of(run)
    if isinstance(told, Trouble):
        return Finding("docker", told.what, told.hint or "see what `docker info` says there")
    return Finding("docker", f"{told.version}, {told.cpus} CPUs and {size_in_words(told.memory)} for containers")


def _clock(difference: float) -> Finding:
    if abs(difference) < _CLOCK:
        return Finding("clock", "as here" if abs(difference) < 1 else f"{difference:+.0f} s from here")
    return Finding("clock", f"{difference:+.0f} s from here", "let it keep time by NTP: times in logs will not fit")


def _round_trip(link: Link) -> float:
    times = []
    for _ in range(3):
        began = time.monotonic()
        link.ask("hello")
        times.append(time.monotonic() - began)
    return min(times)
