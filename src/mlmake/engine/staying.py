"""Outputs that stay on the host that made them: which may, and how they come here once somebody needs them here."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import xxhash

from mlmake.engine.apart import Apart
from mlmake.engine.ledger import Ledger
from mlmake.engine.staging import remove, rename
from mlmake.engine.targets import Targets
from mlmake.errors import HostError, LostContent
from mlmake.executors.base import Bring, Executor, Setting
from mlmake.home import Home
from mlmake.model.caching import Link
from mlmake.model.job import Entry
from mlmake.model.project import Project
from mlmake.model.step import Step
from mlmake.registry import EXECUTORS
from mlmake.state.elsewhere import Away, Readers
from mlmake.state.objects import FILES, Objects

_NEEDED = "needed"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came here, by path, or why it did not; `lost` are paths of what the host has no more."""

    here: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    problem: str = ""


class Staying:
    """Which outputs of steps need not come here: those that only steps on the same target read."""

    def __init__(self, project: Project, on: str) -> None:
        self._project = project
        self._on = on
        self._readers: Readers | None = None

    def of(self, step: Step, target: str) -> tuple[str, ...]:
        """The names of the outputs of a step on a target that may stay there."""
        compute = self._project.computes.get(target)
        if compute is None or compute.options.get("fetch") != _NEEDED or step.spec.in_place:
            return ()
        readers = self._readers = self._readers or Readers(self._project)
        local = [each for each in step.outputs if not (each.location.is_remote or each.is_metrics)]
        return tuple(each.name for each in local if self._stays(readers, each.location.path, target))

    def _stays(self, readers: Readers, path: str, target: str) -> bool:
        who = readers.of(path)
        is_read_here = any((self._on or reader.spec.compute) != target for reader in who)
        return bool(who) and not is_read_here and not readers.read_a_part(path)


class Gathering:
    """Brings outputs here that stayed elsewhere: for one step after the other, as many may want the same."""

    def __init__(self, ledger: Ledger, targets: Targets, home: Home, apart: Apart) -> None:
        self._ledger = ledger
        self._targets = targets
        self._home = home
        self._apart = apart
        self._waiting: deque[tuple[Sequence[Away], Callable[[str], None]]] = deque()
        self._is_busy = False

    def lacking(self, step: Step) -> list[Away]:
        """What must come here before a step starts: what it reads and the one target that it may run on lacks."""
        return self._ledger.strays(step, self._targets.only(step))

    def gather(self, wanted: Sequence[Away], then: Callable[[str], None]) -> None:
        """Bring it in another thread, then call `then` in the build's own, with the reason why not."""
        self._waiting.append((wanted, self._apart.expect(then)))
        self._go_on()

    def _go_on(self) -> None:
        if self._is_busy or not self._waiting:
            return
        self._is_busy = True
        wanted, then = self._waiting.popleft()
        left = self._ledger.away(away.path for away in wanted)
        executors = {away.target: self._targets.executor(away.target) for away in left}
        work = partial(gathered, left, executors, self._home, self._ledger.cache.objects)
        self._apart.do(work, partial(self._came, then), is_slow=True)

    def _came(self, then: Callable[[str], None], told: Gathered) -> None:
        self._is_busy = False
        self._ledger.came((*told.here, *told.lost))
        then(told.problem)
        self._go_on()


def brought(project: Project, wanted: Sequence[Away], ledger: Ledger, notice: Callable[[str], None]) -> str:
    """Bring outputs here and now; why not, in words."""
    setting = Setting(token=project.root, root=project.root, computes=project.computes, notice=notice)
    computes = {away.target: project.computes[away.target] for away in wanted}
    executors = {name: EXECUTORS.load(compute.kind).of(compute, setting) for name, compute in computes.items()}
    try:
        told = gathered(wanted, executors, Home(project.root), ledger.cache.objects)
    finally:
        for executor in executors.values():
            executor.close()
    ledger.came((*told.here, *told.lost))
    return told.problem


def gathered(wanted: Sequence[Away], executors: Mapping[str, Executor], home: Home, objects: Objects) -> Gathered:
    """Bring outputs into their places here; for any thread."""
    here: list[str] = []
    for away in wanted:
        try:
            _bring(away, executors[away.target], home, objects)
        except LostContent as error:
            return Gathered(tuple(here), (away.path,), f"{error.message} ({error.hint})")
        except HostError as error:
            return Gathered(tuple(here), problem=error.message)
        except OSError as error:
            return Gathered(tuple(here), problem=f"cannot bring {away.path}: {error.strerror or error}")
        here.append(away.path)
    return Gathered(tuple(here))


def _bring(away: Away, executor: Executor, home: Home, objects: Objects) -> None:
    folder = os.path.join(home.staging, f"away-{xxhash.xxh3_64_hexdigest(os.fsencode(away.path))}")
    private = os.path.join(folder, os.path.basename(away.path))
    remove(folder)
    try:
        executor.take(list(_places(away, private)), bringing(objects))
        os.makedirs(os.path.dirname(away.path), exist_ok=True)
        if not os.path.lexists(away.path):
            rename(private, away.path)
    finally:
        remove(folder)


def _places(away: Away, private: str) -> Iterator[tuple[Entry, str]]:
    """Where each file comes first; makes the folders."""
    os.makedirs(private if away.is_folder else os.path.dirname(private), exist_ok=True)
    for entry in away.entries:
        place = os.path.join(private, entry.path) if entry.path else private
        if entry.digest:
            yield entry, place
        else:
            os.makedirs(place, exist_ok=True)


def bringing(objects: Objects) -> Bring:
    """What takes contents out of the cache in place of a host's."""

    def bring(digest: str, target: str, executable: bool) -> bool:
        is_here = objects.kind_of(digest) == FILES
        if is_here:
            objects.bring_file(digest, target, Link.COPY, executable)
        return is_here

    return bring
