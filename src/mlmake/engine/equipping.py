"""Steps that wait for the environment that they run in: it is built when the first of them is about to run, and once.

The work is done apart, so that a build goes on with what needs no new environment meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from mlmake.engine.apart import Apart
from mlmake.engine.attempt import Queued
from mlmake.engine.installing import Made, Order, make
from mlmake.engine.ledger import Ledger
from mlmake.environments.base import Installed
from mlmake.errors import StoreError
from mlmake.executors.base import Executor, Setting
from mlmake.model.events import EnvironmentBuilding, EnvironmentBuilt, Sink
from mlmake.model.project import Compute, Project
from mlmake.model.step import Step
from mlmake.registry import EXECUTORS

Then = Callable[[Queued], None]
Fail = Callable[[Queued, str], None]
_LOCAL = "local"


class Equipping:
    """Lets steps go on when their environment is there; `fail` takes those for which it cannot be made.

    The message for `fail` has the installer's last words below its first line.
    """

    def __init__(
        self, project: Project, ledger: Ledger, setting: Setting, apart: Apart, sink: Sink, fail: Fail
    ) -> None:
        self._project = project
        self._ledger = ledger
        self._setting = setting
        self._apart = apart
        self._sink = sink
        self._fail = fail
        self._waiting: dict[str, list[tuple[Queued, Then]]] = {}
        self._failed: dict[str, str] = {}
        self._is_over = False

    def equip(self, queued: Queued, then: Then) -> None:
        """Call `then` with a step once its environment is there: mostly at once."""
        if queued.step.spec.delivers:
            then(queued)
            return
        software = self._ledger.softwares.of(queued.step.spec)
        if missing := self._unset(queued.step):
            self._fail(queued, missing)
        elif not isinstance(software, Installed) or not software.facts.unknown or software.facts.missing:
            then(queued)
        elif software.folder in self._failed:
            self._fail(queued, self._failed[software.folder])
        else:
            self._wait(software, queued, then)

    def drop(self) -> None:
        """Let no step go on any more, and end what is being built."""
        self._is_over = True
        self._waiting.clear()

    def _unset(self, step: Step) -> str:
        """Which secrets are not there to be handed over, in words."""
        environment = self._project.environments.get(step.spec.environment)
        names = [name for name in environment.secrets if name not in os.environ] if environment else []
        return f"environment variable {names[0]} is not set, a secret of its environment" if names else ""

    def _wait(self, software: Installed, queued: Queued, then: Then) -> None:
        is_first = software.folder not in self._waiting
        self._waiting.setdefault(software.folder, []).append((queued, then))
        if not is_first:
            return
        order = Order(
            name=queued.step.spec.environment,
            recipe=software.recipe,
            folder=software.folder,
            sources=software.facts.sources,
        )
        self._sink(EnvironmentBuilding(order.name, os.path.relpath(order.log, self._project.root)))
        work = partial(make, order, self._project.root, self._executor, self._go_on)
        self._apart.do(work, partial(self._made, order, time.monotonic()), is_slow=True)

    def _made(self, order: Order, began: float, made: Made) -> None:
        waiting = self._waiting.pop(order.folder, [])
        self._sink(EnvironmentBuilt(order.name, time.monotonic() - began, made.problem))
        self._ledger.fingerprints.look_again()
        if self._is_over:
            return
        if made.problem:
            self._failed[order.folder] = f"{made.problem}\n{made.words}".rstrip()
        elif any(self._lacks(queued.step, order.folder) for queued, _ in waiting):
            self._failed[order.folder] = f"environment {order.name} does not stay as it was built in {order.folder}"
        for queued, then in waiting:
            self.equip(queued, then)

    def _lacks(self, step: Step, folder: str) -> bool:
        """Whether an environment is not there after all: then to build it again would have no end."""
        software = self._ledger.softwares.of(step.spec)
        return isinstance(software, Installed) and software.folder == folder and bool(software.facts.unknown)

    def _executor(self) -> Executor:
        """Its own, as the installer is to end with this build and no step is to be taken for it."""
        executor: Executor = EXECUTORS.load(_LOCAL).of(Compute(name=_LOCAL, kind=_LOCAL), self._setting)
        return executor

    def _go_on(self) -> None:
        self._apart.go_on()
        if self._is_over:
            raise StoreError("the build was stopped")
