"""The compute targets of a build: each is opened when the first step wants to run there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from mlmake.engine.apart import Apart
from mlmake.engine.slots import Slots
from mlmake.errors import MlmakeError
from mlmake.executors.base import Executor, Setting
from mlmake.model.events import Connected, Connecting, Noticed, Sink
from mlmake.model.job import Finished
from mlmake.model.project import Compute, Project
from mlmake.model.run import Item
from mlmake.model.step import Step
from mlmake.registry import EXECUTORS

LOCAL = "local"
Then = Callable[[], None]


@dataclass(slots=True)
class Target:
    """A target that a build knows.

    Attributes:
        python: the interpreter there.
        path: where programs are looked for there.
        problem: why it cannot be used.
        images: environment -> id of its image, as far as this build has asked for it.
        equipped: keys of environments that stand there, likewise.
        holds: digests of inputs and outputs that it was given or has written.
    """

    name: str
    executor: Executor
    slots: Slots
    python: str = ""
    path: str = ""
    is_open: bool = False
    problem: str = ""
    is_opening: bool = False
    images: dict[str, str] = field(default_factory=dict)
    equipped: set[str] = field(default_factory=set)
    holds: set[str] = field(default_factory=set)

    @property
    def is_here(self) -> bool:
        """Its jobs see the project's own files."""
        return self.executor.traits.shared_disk

    def note(self, items: Iterable[Item]) -> None:
        """Remember what it holds; of this machine, which holds everything, nothing."""
        if not self.is_here:
            self.holds.update(item.digest for item in items)


class Targets:
    """All targets by name, pools resolved to their members."""

    def __init__(
        self,
        project: Project,
        setting: Setting,
        slots: Slots,
        apart: Apart,
        sink: Sink,
        note: Callable[[str, str], None],
    ) -> None:
        """`note` takes the name of each target that was opened, and what it says of its own software."""
        self._note = note
        self._project = project
        self._setting = replace(setting, notice=lambda text: apart.post(partial(sink, Noticed(text))))
        self._apart = apart
        self._sink = sink
        here = EXECUTORS.load(LOCAL).of(Compute(name=LOCAL, kind=LOCAL), self._setting)
        self._targets = {LOCAL: Target(LOCAL, here, slots, is_open=True)}
        self._is_over = False
        self._waiting: list[tuple[Step, Target | None, Callable[[None], None]]] = []

    def reach(self, step: Step, then: Then, first: Target | None = None) -> None:
        """Open what a step may run on; `then` is called as soon as one has what it asks for, or none will.

        Before that, it is to be known whether `first` can be used.
        """
        for target in self.wanted(step):
            self._open(target)
        if self._is_decided(step, first):
            then()
        else:
            self._waiting.append((step, first, self._apart.expect(lambda _: None if self._is_over else then())))

    def let_go(self) -> None:
        """Let no step wait for a target any longer, and none begin that does."""
        self._is_over = True
        waiting, self._waiting = self._waiting, []
        for _, _, call in waiting:
            call(None)

    def of(self, step: Step) -> list[Target]:
        """The targets that a step may run on now."""
        return [target for target in self.wanted(step) if target.is_open]

    def problem(self, step: Step) -> str:
        """Why a step has no target."""
        return "; ".join(dict.fromkeys(target.problem for target in self.wanted(step)))

    def only(self, step: Step) -> str:
        """The name of the target that a step runs on; "" where it may be one of several."""
        wanted = self.wanted(step)
        return wanted[0].name if len(wanted) == 1 else ""

    def executor(self, name: str) -> Executor:
        """That of a target which is no pool; it connects when it is asked for something."""
        return self._of(name).executor

    def drop(self, target: Target, problem: str) -> None:
        """Use a target no more."""
        target.is_open, target.problem = False, problem

    def named(self, name: str) -> Target | None:
        """A target that a step of this build may run on."""
        return self._targets.get(name)

    @property
    def here(self) -> Target:
        """This machine."""
        return self._targets[LOCAL]

    @property
    def are_full(self) -> bool:
        """No open target has a CPU free: no step needs to be tried."""
        return all(target.slots.is_full for target in self._targets.values() if target.is_open)

    def hang_up(self) -> None:
        """End the connections, so that nothing waits for a host any more; what runs here goes on."""
        for target in self._targets.values():
            if not target.is_here:
                target.executor.close()

    def close(self) -> None:
        """End what runs here, and the connections."""
        for target in self._targets.values():
            target.executor.close()

    def wanted(self, step: Step) -> list[Target]:
        """The targets that a step may run on, if they can be used."""
        name = self._setting.attached.get(step.id) or self._setting.on or step.spec.compute
        return [self._of(member) for member in self._project.members(name)]

    def _of(self, name: str) -> Target:
        if name not in self._targets:
            compute = self._project.computes.get(name, Compute(name=name, kind=LOCAL))
            own = replace(self._setting, token=f"{self._setting.token}:{name}")  # its jobs are numbered anew
            executor = EXECUTORS.load(compute.kind).of(compute, own)
            self._targets[name] = Target(name, executor, Slots(_offers(compute, {})))
        return self._targets[name]

    def _is_decided(self, step: Step, first: Target | None) -> bool:
        """A target has what a step asks for, or none is left that could have it."""
        if first and not (first.is_open or first.problem):
            return False
        targets = self.wanted(step)
        is_found = any(each.is_open and not each.slots.lacks(step.spec.resources) for each in targets)
        return is_found or all(each.is_open or each.problem for each in targets)

    def _open(self, target: Target) -> None:
        """In a thread that nobody waits for: a build goes on, and ends, without a host that gives no answer."""
        if not (target.is_open or target.problem or target.is_opening):
            target.is_opening = True
            self._sink(Connecting(target.name))
            threading.Thread(target=self._opened, args=(target,), name=f"mlmake-{target.name}", daemon=True).start()

    def _opened(self, target: Target) -> None:
        try:
            told = target.executor.connect(), ""
        except MlmakeError as error:
            told = {}, f"{error.message}{f' ({error.hint})' if error.hint else ''}"
        except OSError as error:
            told = {}, f"{target.name} cannot be used: {error}"
        except Exception as error:  # a bug must not leave the build waiting
            self._apart.fail(error)
            return
        self._apart.post(partial(self._settle, target, told))

    def _settle(self, target: Target, told: tuple[Mapping[str, object], str]) -> None:
        hello, target.problem = told
        self._sink(Connected(target.name))
        if target.problem:
            self._sink(Noticed(target.problem))
        else:
            compute = self._project.computes[target.name]
            target.slots = Slots(_offers(compute, hello))
            target.python, target.path = str(hello.get("python", "")), str(hello.get("path", ""))
            self._note(target.name, str(hello.get("software", "")))
            target.is_open = True
        decided = [each for each in self._waiting if self._is_decided(each[0], each[1])]
        self._waiting = [each for each in self._waiting if each not in decided]
        for _, _, call in decided:
            call(None)


