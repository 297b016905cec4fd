"""What a target has to give: a step starts when all that it asks for is free."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mlmake.model.resources import Resources


class Slots:
    """The free part of each resource. A resource that is not offered (amount unknown) is never short."""

    def __init__(self, offers: Mapping[str, float]) -> None:
        self._offers = dict(offers)
        self._free = dict(offers)

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

    def take(self, resources: Resources) -> bool:
        """Set aside what a step asks for, if all of it is free."""
        asks = self.asks(resources)
        if any(amount > self._free.get(name, amount) + 1e-9 for name, amount in asks.items()):
            return False
        for name in asks.keys() & self._free.keys():
            self._free[name] -= asks[name]
        return True

    @property
    def is_full(self) -> bool:
        """No CPU is free: no step needs to be tried."""
        return self._free.get("cpus", 1.0) <= 1e-9

    def give(self, resources: Resources) -> None:
        """Free what a step had taken."""
        for name, amount in self.asks(resources).items():
            if name in self._free:
                self._free[name] += amount


def here(jobs: int | None, offers: Resources | None) -> dict[str, float]:
    """What this machine offers: `-j N`, or the file's `[compute.local]`, or every CPU that this process may use."""
    amounts = offers.amounts() if offers else {}
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    amounts["cpus"] = float(jobs or amounts.get("cpus") or cpus)
    return amounts
