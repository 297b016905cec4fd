"""Runs that go on in the process that started them: `experiment.start_logging()`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlmake.errors import WrongValue
from mlmake.model.submission import Status
from mlmake.sdk.folder import ExperimentName
from mlmake.sdk.started import SubmittedRun, has
from mlmake.services.submitted import desk

PARENT = "azureml.parentrunid"
"""The property of a run that names the one that it is a part of."""


class InteractiveRun(SubmittedRun):
    """A run that logs, tags and keeps files until `complete` or `fail`, or the end of its `with` block.

    Looked at from elsewhere, one whose process has ended without these has failed.
    """

    finished = "Completed"

    def __init__(self, experiment: ExperimentName, run_id: str, lock: int | None = None) -> None:
        super().__init__(experiment, run_id)
        self._lock = lock

    @classmethod
    def start_in(
        cls, experiment: ExperimentName, tags: Mapping[str, str | None], properties: Mapping[str, str] | None = None
    ) -> InteractiveRun:
        """A new one."""
        made = desk.start_here(experiment.workspace.home, experiment.name, tags, properties or {})
        return cls(experiment, *made)

    def child_run(self, name: str | None = None, *args: object, **ignored: object) -> InteractiveRun:
        """A run of its own that is a part of this one; it ends by itself."""
        return self.start_in(self.experiment, {}, {PARENT: self.id, **({"name": name} if name else {})})

    def create_children(self, count: int) -> list[InteractiveRun]:
        """Several."""
        return [self.child_run() for _ in range(count)]

    @property
    def name(self) -> str:
        return self.properties.get("name", "")

    @property
    def parent(self) -> InteractiveRun | None:
        """The run that it is a part of, if it is one."""
        above = self.properties.get(PARENT)
        return InteractiveRun(self.experiment, above) if above else None

    def get_children(
        self,
        recursive: bool = False,
        tags: str | Mapping[str, str | None] | None = None,
        properties: Mapping[str, str] | None = None,
        type: str | None = None,
        status: str | None = None,
        **ignored: object,
    ) -> Iterator[InteractiveRun]:
        """The runs that are a part of it, the latest first; with `recursive`, their parts too."""
        with desk.opened(self.workspace.home) as submissions:
            found = submissions.all(self.experiment.name)
        for each in found:
            run = InteractiveRun(self.experiment, each.id)
            if each.asked.properties.get(PARENT) == self.id:
                is_meant = has(each.tags, tags) and has(each.asked.properties, properties)
                if is_meant and status in (None, run.status) and type in (None, run.type):
                    yield run
                yield from run.get_children(True, tags, properties, type, status) if recursive else ()

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: object = None, populate: bool = False
    ) -> dict[str, Any]:
        """What was logged; with `recursive`, that of its parts too, by ids."""
        found = super().get_metrics(name, recursive)
        for run in self.get_children() if recursive else ():
            found.update(run.get_metrics(name, recursive))
        return found

    def complete(self, _set_status: bool = True) -> None:
        """It has ended well. Raises WrongValue for a run of another process."""
        self._end(Status.FINISHED)

    def fail(self, error_details: object = None, error_code: str | None = None, _set_status: bool = True) -> None:
        """It has failed. Raises WrongValue for a run of another process."""
        self._end(Status.FAILED, str(error_details or error_code or ""))

    def get_all_logs(self) -> str:
        """Nothing: what its process prints, it prints itself."""
        return ""

    def __exit__(self, *raised: object) -> None:
        if self._lock is not None:
            self._end(*((Status.FAILED, repr(raised[1])) if raised[1] else (Status.FINISHED,)))

    def _end(self, status: Status, message: str = "") -> None:
        if self._lock is None:
            raise WrongValue(f"run {self.id} is over, or another process's: only its own may end it")
        desk.end_here(self.workspace.home, self.id, self._lock, status, message)
        self._lock = None
