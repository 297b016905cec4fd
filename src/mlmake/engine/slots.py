"""What a target has to give: a step starts when all that it asks for is free."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from mlmake.model.resources import Resources


class Lease(NamedTuple):
    """What a running step has: an amount of each resource, and its GPUs by index."""

    amounts: Mapping[str, float]
    gpus: tuple[int, ...] = ()


class Slots:
    """The free part of each resource. A resource that is not offered (amount unknown) is never short."""

    def __init__(self, offers: Mapping[str, float]) -> None:
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

    def take(self, resources: Resources) -> Lease | None:
        """Set aside what a step asks for, if all of it is free; GPUs by index, so that no two steps get the same."""
        asks = self.asks(resources)
        if any(amount > self._free.get(name, amount) + 1e-9 for name, amount in asks.items()):
            return None
        for name in asks.keys() & self._free.keys():
            self._free[name] -= asks[name]
        gpus, self._gpus = self._gpus[: resources.gpus], self._gpus[resources.gpus :]
        return Lease(asks, tuple(gpus))

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


def here(jobs: int | None, offers: Resources | None) -> dict[str, float]:
    """What this machine offers: `-j N`, or the file's `[compute.local]`, or every CPU that this process may use."""
    amounts = offers.amounts() if offers else {}
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    amounts["cpus"] = float(jobs or amounts.get("cpus") or cpus)
    return amounts
