"""Experiments: names under which runs are kept together."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, overload

from mlmake.errors import WrongValue
from mlmake.model.submission import Asked
from mlmake.sdk.datastore import DataReference
from mlmake.sdk.environment import ScriptRunConfig
from mlmake.sdk.estimator import Estimator
from mlmake.sdk.folder import ExperimentName, WorkspaceFolder
from mlmake.sdk.interactive import PARENT, InteractiveRun
from mlmake.sdk.pipeline import Pipeline
from mlmake.sdk.runs import PipelineRun, ScriptRun, run_of
from mlmake.sdk.started import has
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
        """All that something was submitted to, unless they are in the archive."""
        with desk.opened(workspace.home) as submissions:
            every = [Experiment(workspace, name) for name in submissions.experiments()]
        return [each for each in every if not each.is_archived]

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
        self._keep(tags={**self.tags, **tags})

    @property
    def is_archived(self) -> bool:
        """Whether it is in no list."""
        entry = self.workspace.entry("experiment", self.name)
        return bool(entry and entry.body.get("archived"))

    def archive(self) -> None:
        """Leave it out of lists; its runs stay as they are."""
        self._keep(archived=True)

    def reactivate(self) -> None:
        """Have it in lists again."""
        self._keep(archived=False)

    def start_logging(self, *args: object, tags: Mapping[str, str] | None = None, **ignored: object) -> InteractiveRun:
        """A run that this process is: it logs, tags and keeps files, until its `complete`."""
        return InteractiveRun.start_in(self, tags or {})

    @overload
    def submit(self, config: Pipeline, tags: Mapping[str, str] | None = None, **kwargs: Any) -> PipelineRun: ...

    @overload
    def submit(
        self, config: ScriptRunConfig | Estimator, tags: Mapping[str, str] | None = None, **kwargs: Any
    ) -> ScriptRun: ...

    def submit(self, config: Any, tags: Mapping[str, str] | None = None, **kwargs: Any) -> Any:
        """Hand a `Pipeline`, `ScriptRunConfig` or `Estimator` over to a build that goes on by itself; returns at once.

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
        if isinstance(config, ScriptRunConfig | Estimator):
            config = config.as_script() if isinstance(config, Estimator) else config
            step = _step_of(config)
            pipeline = Pipeline(self.workspace, [step], name=table_name(step.name))
            script = ScriptRun(self, pipeline.handed_over(self, replace(asked, kind="script"), given, tags or {}))
            print(f"Submitted run {script.id}")
            return script
        if not isinstance(config, Pipeline):
            raise WrongValue(
                f"a Pipeline, ScriptRunConfig or Estimator can be submitted, not a {type(config).__name__}"
            )
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
        """Its runs, the newest first: those of a type, with a tag, with tags or properties of these values."""
        with desk.opened(self.workspace.home) as submissions:
            found = submissions.all(self.name)
        for each in found:
            run = run_of(self, each)
            if PARENT in each.asked.properties:
                continue  # it comes with the run that it is a part of
            if has(each.tags, tags) and has(each.asked.properties, properties) and type in (None, run.type):
                yield run
                yield from run.get_children(recursive=True) if include_children else ()

    def _keep(self, **about: object) -> None:
        entry = self.workspace.entry("experiment", self.name)
        told = {"tags": {}, **(entry.body if entry else {}), **about}
        self.workspace.register("experiment", self.name, told, is_new=False)

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
            inputs=[each for each in config.arguments if isinstance(each, DataReference)],
            runconfig=config,
            source_directory=config.source_directory,
            allow_reuse=False,
        )
    return CommandStep(runconfig=config, source_directory=config.source_directory, allow_reuse=False)
