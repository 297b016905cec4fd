"""Runs of a workspace, from outside; and those that are submissions of their own."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

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

    kind: ClassVar[str] = ""

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

    @property
    def status(self) -> str:
        return self.get_status()

    @property
    def properties(self) -> dict[str, str]:
        return self.get_properties()

    @property
    def type(self) -> str:
        """What it is a run of, in Azure's words."""
        return self.kind

    def get_children(
        self,
        recursive: bool = False,
        tags: str | Mapping[str, str | None] | None = None,
        properties: Mapping[str, str] | None = None,
        type: str | None = None,
        status: str | None = None,
        **ignored: object,
    ) -> Iterator[Any]:
        """Runs that it is made of: those with a tag, properties, a type, a status."""
        return iter(())

    def get_details_with_logs(self) -> dict[str, Any]:
        """What is known of it, with what was said."""
        raise NotImplementedError

    def get_portal_url(self) -> str:
        """The address of its page, where one is served; the folder of the workspace else."""
        return self.experiment.get_portal_url()

    def download_file(self, name: str, output_file_path: str | None = None) -> str:
        """Copy a file that it keeps (`outputs/model.pkl`); where it is now. Raises UnknownName."""
        files = inside.kept_files(self._folder)
        if name not in files:
            raise UnknownName(f"run {self.id} keeps no file {name!r}", hint=f"it keeps: {', '.join(files) or 'none'}")
        return copied(files[name], output_file_path or os.path.basename(name))

    def download_files(self, prefix: str | None = None, output_directory: str | None = None) -> list[str]:
        """Copy all files that it keeps whose names begin so; where they are now."""
        names = [name for name in self.get_file_names() if name.startswith(prefix or "")]
        return [self.download_file(name, os.path.join(output_directory or ".", name)) for name in names]

    def register_model(self, model_name: str, model_path: str | None = None, **about: Any) -> Model:
        """Register a file or folder that it keeps, `outputs/NAME` by default, as a new version of a model.

        Raises UnknownName.
        """
        name = (model_path or f"outputs/{model_name}").rstrip("/")
        with tempfile.TemporaryDirectory(dir=self.workspace.home.folder) as folder:
            if not self.download_files(f"{name}/", folder):
                self.download_file(name, os.path.join(folder, name))
            return Model.register(self.workspace, os.path.join(folder, name), model_name, run_id=self.id, **about)

    def complete(self, _set_status: bool = True) -> None:
        """A run ends by itself. Raises NotImplementedError."""
        raise NotImplementedError("a submitted run ends by itself; cancel() ends it early")

    def fail(self, error_details: object = None, error_code: str | None = None, _set_status: bool = True) -> None:
        """The same."""
        self.complete()


class SubmittedRun(StartedRun):
    """A run that is a submission of its own."""

    finished = Status.FINISHED.value

    def __init__(self, experiment: ExperimentName, id: str) -> None:
        super().__init__(experiment, id, Place(experiment.workspace.home, id).kept)

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

    def get_properties(self) -> dict[str, str]:
        """Words that never change."""
        return {**inside.properties(self._logged()), **self.submission.asked.properties}

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
            "properties": self.get_properties(),
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

    def remove_tags(self, tags: str | Iterable[str]) -> None:
        """Take tags away."""
        with desk.opened(self.workspace.home) as submissions:
            submissions.tag(self.id, {}, [tags] if isinstance(tags, str) else list(tags))

    def get_tags(self) -> dict[str, str | None]:
        """Its tags, those that its steps have put included."""
        return {**inside.tags(self._logged()), **self.submission.tags}

    def add_properties(self, properties: Mapping[str, str]) -> None:
        """Words that never change: what a name was given first, it keeps."""
        with desk.opened(self.workspace.home) as submissions:
            submissions.put_properties(self.id, {name: str(value) for name, value in properties.items()})

    def _metrics(self) -> dict[str, Any]:
        return inside.metrics(sorted(self._logged(), key=lambda each: each["time"]))

    def _logged(self) -> list[dict[str, Any]]:
        """What was logged for it: from outside, and by its steps."""
        return inside.entries(self._folder)

    def get_details_with_logs(self) -> dict[str, Any]:
        return {**self.get_details(), "log": self.get_all_logs()}

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
        shown = Shown(self.get_all_logs) if show_output else lambda _: None
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


class Shown:
    """Prints what is said, as it comes."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read
        self._shown = 0

    def __call__(self, _: Submission) -> bool:
        text = self._read()
        print(text[self._shown :], end="", flush=True)
        self._shown = len(text)
        return False


def has(found: Mapping[str, str | None], wanted: str | Mapping[str, str | None] | None) -> bool:
    """Whether there is a tag of a name, or all tags of these names and values; None is any value."""
    asked = {wanted: None} if isinstance(wanted, str) else dict(wanted or {})
    return all(key in found and value in (None, found[key]) for key, value in asked.items())


def utc(seconds: float | None) -> str | None:
    """A moment in ISO 8601, as UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
