"""What steps of past runs wrote, as it was then."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Protocol

from mlmake.errors import WrongValue
from mlmake.home import Home
from mlmake.model.caching import Link
from mlmake.model.data import Location
from mlmake.model.run import Item, StepRun
from mlmake.model.submission import SubmittedStep
from mlmake.sdk.datastore import Datastore
from mlmake.sdk.files import copied, opened, removed
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.services.submitted import desk
from mlmake.state.database import empty
from mlmake.state.digests import Digests
from mlmake.state.objects import FOLDERS, Objects


class OfStep(Protocol):
    """What the outputs of a step's run ask of it."""

    name: str
    step: str
    pipeline_run_id: str
    workspace: WorkspaceFolder

    @property
    def submitted(self) -> SubmittedStep: ...


class StepRunOutput:
    """An output of a step's run."""

    def __init__(self, step_run: OfStep, name: str) -> None:
        self.step_run = step_run
        self.pipeline_run_id = step_run.pipeline_run_id
        self.name = name

    def get_port_data_reference(self) -> PortDataReference:
        """It as something to download or to hand to other steps."""
        project = desk.project_of(self.step_run.workspace.home, self.pipeline_run_id)
        output = next(each for each in project.steps[self.step_run.step].outputs if each.name == self.name)
        return PortDataReference(self.step_run, self.name, output.location)


class PortDataReference:
    """What an output of a step's run held. Other steps read what stands in its place now."""

    def __init__(self, step_run: OfStep, name: str, location: Location) -> None:
        self._step_run = step_run
        self._location = location
        self.name = name

    @property
    def datastore_name(self) -> str:
        """The datastore that it stands in; "" for the workspace's own folder."""
        return self._location.text.partition("://")[0] if "://" in self._location.text else ""

    @property
    def datastore(self) -> Datastore:
        return Datastore(self._workspace, self.datastore_name)

    @property
    def path_on_datastore(self) -> str:
        """Its path there."""
        return self._location.text.partition("://")[2].rstrip("/") or self._location.text

    _path_on_datastore = path_on_datastore

    def texts(self) -> tuple[str, ...]:
        """How pipelines.toml would say it."""
        return (self._location.text,)

    def as_mount(self) -> PortDataReference:
        """It as an input."""
        return self

    as_download = as_mount

    def download(self, local_path: str, overwrite: bool | None = None, show_progress: bool | None = None) -> int:
        """Copy what the run wrote to `local_path`, below the path that it has in its datastore; the number of files.

        Raises WrongValue where nothing has it any more.
        """
        target = os.path.join(local_path, self.path_on_datastore)
        before = {target} if os.path.lexists(target) else set()
        if before and overwrite is False:
            return 0
        item = self._item()
        self._fetch(item, target)
        return sum(len(names) for _, _, names in os.walk(target)) if os.path.isdir(target) else 1

    def _item(self) -> Item:
        """What the output held when the step had ended. Raises WrongValue where the step has not."""
        found = self._step_run.submitted
        with desk.history(self._workspace.home) as history:
            steps = history.steps_of(found.run) if found.run is not None else list[StepRun]()
        for step in steps:
            for item in step.outputs if step.step == self._step_run.step else ():
                if item.text == self._location.text:
                    return item
        raise WrongValue(f"step {self._step_run.name} has not written {self.name}: it is {found.status.value}")

    def _fetch(self, item: Item, target: str) -> None:
        if self._location.is_remote:
            self._bring(item, target)
            return
        objects = Objects(Home(self._workspace.root).cache)
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        if _content_of(self._location.path) == item.digest:
            copied(self._location.path, target)
        elif objects.has(item.digest):
            is_folder = objects.kind_of(item.digest) == FOLDERS
            removed(target)
            objects.bring(item.digest, target, Link.COPY, is_folder=is_folder)
        else:
            raise self._gone(item)

    def _bring(self, item: Item, target: str) -> None:
        """Copy out of a datastore behind a URL what still stands there."""
        with opened([self._location.text], self._workspace) as files:
            if files.versions != [item.digest]:
                raise self._gone(item)
            files.bring(target if self._location.is_folder else os.path.dirname(target), overwrite=True)

    def _gone(self, item: Item) -> WrongValue:
        return WrongValue(f"what {self._step_run.name} wrote to {item.text} is gone", hint="submit the pipeline again")

    @property
    def _workspace(self) -> WorkspaceFolder:
        return self._step_run.workspace

    def __repr__(self) -> str:
        return f"PortDataReference({self._location.text!r})"


def _content_of(path: str) -> str:
    with closing(empty()) as connection:
        found = Digests(connection, whole=False).of(path)
    return found.digest if found else ""
