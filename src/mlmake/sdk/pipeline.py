"""A pipeline: steps, put in order by what they read and by what they are to run after."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlmake.config.dump import dump
from mlmake.config.load import parse
from mlmake.errors import MlmakeError, NotYetError, WrongValue
from mlmake.model.project import Project
from mlmake.model.submission import Asked
from mlmake.sdk.data import Made
from mlmake.sdk.datastore import Datastore
from mlmake.sdk.draft import Draft
from mlmake.sdk.folder import ExperimentName, WorkspaceFolder
from mlmake.sdk.graph import Graph, cycle_of
from mlmake.sdk.loading import PipelineFile
from mlmake.sdk.runs import PipelineRun
from mlmake.sdk.step import PipelineStep, StepSequence
from mlmake.sdk.words import table_name
from mlmake.services.submitted import desk

_KEYWORDS = {"enable_email_notification"}
NAME = "pipeline"
"""The pipeline's name in a file, where it is given none."""


class Pipeline:
    """A pipeline of `steps`: a step, an output (for the step that makes it), a list, or a `StepSequence`.

    Steps in a list run in parallel, those of a sequence one after the other. Steps that others need are taken in with
    `resolve_closure`; without, their absence is an error. `name` is that of the pipeline in a pipelines.toml; without
    one, it goes by the experiment's.
    """

    def __init__(
        self,
        workspace: WorkspaceFolder,
        steps: Any,
        description: str | None = None,
        default_datastore: Datastore | None = None,
        default_source_directory: str | None = None,
        resolve_closure: bool = True,
        _workflow_provider: object = None,
        _service_endpoint: object = None,
        *,
        name: str | None = None,
        **kwargs: object,
    ) -> None:
        _check_known(kwargs)
        self.workspace = workspace
        self.name = name
        self.description = description or ""
        self._store = default_datastore or Datastore.get_default(workspace)
        self._folder = os.path.abspath(default_source_directory or os.getcwd())
        self._after: dict[PipelineStep, dict[PipelineStep, None]] = {}
        given = list(dict.fromkeys(self._flat(steps)))
        self.steps = self._closed(given, resolve_closure)
        self._check_producers()

    @property
    def graph(self) -> Graph:
        """The steps as nodes, and what goes from one to the other."""
        draft = self._draft({})
        return Graph.of(self.steps, draft.names, self._after)

    def validate(self) -> list[str]:
        """All that is wrong with it, in words; nothing if it can be submitted."""
        if cycle := cycle_of(self.steps, self._after):
            node = Graph.of(self.steps, self._draft({}).names, self._after).node_of(cycle[0])
            return [f"Cycle detected including node {cycle[0].name}({node.node_id})"]
        try:
            self.project()
        except MlmakeError as error:
            return error.message.splitlines()
        return []

    def submit(
        self,
        experiment_name: str,
        pipeline_parameters: Mapping[str, Any] | None = None,
        continue_on_step_failure: bool = False,
        regenerate_outputs: bool = False,
        parent_run_id: str | None = None,
        credential_passthrough: object = None,
        *,
        tags: Mapping[str, str] | None = None,
        **kwargs: object,
    ) -> PipelineRun:
        """Hand it over to a build that goes on by itself; returns at once.

        `pipeline_parameters` are values by name. With `continue_on_step_failure` what does not depend on a failed step
        goes on; with `regenerate_outputs` every step runs, even if it is fresh. Raises WrongValue, UnknownName,
        ConfigError.
        """
        asked = Asked(
            keep_going=bool(continue_on_step_failure),
            force=bool(regenerate_outputs),
            properties={"azureml.pipelinerunparent": parent_run_id} if parent_run_id else {},
        )
        _check_known(kwargs)
        experiment = ExperimentName(self.workspace, experiment_name)
        run = PipelineRun(experiment, self.handed_over(experiment, asked, pipeline_parameters or {}, tags or {}))
        print(f"Submitted PipelineRun {run.id}")
        return run

    def handed_over(
        self,
        experiment: ExperimentName,
        asked: Asked,
        given: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> str:
        """Submit it as it is `asked`, which is completed here; the id of the run."""
        if experiment.workspace.root != self.workspace.root:
            raise WrongValue("the pipeline is of another workspace than the experiment")
        name = table_name(self.name or experiment.name)
        document, draft = self.document(given, name)
        asked = replace(
            asked,
            pipeline=name,
            description=self.description,
            params=document["pipelines"][name].get("params", {}),
            names={f"{name}.{slug}": step.name for step, slug in draft.names.items()},
            outputs=draft.shared_outputs(name),
            registers=draft.registers(name),
        )
        made = desk.submit(self.workspace.root, document, experiment.name, asked, tags, draft.variables)
        return made.id

    def publish(
        self,
        name: str | None = None,
        description: str | None = None,
        version: str | None = None,
        continue_on_step_failure: bool | None = None,
    ) -> Any:
        """To come. Raises NotYetError."""
        raise NotYetError("pipelines cannot be published yet", hint="save it with `save`, and build it with `mlmake`")

    @staticmethod
    def load_yaml(workspace: WorkspaceFolder, filename: str) -> Pipeline:
        """The pipeline of a file in Azure ML's YAML; paths in it are seen from the folder that it is in.

        Needs the extra `import`. Raises WrongValue, UnknownName, UsageError, NotYetError for steps that are to come.
        """
        file = PipelineFile(workspace, filename)
        return Pipeline(workspace, file.steps(), file.description, default_source_directory=file.folder)

    def save(self, path: str = "pipelines.toml", pipeline_parameters: Mapping[str, Any] | None = None) -> str:
        """Write it as a pipelines.toml that builds the same. Raises WrongValue for a file that is there already."""
        if os.path.exists(path):
            raise WrongValue(f"{path} is there already", hint="save it under another name, or remove that file first")
        document, _ = self.document(pipeline_parameters or {}, self.name or NAME)
        text = dump(document)
        parse(text.encode(), self.workspace.root)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def project(self, pipeline_parameters: Mapping[str, Any] | None = None, name: str = "") -> Project:
        """The project that a file with this pipeline would be. Raises ConfigError, WrongValue, UnknownName."""
        document, _ = self.document(pipeline_parameters or {}, name or self.name or NAME)
        return parse(dump(document).encode(), self.workspace.root)

    def document(self, given: Mapping[str, Any], name: str) -> tuple[dict[str, Any], Draft]:
        """The document of that file, with values of parameters, and how it was made. Raises WrongValue, UnknownName."""
        if cycle := cycle_of(self.steps, self._after):
            raise WrongValue(f"the steps make a cycle: {' -> '.join(step.name for step in [*cycle, cycle[0]])}")
        draft = self._draft(given)
        document = draft.document(table_name(name), self.description)
        draft.check_given()
        return document, draft

    def _draft(self, given: Mapping[str, Any]) -> Draft:
        return Draft(self.workspace, self.steps, self._after, given, self._store, self._folder)

    # The steps that were given.

    def _flat(self, given: Any) -> Iterator[PipelineStep]:
        if isinstance(given, PipelineStep):
            yield given
        elif isinstance(given, Made):
            if given.producer is None:
                raise WrongValue(f"no step makes {given.name!r}", hint="put it among the outputs of a step")
            yield given.producer
        elif isinstance(given, StepSequence):
            yield from self._in_sequence(list(given))
        elif type(given) is list:
            for each in given:
                yield from self._flat(each)
        else:
            what = type(given).__name__
            raise NotImplementedError(f"steps are a step, a list or a StepSequence, not a {what}")

    def _in_sequence(self, groups: Sequence[Any]) -> Iterator[PipelineStep]:
        before: list[PipelineStep] = []
        for group in groups:
            steps = list(self._flat(group))
            for step in steps:
                self._after.setdefault(step, {}).update(dict.fromkeys(before))
            yield from steps
            before = steps or before

    def _closed(self, given: list[PipelineStep], resolve: bool) -> list[PipelineStep]:
        found = dict.fromkeys(given)
        waiting = list(given)
        while waiting:
            step = waiting.pop()
            for above in step.predecessors():
                if above not in found and not resolve:
                    raise WrongValue(
                        f"step {step.name} needs {above.name}, which is not among the steps",
                        hint="put it there, or leave resolve_closure True",
                    )
                if above not in found:
                    found[above] = None
                    waiting.append(above)
        return list(found)

    def _check_producers(self) -> None:
        makers: dict[Made, PipelineStep] = {}
        shared: dict[str, Made] = {}
        for step in self.steps:
            for made in step.outputs:
                other = makers.setdefault(made, step)
                if (name := made.pipeline_output_name) and shared.setdefault(name, made) is not made:
                    raise WrongValue(f"two outputs of the pipeline are named {name!r}: rename one")
                if other is not step:
                    raise WrongValue(
                        f"output {made.name} of step {step.name} is already an output of step {other.name}"
                    )

    def __repr__(self) -> str:
        return f"Pipeline({[step.name for step in self.steps]})"


def _check_known(given: Mapping[str, object]) -> None:
    for keyword in given:
        if keyword not in _KEYWORDS:
            raise WrongValue(f"parameter {keyword} is not recognized for Pipeline")
