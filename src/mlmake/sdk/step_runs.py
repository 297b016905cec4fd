"""The runs of single steps."""

from __future__ import annotations

import os
from typing import Any

from mlmake import inside
from mlmake.errors import RunFailed, UnknownName
from mlmake.model.submission import Status, Submission, SubmittedStep
from mlmake.sdk.results import PortDataReference, StepRunOutput
from mlmake.sdk.started import FOREVER, Shown, StartedRun, SubmittedRun, utc
from mlmake.services.submitted import desk
from mlmake.services.submitted.explaining import Told, explained


class StepRun(StartedRun):
    """A step of a run of a pipeline."""

    kind = "azureml.StepRun"

    def __init__(self, parent: SubmittedRun, step: str, name: str) -> None:
        super().__init__(parent.experiment, f"{parent.id}.{step}", parent=parent.id)
        self.pipeline_run_id = parent.id
        self.name = name
        self.step = step
        self._pipeline_run = parent

    @property
    def parent(self) -> SubmittedRun:
        return self._pipeline_run

    @property
    def submitted(self) -> SubmittedStep:
        """What is remembered of it now."""
        self._pipeline_run.submission  # noqa: B018  # a build that has died is taken up
        found = desk.steps(self.workspace.home, self.pipeline_run_id)
        return next(each for each in found if each.step == self.step)

    @property
    def is_reused(self) -> bool:
        """Whether it did not run, as what an earlier run of it gave stands for it."""
        return self.submitted.is_reused

    def get_properties(self) -> dict[str, str]:
        """Words that never change; where it was reused, the number of the run whose results stand for it too."""
        found = self.submitted
        reused = {"azureml.reusedrunid": str(found.run)} if found.is_reused else {}
        return {**inside.properties(self.logged()), **reused}

    @property
    def type(self) -> str:
        return "azureml.ReusedStepRun" if self.is_reused else self.kind

    def get_status(self) -> str:
        """NotStarted, Running, Failed, Finished, Canceled."""
        return self.submitted.status.value

    def get_details(self) -> dict[str, Any]:
        """What is known of it, as a dict."""
        found = self.submitted
        return {
            "runId": self.id,
            "target": desk.project_of(self.workspace.home, self.pipeline_run_id).steps[self.step].spec.compute,
            "status": found.status.value,
            "startTimeUtc": utc(found.started),
            "endTimeUtc": utc(found.ended),
            "properties": self.properties,
            "error": found.message,
            "logFiles": {"STDOUT": os.path.join(self.workspace.root, found.log)} if found.log else {},
        }

    def get_details_with_logs(self) -> dict[str, Any]:
        """The same, with what it has printed."""
        return {**self.get_details(), "STDOUT": self.get_stdout_log(), "JOBLOG": self.get_job_log()}

    def get_stdout_log(self) -> str:
        """What it has printed so far: output and errors, as they came."""
        log = self.submitted.log
        try:
            with open(os.path.join(self.workspace.root, log), encoding="utf-8", errors="replace") as file:
                return file.read() if log else ""
        except OSError:
            return ""

    get_stderr_log = get_stdout_log

    def get_job_log(self) -> str:
        """What the build has said of it."""
        lines = self._pipeline_run.get_all_logs().splitlines()
        return "".join(f"{line}\n" for line in lines if f" {self.step} " in line)

    def get_outputs(self) -> dict[str, StepRunOutput]:
        """What it wrote, by output name."""
        step = desk.project_of(self.workspace.home, self.pipeline_run_id).steps[self.step]
        return {each.name: StepRunOutput(self, each.name) for each in step.outputs}

    def get_output(self, name: str) -> StepRunOutput:
        """One of its outputs. Raises UnknownName."""
        outputs = self.get_outputs()
        if name not in outputs:
            raise UnknownName(f"step {self.name} has no output {name!r}", hint=f"it has: {', '.join(outputs)}")
        return outputs[name]

    def get_output_data(self, name: str) -> PortDataReference:
        """The same, as something to download or to hand to other steps."""
        return self.get_output(name).get_port_data_reference()

    def _metrics(self) -> dict[str, Any]:
        """What it has logged, and the metrics that it declares: also while it runs, and of the run that it reuses."""
        found = self.submitted
        if found.run is None:
            return {}
        with desk.history(self.workspace.home) as runs:
            past = runs.of(found.run, self.step)
        return {**(past.metrics if past else {}), **inside.metrics(self.logged())}

    def get_tags(self) -> dict[str, str | None]:
        return inside.tags(self.logged())

    def logged(self) -> list[dict[str, Any]]:
        """The lines that it has logged."""
        return inside.entries(self._kept(self.submitted))

    def logged_for_parent(self) -> list[dict[str, Any]]:
        """The lines that it has logged for the run that it is a part of."""
        return inside.entries(self._kept(self.submitted), inside.PARENT)

    def get_file_names(self) -> list[str]:
        return sorted(inside.kept_files(self._kept(self.submitted)))

    def download_file(self, name: str, output_file_path: str | None = None) -> str:
        self._folder = self._kept(self.submitted)
        return super().download_file(name, output_file_path)

    def explain(self) -> Told:
        """Why it ran, or that it did not and whose results stand for it."""
        return explained(self.workspace.home, self.pipeline_run_id)[self.step]

    def cancel(self) -> None:
        """End the whole run that it is a part of."""
        self._pipeline_run.cancel()

    def wait_for_completion(
        self, show_output: bool = True, timeout_seconds: float = FOREVER, raise_on_error: bool = True
    ) -> str:
        """Wait for its end, or that of the run around it; its status. Raises RunFailed as `PipelineRun` does."""

        shown = Shown(self.get_stdout_log) if show_output else lambda _: None

        def look(submission: Submission) -> bool:
            shown(submission)
            return self.submitted.status.is_over

        if show_output:
            print(f"StepRunId: {self.id}")
        desk.wait(self.workspace.home, self.pipeline_run_id, min(timeout_seconds, 1e9), look)
        found = self.submitted
        if show_output:
            print(f"StepRun Status: {found.status.value}")
        if raise_on_error and found.status in (Status.FAILED, Status.CANCELED):
            what = f"step {self.name} {found.status.value.lower()}"
            raise RunFailed(f"{what}: {found.message}", error_details=found.message)
        return found.status.value

    def _put(self, what: str, name: str, value: Any, **more: Any) -> None:
        """Raise NotImplementedError: what it has logged is its script's word."""
        raise NotImplementedError("a step logs and tags from within; parent takes what is said from outside")

    def _kept(self, found: SubmittedStep) -> str:
        return self.workspace.home.keep(found.run, self.step) if found.run is not None else ""

    def __repr__(self) -> str:
        return f"StepRun({self.name!r}, {self.get_status()})"
