"""Kind `transfer`: a file or folder from one store to another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mlmake.model.data import Location
from mlmake.model.step import Code, Step
from mlmake.model.template import Call

_MODULE = "mlmake.services.transfer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """Brings what its one input names to its one output, each on this machine or in any datastore.

    What differs moves, and is checked. No result of it is kept in the cache. See [the how-to](../how-to/transfer.md).
    """

    name: ClassVar[str] = "transfer"
    version: ClassVar[int] = 1
    delivers: ClassVar[bool] = True

    def words(self) -> tuple[str, ...]:
        return ()

    def code(self) -> Code:
        return Code()

    def argv(self, call: Call) -> tuple[str, ...]:
        """mlmake's own Python, on which no module of the project can take the place of one of ours."""
        sources = [_source(location) for locations in call.sources.values() for location in locations]
        ((name, target),) = call.targets.items()
        words = (*sources, f"--target={target.text}", f"--to={call.outputs[name].rstrip('/')}")
        return (sys.executable, "-E", "-P", "-m", _MODULE, *words)

    def problems(self, step: Step) -> Iterator[tuple[str, str]]:
        """What keeps a step from being a transfer, each with the key that it is about."""
        spec = step.spec
        if len(spec.inputs) != 1:
            yield "inputs", f"a transfer has exactly one input, not {len(spec.inputs)}: it may be a list of paths"
        if spec.metrics or len(spec.outputs) != 1:
            count = len(spec.outputs) + len(spec.metrics)
            yield "outputs", f"a transfer has exactly one output, not {count}, and no metrics"
        if spec.in_place:
            yield "in_place", "a transfer cannot be in_place: it puts each file into its place when that is whole"
        if len(step.inputs) == 1 and len(step.outputs) == 1:
            locations = [source.location for source in step.inputs[0].sources]
            for what in _mismatches(locations, step.outputs[0].location):
                yield f"outputs.{step.outputs[0].name}", what


def _source(location: Location) -> str:
    return f"--glob={location.text}" if location.pattern else f"--source={location.text}"


def _mismatches(sources: list[Location], target: Location) -> Iterator[str]:
    """Why sources cannot go to a target."""
    said, folder = repr(target.text), f"name a folder: {target.text + '/'!r}"
    many = len(sources) > 1 or any(each.is_folder or each.pattern for each in sources)
    if many and not target.is_folder:
        first = sources[0]
        what = "several files" if len(sources) > 1 else "a glob" if first.pattern else "a folder"
        yield f"{what} cannot go to the file {said}: {folder}"
    for each in sources:
        if each.pattern and each.is_folder:
            yield f"the glob {each.text!r} is for folders, and a transfer takes files: leave its last / out"
