"""Runs that go on in the process that started them: `experiment.start_logging()`."""

from __future__ import annotations

from collections.abc import Mapping

from mlmake.errors import WrongValue
from mlmake.model.submission import Status
from mlmake.sdk.folder import ExperimentName
from mlmake.sdk.started import SubmittedRun
from mlmake.services.submitted import desk


class InteractiveRun(SubmittedRun):
    """A run that logs, tags and keeps files until `complete` or `fail`, or the end of its `with` block.

    Looked at from elsewhere, one whose process has ended without these has failed.
    """

    finished = "Completed"

    def __init__(self, experiment: ExperimentName, run_id: str, lock: int | None = None) -> None:
        super().__init__(experiment, run_id)
        self._lock = lock

    @classmethod
    def start_in(cls, experiment: ExperimentName, tags: Mapping[str, str | None]) -> InteractiveRun:
        """A new one."""
        return cls(experiment, *desk.start_here(experiment.workspace.home, experiment.name, tags))

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
