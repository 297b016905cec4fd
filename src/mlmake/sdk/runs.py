"""Runs of pipelines, and of scripts by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlmake import inside
from mlmake.errors import UnknownName
from mlmake.model.project import Project
from mlmake.model.submission import Status
from mlmake.sdk.folder import ExperimentName, WorkspaceFolder
from mlmake.sdk.results import PortDataReference
from mlmake.sdk.started import SubmittedRun
from mlmake.sdk.step_runs import StepRun
from mlmake.services.submitted import desk
from mlmake.services.submitted.explaining import Told, explained


class PipelineRun(SubmittedRun):
    """A run of a pipeline."""

    def __init__(self, experiment: ExperimentName, run_id: str) -> None:
        super().__init__(experiment, run_id)

    @staticmethod
    def get(workspace: WorkspaceFolder, run_id: str) -> PipelineRun:
        """A run by its id. Raises UnknownName."""
        found = desk.look(workspace.home, run_id)
        if found.asked.kind != "pipeline":
            raise UnknownName(f"{run_id!r} is no run of a pipeline")
        return PipelineRun(ExperimentName(workspace, found.experiment), run_id)

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
        """What its steps have logged for it (`run.parent.log`); with `recursive`, those of its steps too, by ids."""
        found = inside.metrics(sorted(self._logged(), key=lambda each: each["time"]))
        own = found if name is None else {key: value for key, value in found.items() if key == name}
        if not recursive:
            return own
        return {**({self.id: own} if own else {}), **{step.id: step.get_metrics(name) for step in self.get_children()}}

    def get_tags(self) -> dict[str, str | None]:
        """Its tags, those that its steps have put included."""
        return {**inside.tags(self._logged()), **super().get_tags()}

    def _logged(self) -> list[dict[str, Any]]:
        """What its steps have logged for it."""
        return [line for step in self.get_children() for line in step.logged_for_parent()]

    def get_graph(self) -> Project:
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


class ScriptRun(SubmittedRun):
    """A run of a script by itself."""

    finished = "Completed"

    def __init__(self, experiment: ExperimentName, run_id: str) -> None:
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
