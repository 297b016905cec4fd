"""Runs of pipelines, and of scripts by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mlmake.errors import NotYetError, UnknownName, WrongValue
from mlmake.model.submission import HERE, Status, Submission
from mlmake.sdk.files import copied
from mlmake.sdk.folder import ExperimentName, WorkspaceFolder
from mlmake.sdk.graph import Graph
from mlmake.sdk.interactive import InteractiveRun
from mlmake.sdk.results import PortDataReference
from mlmake.sdk.started import SubmittedRun, has
from mlmake.sdk.step_runs import StepRun
from mlmake.services.submitted import desk
from mlmake.services.submitted.explaining import Told, explained


class PipelineRun(SubmittedRun):
    """A run of a pipeline."""

    kind = "azureml.PipelineRun"

    def __init__(self, experiment: ExperimentName, run_id: str) -> None:
        super().__init__(experiment, run_id)

    @staticmethod
    def get(workspace: WorkspaceFolder, run_id: str) -> PipelineRun:
        """A run by its id. Raises UnknownName."""
        found = desk.look(workspace.home, run_id)
        if found.asked.kind != "pipeline":
            raise UnknownName(f"{run_id!r} is no run of a pipeline")
        return PipelineRun(ExperimentName(workspace, found.experiment), run_id)

    def get_children(
        self,
        recursive: bool = False,
        tags: str | Mapping[str, str | None] | None = None,
        properties: Mapping[str, str] | None = None,
        type: str | None = None,
        status: str | None = None,
        **ignored: object,
    ) -> Iterator[StepRun]:
        """Its steps that have started or ended, the latest first: those with a tag, properties, a status."""
        for step, name in self._steps():
            if step.status is not Status.NOT_STARTED and status in (None, step.status.value):
                run = StepRun(self, step.step, name)
                is_meant = (not tags or has(run.tags, tags)) and (not properties or has(run.properties, properties))
                if is_meant and type in (None, run.type):
                    yield run

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
        """What was logged for it (`run.parent.log` in a step); with `recursive`, that of its steps too, by ids."""
        own = super().get_metrics(name, recursive)
        return {**own, **{step.id: step.get_metrics(name) for step in self.get_children()}} if recursive else own

    def _logged(self) -> list[dict[str, Any]]:
        return [*super()._logged(), *(line for step in self.get_children() for line in step.logged_for_parent())]

    def get_graph(self) -> Graph:
        """Its steps, as they were submitted."""
        asked = self.submission.asked
        return Graph.of_project(desk.project_of(self.workspace.home, self.id), asked.pipeline, asked.names)

    def save(self, path: str = "pipelines.toml") -> str:
        """Write what was submitted as a pipelines.toml. Raises WrongValue for a file that is there already."""
        if os.path.lexists(path):
            raise WrongValue(f"{path} is there already", hint="save it under another name, or remove that file first")
        return copied(self._place.document, path)

    def publish_pipeline(self, name: str, description: str, version: str, **ignored: object) -> Any:
        """To come. Raises NotYetError."""
        raise NotYetError("pipelines cannot be published yet", hint="save it with `save`, and build it with `mlmake`")

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

    kind = "azureml.scriptrun"
    finished = "Completed"

    def __init__(self, experiment: ExperimentName, run_id: str) -> None:
        super().__init__(experiment, run_id)
        ((step, name),) = self._steps()
        self._step = StepRun(PipelineRun(experiment, run_id), step.step, name)

    def _logged(self) -> list[dict[str, Any]]:
        return [*super()._logged(), *self._step.logged()]

    def get_file_names(self) -> list[str]:
        return sorted({*super().get_file_names(), *self._step.get_file_names()})

    def download_file(self, name: str, output_file_path: str | None = None) -> str:
        of_step = name in self._step.get_file_names()
        return (
            self._step.download_file(name, output_file_path)
            if of_step
            else super().download_file(name, output_file_path)
        )

    def get_all_logs(self) -> str:
        """What the script has printed so far."""
        return self._step.get_stdout_log()


def run_of(experiment: ExperimentName, found: Submission) -> PipelineRun | ScriptRun | InteractiveRun:
    """The run that a submission is."""
    if found.asked.kind == HERE:
        return InteractiveRun(experiment, found.id)
    return (PipelineRun if found.asked.kind == "pipeline" else ScriptRun)(experiment, found.id)