class Watchers:
    """A thread for each target, that passes on what has finished there."""

    def __init__(
        self,
        running: Callable[[Target], Sequence[str]],
        ended: Callable[[Target, Finished], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """`running` gives the handles to wait for; `ended` and `fail` take what came of it, in the target's thread."""
        self._running = running
        self._ended = ended
        self._fail = fail
        self._threads: dict[str, tuple[Target, threading.Thread]] = {}
        self._is_closed = False

    def watch(self, target: Target) -> None:
        """Look anew at what runs on a target."""
        if target.name not in self._threads:
            thread = threading.Thread(target=self._wait, args=(target,), name=f"mlmake-wait-{target.name}", daemon=True)
            self._threads[target.name] = target, thread
            thread.start()
        target.executor.wake()

    def close(self) -> None:
        """End the threads."""
        self._is_closed = True
        for target, thread in self._threads.values():
            target.executor.wake()
            thread.join()

    def _wait(self, target: Target) -> None:
        try:
            while not self._is_closed:
                for finished in target.executor.wait(self._running(target), None):
                    self._ended(target, finished)
        except Exception as error:  # a bug must not leave the build waiting
            self._fail(error)


def _offers(compute: Compute, hello: Mapping[str, object]) -> dict[str, float]:
    """What a target offers: what its table says, and all CPUs that it has where that says nothing of them."""
    amounts = compute.offers.amounts() if compute.offers else {}
    if "cpus" not in amounts and "cpus" in hello:
        amounts["cpus"] = float(str(hello["cpus"]))
    return amounts
