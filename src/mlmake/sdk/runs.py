"""Runs that were submitted: of pipelines, of their steps, of scripts by themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlmake import inside
from mlmake.errors import RunFailed, UnknownName
from mlmake.inside import Run
from mlmake.model.submission import Status, Submission, SubmittedStep
from mlmake.sdk.results import PortDataReference, StepRunOutput, copied
from mlmake.sdk.workspace import Workspace
from mlmake.services.submitted import desk
from mlmake.services.submitted.explaining import Told, explained
from mlmake.services.submitted.place import Place

if TYPE_CHECKING:
    from mlmake.sdk.experiment import Experiment

FOREVER = sys.maxsize


class StartedRun(Run):
    """A run of a workspace, from outside."""

    def __init__(self, experiment: Experiment, id: str, folder: str = "", parent: str = "") -> None:
        super().__init__(id, folder, experiment.name, parent)
        self._of = experiment
        self.workspace: Workspace = experiment.workspace

    @property
    def experiment(self) -> Experiment:
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

    def complete(self) -> None:
        """A run ends by itself. Raises NotImplementedError."""
        raise NotImplementedError("a submitted run ends by itself; cancel() ends it early")

    fail = child_run = complete


class _Submitted(StartedRun):
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
            "startTimeUtc": _utc(found.started),
            "endTimeUtc": _utc(found.ended),
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


class PipelineRun(_Submitted):
    """A run of a pipeline."""

    def __init__(self, experiment: Experiment, run_id: str) -> None:
        super().__init__(experiment, run_id)

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> PipelineRun:
        """A run by its id. Raises UnknownName."""
        found = run_of(workspace, run_id)
        if not isinstance(found, PipelineRun):
            raise UnknownName(f"{run_id!r} is no run of a pipeline")
        return found

    def get_children(self, **ignored: object) -> Iterator[StepRun]:
        """Its steps that have started or ended, the latest first."""
        for step, name in self._steps():
            if step.status is not Status.NOT_STARTED:
                yield StepRun(self, step.step, name)

    get_steps = get_children

    def find_step_run(self, name: str) -> list[StepRun]:
        """Its steps of a name, whether they have started or not."""
        return [StepRun(self, step.step, own) for step, own in self._steps() if name in (own, step.step)]

    def get_pipeline_output(self, pipeline_output_name: str) -> PortDataReference:
        """What stands under a `pipeline_output_name`. Raises UnknownName."""
        outputs = self.submission.asked.outputs
        if pipeline_output_name not in outputs:
            known = ", ".join(outputs) or "none"
            raise UnknownName(f"no pipeline output {pipeline_output_name!r}", hint=f"there are: {known}")
        step, output = outputs[pipeline_output_name]
        return StepRun(self, step, step).get_output_data(output)

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: object = None, populate: bool = False
    ) -> dict[str, Any]:
        """Its own metrics, of which it has none; with `recursive`, those of its steps by their ids."""
        return {step.id: step.get_metrics(name) for step in self.get_children()} if recursive else {}

    def get_graph(self) -> Any:
        """Its steps, as they were submitted: the project of `mlmake`."""
        return desk.project_of(self.workspace.home, self.id)

    def explain(self) -> dict[str, Told]:
        """By step, why it ran, or that it did not and whose results stand for it."""
        names = self.submission.asked.names
        return {names.get(step, step): told for step, told in explained(self.workspace.home, self.id).items()}

    @property
    def parent(self) -> None:
        """It has none."""

    def __repr__(self) -> str:
        return f"PipelineRun({self.experiment.name!r}, {self.id!r})"


class ScriptRun(_Submitted):
    """A run of a script by itself."""

    finished = "Completed"

    def __init__(self, experiment: Experiment, run_id: str) -> None:
        super().__init__(experiment, run_id)
        ((step, name),) = self._steps()
        self._step = StepRun(PipelineRun(experiment, run_id), step.step, name)

    def get_metrics(self, name: str | None = None, **ignored: object) -> dict[str, Any]:
        """What the script has logged."""
        return self._step.get_metrics(name)

    def get_file_names(self) -> list[str]:
        return self._step.get_file_names()

    def download_file(self, name: str, output_file_path: str | None = None) -> str:
        return self._step.download_file(name, output_file_path)

    def get_all_logs(self) -> str:
        """What the script has printed so far."""
        return self._step.get_stdout_log()


class StepRun(StartedRun):
    """A step of a run of a pipeline."""

    def __init__(self, parent: PipelineRun, step: str, name: str) -> None:
        super().__init__(parent.experiment, f"{parent.id}.{step}", parent=parent.id)
        self.pipeline_run_id = parent.id
        self.name = name
        self.step = step
        self._pipeline_run = parent

    @property
    def parent(self) -> PipelineRun:
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

    @property
    def properties(self) -> dict[str, str]:
        """Where it was reused, the number of the run whose results stand for it."""
        found = self.submitted
        return {"azureml.reusedrunid": str(found.run)} if found.is_reused else {}

    def get_status(self) -> str:
        """NotStarted, Running, Failed, Finished, Canceled."""
        return self.submitted.status.value

    def get_details(self) -> dict[str, Any]:
        """What is known of it, as a dict."""
        found = self.submitted
        return {
            "runId": self.id,
            "status": found.status.value,
            "startTimeUtc": _utc(found.started),
            "endTimeUtc": _utc(found.ended),
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

    def get_metrics(self, name: str | None = None, **ignored: object) -> dict[str, Any]:
        """What it has logged, and the metrics that it declares: also while it runs, and of the run that it reuses."""
        found = self.submitted
        if found.run is None:
            return {}
        with desk.history(self.workspace.home) as runs:
            past = {each.step: each.metrics for each in runs.steps_of(found.run)}.get(self.step, {})
        metrics = {**past, **inside.metrics(inside.entries(self._kept(found)))}
        return metrics if name is None else {key: value for key, value in metrics.items() if key == name}

    def get_tags(self) -> dict[str, str | None]:
        return inside.tags(inside.entries(self._kept(self.submitted)))

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

        def look(_: Submission) -> bool:
            return self.submitted.status.is_over

        desk.wait(self.workspace.home, self.pipeline_run_id, min(timeout_seconds, 1e9), look)
        found = self.submitted
        if raise_on_error and found.status in (Status.FAILED, Status.CANCELED):
            what = f"step {self.name} {found.status.value.lower()}"
            raise RunFailed(f"{what}: {found.message}", error_details=found.message)
        return found.status.value

    def _kept(self, found: SubmittedStep) -> str:
        return self.workspace.home.keep(found.run, self.step) if found.run is not None else ""

    def __repr__(self) -> str:
        return f"StepRun({self.name!r}, {self.get_status()})"


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


def run_of(workspace: Workspace, run_id: str) -> PipelineRun | StepRun | ScriptRun:
    """A run by its id. Raises UnknownName."""
    from mlmake.sdk.experiment import Experiment

    own, _, step = run_id.partition(".")
    found = desk.look(workspace.home, own)
    experiment = Experiment(workspace, found.experiment)
    if found.asked.kind == "script":
        return ScriptRun(experiment, own)
    run = PipelineRun(experiment, own)
    if not step:
        return run
    if step not in found.asked.names:
        raise UnknownName(f"run {own} has no step {step!r}")
    return StepRun(run, step, found.asked.names[step])


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
