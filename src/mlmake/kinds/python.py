"""Kind `python`: a script, run by the environment's interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mlmake.model.step import Code
from mlmake.model.template import Call, as_words


@dataclass(frozen=True, kw_only=True, slots=True)
class Python:
    """A Python script with arguments; without `args` it gets `--name value` for everything declared."""

    name: ClassVar[str] = "python"
    version: ClassVar[int] = 1

    script: str
    args: tuple[str, ...] | None = None

    def words(self) -> tuple[str, ...]:
        return (self.script, *(self.args or ()), *(("--flags",) if self.args is None else ()))

    def code(self) -> Code:
        return Code(scripts=(self.script,))

    def argv(self, call: Call) -> tuple[str, ...]:
        args = _flags(call) if self.args is None else call.spliced(self.args)
        return (call.python, "-u", self.script, *args)


def _flags(call: Call) -> Iterator[str]:
    for name, paths in call.inputs.items():
        yield from (f"--{name}", *paths)
    for name, path in call.outputs.items():
        yield from (f"--{name}", path)
    for name, value in [*call.params.items(), *call.matrix.items()]:
        yield from (f"--{name.replace('.', '-')}", *as_words(value))
