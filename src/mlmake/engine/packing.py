"""Steps as plain values, which marshal writes and reads ten times as fast as pickle does dataclasses."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from mlmake.model.data import Input, InputMode, Location, Output, Source
from mlmake.model.step import Param, Step, StepSpec

BATCH = 64
"""Step tables that are pickled together."""


class Specs:
    """What the tables say of steps, read when a step asks: pickle takes its time for each dataclass."""

    def __init__(self, batches: Sequence[bytes]) -> None:
        self._batches = batches
        self._read: dict[int, list[StepSpec]] = {}

    def __getitem__(self, place: int) -> StepSpec:
        batch, inside = divmod(place, BATCH)
        if batch not in self._read:
            self._read[batch] = pickle.loads(self._batches[batch])
        return self._read[batch][inside]


def packed(step: Step, spec: int) -> tuple[Any, ...]:
    """A step whose table has the number `spec`."""
    return (
        step.id,
        step.name,
        step.pipeline,
        spec,
        dict(step.matrix),
        [
            (each.name, [(*_flat(source.location), source.producers) for source in each.sources], each.mode.value)
            for each in step.inputs
        ],
        [(each.name, *_flat(each.location), each.is_metrics) for each in step.outputs],
        [(param.name, param.key, param.value) for param in step.params],
        step.producers,
        step.after,
    )


def _flat(location: Location) -> tuple[str, str, bool, str, bool]:
    return location.text, location.path, location.is_folder, location.pattern, location.is_remote


def unpacked(packed: tuple[Any, ...], specs: Specs) -> Step:
    """The step behind `packed`."""
    name_of, name, pipeline, spec, matrix, inputs, outputs, params, producers, after = packed
    return Step(
        id=name_of,
        name=name,
        pipeline=pipeline,
        spec=specs[spec],
        matrix=matrix,
        inputs=tuple(
            Input(own, tuple(Source(Location(*each[:5]), each[5]) for each in sources), InputMode(mode))
            for own, sources, mode in inputs
        ),
        outputs=tuple(Output(each[0], Location(*each[1:6]), each[6]) for each in outputs),
        params=tuple(Param(*each) for each in params),
        producers=producers,
        after=after,
    )
