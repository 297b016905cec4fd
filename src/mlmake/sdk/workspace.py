"""A workspace: its folder, and by name all that there is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from mlmake.errors import UnknownName, nearest
from mlmake.sdk.compute import ComputeTarget
from mlmake.sdk.dataset import AnyDataset, Dataset
from mlmake.sdk.datastore import Datastore
from mlmake.sdk.environment import Environment
from mlmake.sdk.experiment import Experiment
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.sdk.interactive import InteractiveRun
from mlmake.sdk.model import Model
from mlmake.sdk.runs import PipelineRun, ScriptRun, run_of
from mlmake.sdk.step_runs import StepRun
from mlmake.services.submitted import desk

T = TypeVar("T")


class Workspace(WorkspaceFolder):
    """A workspace: `from_config` finds it, `create` makes it."""

    @property
    def datastores(self) -> dict[str, Datastore]:
        """Every datastore by name."""
        return _Known("datastore", {name: Datastore(self, name) for name in self.store_tables()})

    def get_default_datastore(self) -> Datastore:
        """The datastore for what names none."""
        return Datastore(self, self.default_store)

    def set_default_datastore(self, name: str) -> None:
        """Make another datastore the default. Raises UnknownName."""
        self.datastores[name].set_as_default()

    @property
    def compute_targets(self) -> dict[str, ComputeTarget]:
        """Every compute target by name."""
        return _Known("compute target", {name: ComputeTarget(self, name) for name in self.compute_tables()})

    @property
    def experiments(self) -> dict[str, Experiment]:
        """Every experiment that something was submitted to."""
        return {each.name: each for each in Experiment.list(self)}

    @property
    def datasets(self) -> dict[str, AnyDataset]:
        """The newest version of every registered dataset."""
        return _Known("dataset", Dataset.get_all(self))

    @property
    def environments(self) -> dict[str, Environment]:
        """The newest version of every environment, those of pipelines.toml included."""
        return _Known("environment", Environment.list(self))

    @property
    def models(self) -> dict[str, Model]:
        """The newest version of every registered model."""
        return {each.name: each for each in Model.list(self, latest=True)}

    def get_run(self, run_id: str) -> PipelineRun | StepRun | ScriptRun | InteractiveRun:
        """A run by its id: of a pipeline, of a step of one, of a script, of a process. Raises UnknownName."""
        own, _, step = run_id.partition(".")
        found = desk.look(self.home, own)
        run = run_of(Experiment(self, found.experiment), found)
        if not step or not isinstance(run, PipelineRun):
            return run
        if step not in found.asked.names:
            raise UnknownName(f"run {own} has no step {step!r}")
        return StepRun(run, step, found.asked.names[step])


class _Known(dict[str, T]):
    """What there is by name; a name that is not there is told with the nearest one."""

    def __init__(self, what: str, known: Mapping[str, T]) -> None:
        super().__init__(known)
        self._what = what

    def __missing__(self, name: str) -> T:
        near = nearest(name, self)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(self) or 'none'}"
        raise UnknownName(f"no {self._what} {name!r} in this workspace", hint=hint)
