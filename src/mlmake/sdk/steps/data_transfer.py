"""A step that brings data from one datastore to another."""

from __future__ import annotations

from typing import Any, ClassVar

from mlmake.errors import WrongValue
from mlmake.sdk.data import Made, PipelineData
from mlmake.sdk.datastore import DataReference
from mlmake.sdk.step import Drafting, PipelineStep, port_of


class DataTransferStep(PipelineStep):
    """Brings what `source_data_reference` names to where `destination_data_reference` does; only what differs moves.

    A folder is one whose reference type is "directory", or whose path ends in a slash. `compute_target` counts for
    nothing: the machine that mlmake runs on moves the data.
    """

    kind: ClassVar[str] = "transfer"

    def __init__(
        self,
        name: str,
        source_data_reference: Any = None,
        destination_data_reference: Any = None,
        compute_target: Any = None,
        source_reference_type: str | None = None,
        destination_reference_type: str | None = None,
        allow_reuse: bool = True,
    ) -> None:
        if source_data_reference is None or destination_data_reference is None:
            raise WrongValue(f"step {name}: a transfer has a source and a destination")
        for kind in (source_reference_type, destination_reference_type):
            if kind not in (None, "file", "directory"):
                raise WrongValue(f"step {name}: a reference type is file or directory, not {kind!r}")
        is_folder = "directory" in (source_reference_type, destination_reference_type)
        self._output = _made(destination_data_reference, is_folder)
        self.allow_reuse = allow_reuse
        source = source_data_reference
        if is_folder and isinstance(source, DataReference):
            source = DataReference(source.datastore, source.name, source.path_on_datastore.rstrip("/") + "/")
        if is_folder and (made := port_of(source).made):
            made.is_directory = True
        super().__init__(name, [source], [self._output], fix_port_name_collisions=True)

    def get_output(self) -> Made:
        """What stands at the destination, for other steps to read."""
        return self._output

    def table(self, draft: Drafting) -> dict[str, Any]:
        return {"kind": "transfer", **({} if self.allow_reuse else {"reuse": False})}


def _made(destination: Any, is_folder: bool) -> Made:
    if isinstance(destination, Made):
        destination.is_directory = destination.is_directory or is_folder
        return destination
    if not isinstance(destination, DataReference):
        raise WrongValue(f"a transfer goes to a DataReference or a PipelineData, not to {destination!r}")
    made = PipelineData(destination.data_reference_name, destination.datastore)
    path = destination.path_on_datastore
    made.is_directory = is_folder or path.endswith("/") or not path
    made.destination = (destination.datastore, path)
    return made
