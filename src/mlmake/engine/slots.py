"""What a target has to give: a step starts when all that it asks for is free."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import IO, NamedTuple

from mlmake.model.resources import Resources
from mlmake.transports.agent.files import lock_gpu


class Lease(NamedTuple):
    """What a running step has: an amount of each resource, and its GPUs by index with the locks that keep them."""

    amounts: Mapping[str, float]
    gpus: tuple[int, ...] = ()
    locks: tuple[IO[bytes], ...] = ()


class Slots:
    """The free part of each resource. A resource that is not offered (amount unknown) is never short."""

    def __init__(self, offers: Mapping[str, float], gpu_folder: str = "") -> None:
        """With a folder, GPUs are shared with every other process that has its locks there."""
        self._gpu_folder = gpu_folder
        self._offers = dict(offers)
        self._free = dict(offers)
        self._gpus = list(range(int(offers.get("gpus", 0))))

    def asks(self, resources: Resources) -> dict[str, float]:
        """What a step takes: CPUs are cut to what there is, so a step for a big machine runs alone on a small one."""
        amounts = resources.amounts()
        if "cpus" in amounts:
            amounts["cpus"] = min(amounts["cpus"], self._offers.get("cpus", amounts["cpus"]))
        return amounts

    def lacks(self, resources: Resources) -> dict[str, float]:
        """What a step asks for beyond all that there is, by resource: it could never start."""
        return {
            name: amount
            for name, amount in self.asks(resources).items()
            if name != "cpus" and amount > self._offers.get(name, float("inf") if name == "memory" else 0)
        }

    def has_room(self, resources: Resources) -> bool:
        """Whether what a step asks for is free, but for what other processes may hold of it."""
        return all(amount <= self._free.get(name, amount) + 1e-9 for name, amount in self.asks(resources).items())

    def take(self, resources: Resources) -> Lease | None:
        """Set aside what a step asks for, if all of it is free; GPUs by index, so that no two steps get the same."""
        if not self.has_room(resources):
            return None
        asks = self.asks(resources)
        gpus = self._lock_gpus(resources.gpus)
        if gpus is None:
            return None
        for name in asks.keys() & self._free.keys():
            self._free[name] -= asks[name]
        self._gpus = [gpu for gpu in self._gpus if gpu not in gpus]
        return Lease(asks, tuple(gpus), tuple(filter(None, gpus.values())))

    def _lock_gpus(self, count: int) -> dict[int, IO[bytes] | None] | None:
        """So many free GPUs, locked against others; None if others have too many of them."""
        if not self._gpu_folder:
            return dict.fromkeys(self._gpus[:count])
        locked: dict[int, IO[bytes] | None] = {}
        for gpu in self._gpus if count else ():
            if lock := lock_gpu(self._gpu_folder, gpu):
                locked[gpu] = lock
            if len(locked) == count:
                return locked
        for held in locked.values():
            if held:
                held.close()
        return None if count else {}

    @property
    def is_full(self) -> bool:
        """No CPU is free: no step needs to be tried."""
        return self._free.get("cpus", 1.0) <= 1e-9

    def give(self, lease: Lease) -> None:
        """Free what a step had taken."""
        for name, amount in lease.amounts.items():
            if name in self._free:
                self._free[name] += amount
        self._gpus = sorted([*self._gpus, *lease.gpus])
        for lock in lease.locks:
            lock.close()

    @property
    def is_shared(self) -> bool:
        """Others may take or give what is offered here, without a word to us."""
        return bool(self._gpu_folder)


def gpu_folder() -> str:
    """Where the processes of a user on this machine lock its GPUs."""
    return os.path.join(tempfile.gettempdir(), f"mlmake-gpus-{os.getuid()}")


def here(jobs: int | None, offers: Resources | None) -> dict[str, float]:
    """What this machine offers: `-j N`, or the file's `[compute.local]`, or every CPU that this process may use."""
    amounts = offers.amounts() if offers else {}
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    amounts["cpus"] = float(jobs or amounts.get("cpus") or cpus)
    return amounts
