"""Time travel: what stood when a run ended comes back out of the cache, and nothing that stands now is lost by it."""

from __future__ import annotations

import os
import sqlite3
import stat as modes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mlmake.config.places import locate
from mlmake.config.problems import Wrong
from mlmake.engine.staging import Spares, Stage, stage
from mlmake.errors import UsageError
from mlmake.home import Home
from mlmake.kinds.command import Command
from mlmake.model.data import Location, Output
from mlmake.model.project import Project
from mlmake.model.run import Ending, Item, Returned, StepRun
from mlmake.model.step import Step, StepSpec
from mlmake.plan.selection import named
from mlmake.state import snapshot
from mlmake.state.cache import Cache
from mlmake.state.database import transaction
from mlmake.state.digests import Digests
from mlmake.state.elsewhere import Elsewhere
from mlmake.state.objects import EMPTY
from mlmake.state.runs import Runs

_SPEC = StepSpec(name="restore", kind=Command(command="true"))
"""What a private place wants to know of a step, though none runs."""
_NOWHERE = Location("", "")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One output to bring back, with its place; nowhere where there is none, and the problem with it, if any."""

    step: str
    item: Item
    place: Location
    problem: str = ""


def past(project: Project, runs: Runs, number: int, words: Sequence[str] = (), folder: str = "") -> dict[str, StepRun]:
    """What stood when a run ended, by step: of all steps that the project has or that the run ran, or of those named.

    Raises UsageError for a word that names no step, or none that had run by then.
    """
    good = runs.good_until(number)
    if not words:
        return {step: each for step, each in good.items() if step in project.steps or each.run == number}
    found: dict[str, StepRun] = {}
    for word in words:
        steps = [step for step in _named(project, good, word, folder) if step in good]
        if not steps:
            raise UsageError(f"{word} had not run when run {number} ended", hint="`mlmake runs` lists the runs")
        found.update((step, good[step]) for step in steps)
    return found


def _named(project: Project, good: Iterable[str], word: str, folder: str) -> list[str]:
    """Ids of the steps that a word names; they may be gone from the project since."""
    gone = [step for step in good if step not in project.steps and word in _names(step)]
    return gone or [step.id for step in named(project, [word], folder)]


def _names(step: str) -> tuple[str, ...]:
    short = step.partition(".")[2]
    return step, short, short.partition("[")[0]


class Traveller:
    """Brings outputs of past runs back. Whoever calls holds the project's lock, and has cleared up after the dead."""

    def __init__(self, project: Project, connection: sqlite3.Connection) -> None:
        self._project = project
        self._home = Home(project.root)
        self._connection = connection
        self._cache = Cache(self._home, project.cache, connection)
        self._digests = Digests(connection, elsewhere=Elsewhere(connection, project))

    def restore(self, then: Mapping[str, StepRun], *, force: bool = False, dry_run: bool = False) -> Iterator[Returned]:
        """Put what stood then into its places, output by output.

        Raises UsageError, before anything is written, if that would lose something: what stands in a place and is
        neither in the cache nor what is to come there. With `force` it is lost.
        """
        wanted = [self._judged(each) for each in self._wanted(then)]
        if not force:
            self._check_nothing_is_lost(each for each, ending in wanted if ending is Ending.RESTORED)
        if not dry_run:
            snapshot.forget(snapshot.folder_of(self._project.root))
        is_real = not dry_run
        told = [(each, ending) for each, ending in wanted if not (is_real and ending is Ending.RESTORED)]
        yield from (Returned(each.step, each.item.text, ending, each.problem) for each, ending in told)
        yield from self._brought(each for each, ending in wanted if is_real and ending is Ending.RESTORED)

    # Before.

    def _wanted(self, then: Mapping[str, StepRun]) -> Iterator[_Wanted]:
        # Where two steps wrote to one place, as when a step was renamed, the later one was the last to do so.
        runs = sorted(then.values(), key=lambda each: each.run)
        last = {item.text: (each.step, item) for each in runs for item in each.outputs}
        for step, item in last.values():
            place, problem = self._place_of(item.text)
            yield _Wanted(step, item, place, problem)

    def _place_of(self, text: str) -> tuple[Location, str]:
        try:
            location = locate(text, self._project.root, self._project.datastores)
        except Wrong as wrong:
            return _NOWHERE, wrong.what
        return (_NOWHERE, "its place is not on this machine") if location.is_remote else (location, "")

    def _judged(self, wanted: _Wanted) -> tuple[_Wanted, Ending]:
        """What is to be done about an output."""
        if wanted.problem:
            return wanted, Ending.MISSING
        stands = self._digests.of(wanted.place.path)
        if stands is not None and stands.digest == wanted.item.digest:
            return wanted, Ending.THERE
        if self._cache.objects.has(wanted.item.digest) or _is_nothing(wanted):
            return wanted, Ending.RESTORED
        return _with(wanted, self._why_not_kept(wanted)), Ending.MISSING

    def _why_not_kept(self, wanted: _Wanted) -> str:
        step = self._project.steps.get(wanted.step)
        names = [each.name for each in step.outputs if each.location.text == wanted.item.text] if step else []
        if not self._cache.policy.enabled:
            return "the cache is off, and does not have it"
        if step and any(not step.spec.caches(name) for name in names):
            return "its step says cache = false"
        if step and not step.spec.reuse:
            return "its step says reuse = false, so it is not kept"
        return "the cache does not have it any more, or never had"

    def _check_nothing_is_lost(self, coming: Iterable[_Wanted]) -> None:
        lost = [each.item.text for each in coming if not self._is_safe(each.place.path)]
        if lost:
            raise UsageError(
                "\n".join(f"{text} would be lost: what stands there now is not in the cache" for text in lost),
                hint="move it away, or say --force to lose it; nothing was restored",
            )

    def _is_safe(self, path: str) -> bool:
        """Whether what stands at a path can be had again: it is nothing, or the cache has it, whole."""
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return True  # nothing, or a link to nothing
        except OSError:
            return False
        if modes.S_ISDIR(status.st_mode) and not os.listdir(path):
            return True
        stands = self._digests.of(path)
        objects = self._cache.objects
        return stands is not None and objects.has(stands.digest) and not objects.unsound(stands.digest)

    # Bringing.

    def _brought(self, coming: Iterable[_Wanted]) -> Iterator[Returned]:
        run = next((run.number for run in Runs(self._connection).last(1)), 0) + 1  # one that no record is of
        try:
            for each in coming:
                spares = Spares()  # of its own: the outputs of a step share their private place, one after the other
                yield self._bring(stage(self._home, _step(each), run, spares), each)
                spares.close()
        finally:
            with transaction(self._connection):
                self._digests.save()

    def _bring(self, private: Stage, wanted: _Wanted) -> Returned:
        """Put one output into its place in one rename, if it is what it should be."""
        try:
            private.prepare()
            problem = self._bring_into(private.outputs[wanted.item.text], wanted)
            if not problem:
                private.commit(self._digests)
                private.finish()
                return Returned(wanted.step, wanted.item.text, Ending.RESTORED)
        except OSError as error:
            problem = f"{error.filename or wanted.place.path}: {error.strerror or error}"
        with suppress(OSError):
            private.discard()
        return Returned(wanted.step, wanted.item.text, Ending.MISSING, problem)

    def _bring_into(self, path: str, wanted: _Wanted) -> str:
        """Copy an output out of the cache; what is wrong with it, or ""."""
        objects = self._cache.objects
        objects.bring(wanted.item.digest, path, self._cache.policy.link, is_folder=wanted.place.is_folder)
        came = self._digests.of(path)
        if came is not None and came.digest == wanted.item.digest:
            return ""
        for digest, kind in objects.unsound(wanted.item.digest):
            objects.set_aside(digest, kind)
        return "it was damaged in the cache, and is set aside there"


def _with(wanted: _Wanted, problem: str) -> _Wanted:
    return _Wanted(wanted.step, wanted.item, wanted.place, problem)


def _is_nothing(wanted: _Wanted) -> bool:
    """An empty folder needs nothing of the cache."""
    return wanted.place.is_folder and wanted.item.digest == EMPTY


def _step(wanted: _Wanted) -> Step:
    """What a private place wants to know of a step that wrote one output."""
    output = Output(wanted.item.text, Location(wanted.item.text, wanted.place.path))
    return Step(id=wanted.step, name="", pipeline="", spec=_SPEC, matrix={}, inputs=(), outputs=(output,), params=())
