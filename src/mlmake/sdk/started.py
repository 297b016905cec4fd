"""Runs of a workspace, from outside; and those that are submissions of their own."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mlmake import inside
from mlmake.errors import RunFailed, UnknownName
from mlmake.inside import Run
from mlmake.model.submission import Status, Submission, SubmittedStep
from mlmake.sdk.files import copied
from mlmake.sdk.folder import ExperimentName, WorkspaceFolder
from mlmake.sdk.model import Model
from mlmake.services.submitted import desk
from mlmake.services.submitted.place import Place

FOREVER = sys.maxsize
"""Seconds to wait, where nobody says how many."""


class StartedRun(Run):
    """A run of a workspace, from outside."""

    def __init__(self, experiment: ExperimentName, id: str, folder: str = "", parent: str = "") -> None:
        super().__init__(id, folder, experiment.name, parent)
        self._of = experiment
        self.workspace: WorkspaceFolder = experiment.workspace

    @property
    def experiment(self) -> ExperimentName:
        """Its experiment."""
        return self._of

    @property
    def tags(self) -> dict[str, str | None]:
        return self.get_tags()

    def get_status(self) -> str:
        """Its status, in a word."""
        raise NotImplementedError

    def get_portal_url(self) -> str:
        """The address of its page, where one is served; the folder of the workspace else."""
        return f"file://{self.workspace.root}"

    def download_file(self, name: str, output_file_path: str | None = None) -> str:
        """Copy a file that it keeps (`outputs/model.pkl`); where it is now. Raises UnknownName."""
        files = inside.kept_files(self._folder)
        if name not in files:
            raise UnknownName(f"run {self.id} keeps no file {name!r}", hint=f"it keeps: {', '.join(files) or 'none'}")
        return copied(files[name], output_file_path or os.path.basename(name))

    def download_files(self, prefix: str = "", output_directory: str = ".") -> list[str]:
        """Copy all files that it keeps whose names begin so; where they are now."""
        files = inside.kept_files(self._folder)
        return [self.download_file(n, os.path.join(output_directory, n)) for n in files if n.startswith(prefix)]

    def register_model(self, model_name: str, model_path: str | None = None, **about: Any) -> Model:
        """Register a file that it keeps, `outputs/NAME` by default, as a new version of a model. Raises UnknownName."""
        name = model_path or f"outputs/{model_name}"
        with tempfile.TemporaryDirectory(dir=self.workspace.home.folder) as folder:
            file = self.download_file(name, os.path.join(folder, os.path.basename(name)))
            return Model.register(self.workspace, file, model_name, run_id=self.id, **about)

    def complete(self) -> None:
        """A run ends by itself. Raises NotImplementedError."""
        raise NotImplementedError("a submitted run ends by itself; cancel() ends it early")

    fail = child_run = complete


class SubmittedRun(StartedRun):
    """A run that is a submission of its own."""

    finished = Status.FINISHED.value

    @property
    def submission(self) -> Submission:
        """What is remembered of it now; if its build has died, another goes on with it."""
        return desk.look(self.workspace.home, self.id)

    @property
    def number(self) -> int:
        """It counts the runs of the workspace."""
        return self.submission.number

    @property
    def display_name(self) -> str:
        return f"{self.experiment.name} {self.number}"

    @property
    def properties(self) -> dict[str, str]:
        """Words that never change."""
        return dict(self.submission.asked.properties)

    def get_status(self) -> str:
        """NotStarted, Running, CancelRequested, Failed, Canceled, and at the end Finished (Completed for a script)."""
        status = self.submission.status
        return self.finished if status is Status.FINISHED else status.value

    def get_details(self) -> dict[str, Any]:
        """What is known of it, as a dict."""
        found = self.submission
        return {
            "runId": self.id,
            "status": self.get_status(),
            "startTimeUtc": utc(found.started),
            "endTimeUtc": utc(found.ended),
            "properties": dict(found.asked.properties),
            "parameters": dict(found.asked.params),
            "tags": dict(found.tags),
            "run": found.run,
            "error": found.message,
            "logFiles": {"build": self._place.log},
        }

    def cancel(self) -> None:
        """End it; running steps are ended too. One that has ended stays as it is."""
        desk.cancel(self.workspace.home, self.id)

    def tag(self, key: str, value: str | None = None) -> None:
        """Put a tag, or another value of one."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """Put several tags."""
        with desk.opened(self.workspace.home) as submissions:
            submissions.tag(self.id, {key: None if value is None else str(value) for key, value in tags.items()})

    def remove_tags(self, tags: Sequence[str]) -> list[str]:
        """Take tags away."""
        with desk.opened(self.workspace.home) as submissions:
            submissions.tag(self.id, {}, tags)
        return list(tags)

    def get_tags(self) -> dict[str, str | None]:
        return dict(self.submission.tags)

    def get_all_logs(self) -> str:
        """What its build has said so far."""
        return self._place.read_log()

    def wait_for_completion(
        self,
        show_output: bool = True,
        timeout_seconds: float = FOREVER,
        raise_on_error: bool = True,
        wait_post_processing: bool = False,
    ) -> Any:
        """Wait for its end; its status.

        With `show_output`, what happens is printed. After `timeout_seconds` the wait ends, the run goes on. Raises
        RunFailed (`ActivityFailedException`) where it failed or was cancelled, unless `raise_on_error` is False.
        """
        if show_output:
            print(f"{type(self).__name__}Id: {self.id}\nLink: {self.get_portal_url()}")
        shown = _Shown(self._place) if show_output else lambda _: None
        found = desk.wait(self.workspace.home, self.id, min(timeout_seconds, 1e9), shown)
        status = self.finished if found.status is Status.FINISHED else found.status.value
        if show_output:
            print(f"{type(self).__name__} Status: {status}")
        if raise_on_error and found.status in (Status.FAILED, Status.CANCELED):
            words = found.message or "it was cancelled"
            raise RunFailed(f"run {self.id} {status.lower()}: {words}", error_details=words)
        return status

    @property
    def _place(self) -> Place:
        return Place(self.workspace.home, self.id)

    def _steps(self) -> Iterator[tuple[SubmittedStep, str]]:
        """Its steps with their names, those that started last first."""
        names = self.submission.asked.names
        steps = desk.steps(self.workspace.home, self.id)
        for step in sorted(steps, key=lambda each: each.started or 0.0, reverse=True):
            yield step, names.get(step.step, step.step.partition(".")[2])


class _Shown:
    """Prints what a build says, as it comes."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._shown = 0

    def __call__(self, _: Submission) -> bool:
        text = self._place.read_log()
        print(text[self._shown :], end="", flush=True)
        self._shown = len(text)
        return False


def utc(seconds: float | None) -> str | None:
    """A moment in ISO 8601, as UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
