"""Experiments: names under which runs are kept together."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, overload

from mlmake.errors import WrongValue
from mlmake.model.submission import Asked
from mlmake.sdk.environment import ScriptRunConfig
from mlmake.sdk.folder import ExperimentName, WorkspaceFolder
from mlmake.sdk.pipeline import Pipeline
from mlmake.sdk.runs import PipelineRun, ScriptRun
from mlmake.sdk.steps.command import CommandStep
from mlmake.sdk.steps.python_script import PythonScriptStep
from mlmake.sdk.words import table_name
from mlmake.services.submitted import desk

_OPTIONS = {
    "pipeline_parameters": None,
    "continue_on_step_failure": False,
    "regenerate_outputs": False,
    "parent_run_id": None,
}


class Experiment(ExperimentName):
    """The experiment `name` of a workspace; it is there as soon as something is submitted to it."""

    @staticmethod
    def list(workspace: WorkspaceFolder) -> builtins.list[Experiment]:
        """All that something was submitted to."""
        with desk.opened(workspace.home) as submissions:
            return [Experiment(workspace, name) for name in submissions.experiments()]

    @property
    def tags(self) -> dict[str, str]:
        """Its own tags."""
        entry = self.workspace.entry("experiment", self.name)
        return dict(entry.body["tags"]) if entry else {}

    def tag(self, key: str, value: str = "") -> None:
        """Put a tag."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Put several tags."""
        self.workspace.register("experiment", self.name, {"tags": {**self.tags, **tags}}, is_new=False)

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
        asked = Asked(
            keep_going=bool(options["continue_on_step_failure"]),
            force=bool(options["regenerate_outputs"]),
            properties={"azureml.pipelinerunparent": parent} if (parent := options["parent_run_id"]) else {},
        )
        given = options["pipeline_parameters"] or {}
        if isinstance(config, ScriptRunConfig):
            step = _step_of(config)
            pipeline = Pipeline(self.workspace, [step], name=table_name(step.name))
            return ScriptRun(self, pipeline.handed_over(self, replace(asked, kind="script"), given, tags or {}))
        if not isinstance(config, Pipeline):
            raise WrongValue(f"a Pipeline or a ScriptRunConfig can be submitted, not a {type(config).__name__}")
        run = PipelineRun(self, config.handed_over(self, asked, given, tags or {}))
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
