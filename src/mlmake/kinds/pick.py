"""Kind `pick`: some keys out of a file of parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mlmake.model.step import Code, Step
from mlmake.model.template import Call

_MODULE = "mlmake.services.pick"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """Writes the values that some dotted keys have in a YAML, TOML, JSON or Python file, its one input, as JSON.

    A step that reads such a file by itself has the pick as an input: it runs again only if one of these values is
    another one. As `metrics`, its output is remembered with the run. See [the how-to](../how-to/from-dvc.md).
    """

    name: ClassVar[str] = "pick"
    version: ClassVar[int] = 1

    keys: tuple[str, ...]

    def words(self) -> tuple[str, ...]:
        return self.keys

    def code(self) -> Code:
        return Code()

    def argv(self, call: Call) -> tuple[str, ...]:
        """mlmake's own Python, on which no module of the project can take the place of one of ours."""
        ((file,),) = call.inputs.values()
        (values,) = call.outputs.values()
        return (sys.executable, "-E", "-P", "-m", _MODULE, file, values, "--", *call.spliced(self.keys))

    def problems(self, step: Step) -> Iterator[tuple[str, str]]:
        """What keeps a step from being a pick, each with the key that it is about."""
        spec = step.spec
        sources = [source.location for each in step.inputs for source in each.sources]
        if len(spec.inputs) != 1 or len(sources) != 1 or sources[0].is_folder or sources[0].pattern:
            yield "inputs", "a pick has exactly one input, a file"
        if len(step.outputs) != 1:
            yield "outputs", "a pick has exactly one output; as `metrics`, runs remember its values"
        if not self.keys:
            yield "keys", "name one or more keys"
        if spec.compute != "local" or spec.environment != "system":
            yield "compute", "a pick runs on this machine, with mlmake's own Python"
