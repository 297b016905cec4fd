"""Experiments: names under which runs are kept together."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, overload

from mlmake.errors import WrongValue
from mlmake.model.submission import Asked
from mlmake.sdk.environment import ScriptRunConfig
from mlmake.sdk.pipeline import Pipeline
from mlmake.sdk.runs import PipelineRun, ScriptRun
from mlmake.sdk.steps.command import CommandStep
from mlmake.sdk.steps.python_script import PythonScriptStep
from mlmake.sdk.words import EXPERIMENT, table_name
from mlmake.sdk.workspace import Workspace
from mlmake.services.submitted import desk

_OPTIONS = {
    "pipeline_parameters": None,
    "continue_on_step_failure": False,
    "regenerate_outputs": False,
    "parent_run_id": None,
}


class Experiment:
    """The experiment `name` of a workspace; it is there as soon as something is submitted to it."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        if not EXPERIMENT.fullmatch(name):
            raise WrongValue(f"experiment {name!r}: letters, digits, _ and -, at most 255, no _ or - first")
        self.workspace = workspace
        self.name = name

    @staticmethod
    def list(workspace: Workspace) -> builtins.list[Experiment]:
        """All that something was submitted to."""
        with desk.opened(workspace.home) as submissions:
            return [Experiment(workspace, name) for name in submissions.experiments()]

    @property
    def id(self) -> str:
        return self.name

    @overload
    def submit(self, config: Pipeline, tags: Mapping[str, str] | None = None, **kwargs: Any) -> PipelineRun: ...

    @overload
    def submit(self, config: ScriptRunConfig, tags: Mapping[str, str] | None = None, **kwargs: Any) -> ScriptRun: ...

    def submit(self, config: Any, tags: Mapping[str, str] | None = None, **kwargs: Any) -> Any:
        """Hand a `Pipeline`, or a `ScriptRunConfig`, over to a build that goes on by itself; returns at once.

        For a pipeline: `pipeline_parameters` are values by name, `continue_on_step_failure` goes on with what does not
        depend on a step that failed, `regenerate_outputs` runs every step even if it is fresh.

        Raises WrongValue, UnknownName, ConfigError.
        """
        options = self._options(kwargs)
        if isinstance(config, ScriptRunConfig):
            step = _step_of(config)
            pipeline = Pipeline(self.workspace, [step], name=table_name(step.name))
            return ScriptRun(self, self._submit(pipeline, options, tags, "script"))
        if not isinstance(config, Pipeline):
            raise WrongValue(f"a Pipeline or a ScriptRunConfig can be submitted, not a {type(config).__name__}")
        run = PipelineRun(self, self._submit(config, options, tags, "pipeline"))
        print(f"Submitted PipelineRun {run.id}")
        return run

    def get_runs(
        self,
        type: str | None = None,
        tags: str | Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        include_children: bool = False,
    ) -> Iterator[Any]:
        """Its runs, the newest first: those with a tag, or with tags of these values."""
        wanted = {tags: None} if isinstance(tags, str) else dict(tags or {})
        with desk.opened(self.workspace.home) as submissions:
            found = submissions.all(self.name)
        for each in found:
            is_tagged = all(key in each.tags and value in (None, each.tags[key]) for key, value in wanted.items())
            if is_tagged and all(each.asked.properties.get(k) == v for k, v in (properties or {}).items()):
                run = (PipelineRun if each.asked.kind == "pipeline" else ScriptRun)(self, each.id)
                yield run
                yield from run.get_children() if include_children and isinstance(run, PipelineRun) else ()

    def _options(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if "pipeline_params" in kwargs:
            warnings.warn("pipeline_params is pipeline_parameters now", DeprecationWarning, stacklevel=3)
            kwargs["pipeline_parameters"] = kwargs.pop("pipeline_params")
        for name in [each for each in kwargs if each not in _OPTIONS]:
            warnings.warn(f"submit has no {name!r}: it is left out", stacklevel=3)
            del kwargs[name]
        return {**_OPTIONS, **kwargs}

    def _submit(self, pipeline: Pipeline, options: Mapping[str, Any], tags: Mapping[str, str] | None, kind: str) -> str:
        if pipeline.workspace.root != self.workspace.root:
            raise WrongValue("the pipeline is of another workspace than the experiment")
        given = options["pipeline_parameters"] or {}
        name = table_name(pipeline.name or self.name)
        document, draft = pipeline.document(given, name)
        parent = options["parent_run_id"]
        asked = Asked(
            kind=kind,
            pipeline=name,
            description=pipeline.description,
            keep_going=bool(options["continue_on_step_failure"]),
            force=bool(options["regenerate_outputs"]),
            params=document["pipelines"][name].get("params", {}),
            names={f"{name}.{slug}": step.name for step, slug in draft.names.items()},
            outputs=draft.shared_outputs(name),
            registers=draft.registers(name),
            properties={"azureml.pipelinerunparent": parent} if parent else {},
        )
        made = desk.submit(self.workspace.root, document, self.name, asked, dict(tags or {}), draft.variables)
        return made.id

    def __repr__(self) -> str:
        return f"Experiment({self.name!r})"


def _step_of(config: ScriptRunConfig) -> PythonScriptStep | CommandStep:
    """A script by itself, as a step; it runs whenever it is submitted."""
    if config.script is not None:
        return PythonScriptStep(
            config.script,
            arguments=config.arguments,
            runconfig=config,
            source_directory=config.source_directory,
            allow_reuse=False,
        )
    return CommandStep(runconfig=config, source_directory=config.source_directory, allow_reuse=False)
