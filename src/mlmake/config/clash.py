"""Values that would reach a step under one name: as a flag, or as a variable of its environment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from mlmake.model.step import Step

Names = tuple[str, ...]
_NO_NAME = re.compile(r"[^A-Z0-9_]")


def clashes(step: Step) -> tuple[str, ...]:
    """What is wrong with the names of a step's values; steps of one shape are looked at once."""
    spec = step.spec
    params = tuple(param.name for param in step.params)
    has_flags = getattr(spec.kind, "args", ()) is None
    return _clashes(has_flags, (*spec.inputs,), (*spec.outputs, *spec.metrics), params, (*spec.matrix,))


@lru_cache(maxsize=1000)
def _clashes(has_flags: bool, inputs: Names, outputs: Names, params: Names, matrix: Names) -> tuple[str, ...]:
    made = tuple(dict.fromkeys(outputs))  # one name in two tables has a problem of its own
    if has_flags:
        flags = [name.replace(".", "-") for name in (*inputs, *made, *params, *matrix)]
        if twice := _twice(flags):
            return tuple(f"two values would be handed over as --{flag}: rename one, or give 'args'" for flag in twice)
    spaces = {"INPUT": inputs, "OUTPUT": made, "PARAM": params, "MATRIX": matrix}
    return tuple(
        f"two values would be handed over in the variable MLMAKE_{space}_{name}: rename one"
        for space, names in spaces.items()
        for name in _twice(_NO_NAME.sub("_", each.upper()) for each in names)
    )


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
