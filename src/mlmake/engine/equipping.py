"""Steps that wait for the software that they run in: it is had when the first of them is about to run, and once.

The work is done apart, so that a build goes on with what needs no new software meanwhile.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from mlmake.engine.apart import Apart
from mlmake.engine.attempt import Queued
from mlmake.engine.images import image_at
from mlmake.engine.installing import Made, Order, make
from mlmake.engine.ledger import Ledger
from mlmake.engine.outfitting import Outfit, outfit
from mlmake.engine.request import of_ours
from mlmake.engine.targets import LOCAL, Target
from mlmake.environments.base import Installed, Software
from mlmake.environments.images import fact
from mlmake.errors import StoreError
from mlmake.executors.base import Executor, Setting
from mlmake.home import Home
from mlmake.model.events import EnvironmentBuilding, EnvironmentBuilt, Sink
from mlmake.model.project import Compute, Environment, Project
from mlmake.model.step import Step
from mlmake.registry import EXECUTORS
from mlmake.state.cache import key_of_facts

Then = Callable[[Queued], None]
Fail = Callable[[Queued, str], None]
Tell = Callable[[Made], None]


@dataclass(slots=True)
class _Want:
    """Software that is wanted on a target, by its recipe where it has one, as two environments may have the same.

    `began` is when it had to be made, by the monotonic clock.
    """

    environment: Environment
    target: Target
    recipe: str
    began: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.target.name, self.recipe or self.environment.name

    @property
    def shown(self) -> str:
        return f"environment {self.environment.name}" + ("" if self.target.is_here else f" on {self.target.name}")


class Equipping:
    """Lets steps go on when their software is there; `fail` takes those for which it cannot be had.

    The message for `fail` has the installer's last words below its first line.
    """

    def __init__(
        self, project: Project, ledger: Ledger, setting: Setting, here: Target, apart: Apart, sink: Sink, fail: Fail
    ) -> None:
        self._project = project
        self._home = Home(project.root)
        self._ledger = ledger
        self._setting = setting
        self._here = here
        self._apart = apart
        self._sink = sink
        self._fail = fail
        self._waiting: dict[tuple[str, str], list[tuple[Step, Tell]]] = {}
        self._failed: dict[tuple[str, str], Made] = {}
        self._is_over = False

    def equip(self, queued: Queued, then: Then) -> None:
        """Call `then` with a step once its software is there, if it can run on this machine alone: mostly at once.

        For any other, that is done when it has a target.
        """
        targets = self._project.members(self._setting.on or queued.step.spec.compute)
        if queued.step.spec.delivers:
            then(queued)
        elif missing := self._unset(queued.step):
            self._fail(queued, missing)
        elif {*map(self._project.kind, targets)} != {LOCAL} or self.is_equipped(queued.step, self._here):
            then(queued)
        else:
            self.equip_at(queued.step, self._here, partial(self._go_on_with, queued, then))

    def is_equipped(self, step: Step, target: Target) -> bool:
        """Whether a step's software is on a target, as far as this build has asked."""
        environment = self._project.environments.get(step.spec.environment)
        if environment is None or step.spec.delivers:
            return True
        software = self._ledger.softwares.of(step.spec, target.name)
        if software.facts.missing:
            return True  # that is told when it is to start
        if target.executor.traits.containers:
            return environment.name in target.images
        if not isinstance(software, Installed):
            return True
        return not software.facts.unknown and (target.is_here or software.recipe.key in target.equipped)

    def equip_at(self, step: Step, target: Target, then: Tell) -> None:
        """Call `then` once a step's software is on a target, or cannot be had there."""
        environment = self._project.environments[step.spec.environment]
        software = self._ledger.softwares.of(step.spec, target.name)
        want = _Want(environment, target, software.recipe.key if isinstance(software, Installed) else "")
        if want.key in self._failed:
            then(self._failed[want.key])
            return
        waiting = self._waiting.setdefault(want.key, [])
        waiting.append((step, then))
        if len(waiting) == 1:
            self._apart.do(self._work(want, software), partial(self._made, want), is_slow=True)

    def drop(self) -> None:
        """Let no step go on any more, and end what is being built."""
        self._is_over = True
        self._waiting.clear()

    def _unset(self, step: Step) -> str:
        """Which secrets are not there to be handed over, in words."""
        environment = self._project.environments.get(step.spec.environment)
        names = [name for name in environment.secrets if name not in os.environ] if environment else []
        return f"environment variable {names[0]} is not set, a secret of its environment" if names else ""

    def _go_on_with(self, queued: Queued, then: Then, made: Made) -> None:
        if made.problem:
            self._fail(queued, f"{made.problem}\n{made.words}".rstrip())
        else:
            then(queued)

    def _work(self, want: _Want, software: Software) -> Callable[[], Made]:
        if not isinstance(software, Installed):
            return partial(image_at, want.target.executor, want.environment, self._project.root)
        return self._made_here(want, software) if want.target.is_here else self._made_there(want, software)

    def _made_here(self, want: _Want, software: Installed) -> Callable[[], Made]:
        """What makes it on this machine."""
        order = Order(
            name=want.environment.name,
            recipe=software.recipe,
            folder=software.folder,
            sources=software.facts.sources,
        )
        self._begin(want, order.log)
        return partial(make, order, self._project.root, partial(self._executor, want), self._go_on)

    def _made_there(self, want: _Want, software: Installed) -> Callable[[], Made]:
        """What asks a host for it, and makes it there if need be."""
        environment, target = want.environment, want.target
        log = f"{self._home.target(target.name, want.recipe)}.log"
        wanted = Outfit(
            name=environment.name,
            host=target.name,
            recipe=software.recipe,
            key=self._key(want, software),
            job=self._own(want.recipe)[:40],
            log=log,
            root=self._project.root,
            facts=software.facts,
            env=of_ours(environment.variables),
            secrets=of_ours(environment.secrets),
        )
        begin = partial(self._apart.post, partial(self._begin, want, log))
        return partial(outfit, wanted, target.executor, begin, self._go_on)

    def _key(self, want: _Want, software: Installed) -> str:
        """The name of its folder on a host: the same for all projects that wish for the same.

        Where more decides what is installed than is looked at here, it is this project's own.
        """
        facts = software.facts
        is_shared = not (facts.folders or facts.links or want.environment.variables)
        return want.recipe if is_shared else f"{want.recipe}-{self._own(want.recipe)[:8]}"

    def _own(self, key: str) -> str:
        """A digest that no other project has for the same key."""
        return key_of_facts(
            {"mlmake project": f"{socket.gethostname()}:{self._project.root}", "mlmake environment": key}
        )

    def _begin(self, want: _Want, log: str) -> None:
        want.began = time.monotonic()
        self._sink(
            EnvironmentBuilding(want.environment.name, os.path.relpath(log, self._project.root), want.target.name)
        )

    def _made(self, want: _Want, made: Made) -> None:
        """Let all that wait for it go on, or fail; where its files were edited meanwhile, another one is wanted."""
        waiting = self._waiting.pop(want.key, [])
        if want.began is not None:
            seconds = time.monotonic() - want.began
            self._sink(EnvironmentBuilt(want.environment.name, seconds, made.problem, want.target.name))
        self._note(want, made)
        self._ledger.fingerprints.look_again()
        if self._is_over:
            return
        self._failed[want.key] = made if made.problem else Made(f"{want.shown} does not stay as it was built")
        for step, then in waiting:
            if self.is_equipped(step, want.target):
                then(Made())
            else:
                self.equip_at(step, want.target, then)
        if not made.problem:
            del self._failed[want.key]

    def _note(self, want: _Want, made: Made) -> None:
        if made.image:
            want.target.images[want.environment.name] = made.image
            self._ledger.softwares.note_image(want.environment, fact(made.image))
        if made.told:
            want.target.equipped.add(want.recipe)
            self._ledger.softwares.note_environment(want.target.name, want.recipe, made.told)

    def _executor(self, want: _Want) -> Executor:
        """Its own, as the installer is to end with this build and no step is to be taken for it.

        So is its token: its jobs are numbered from one again, and none must be taken for the step's job of its number.
        """
        own = replace(self._setting, token=f"{self._setting.token}:{want.recipe}")
        executor: Executor = EXECUTORS.load(LOCAL).of(Compute(name=LOCAL, kind=LOCAL), own)
        return executor

    def _go_on(self) -> None:
        self._apart.go_on()
        if self._is_over:
            raise StoreError("the build was stopped")
