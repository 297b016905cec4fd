"""How far a step's data has come: counted in the threads that fetch it, told in the build's own now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial

from mlmake.engine.apart import Apart
from mlmake.model.events import Sink, StepFetching
from mlmake.model.step import Step
from mlmake.state.mirror import Need

_PAUSE = 0.2
"""Seconds between two events of one step."""


class Meter:
    """A progress to hand to a store."""

    def __init__(self, step: Step, needed: Sequence[Need], apart: Apart, sink: Sink) -> None:
        self._step = step.id
        self._total = sum(wanted.file.entry.size for need in needed for wanted in need.files)
        self._apart = apart
        self._sink = sink
        self._moved = 0
        self._told = time.monotonic()
        self._lock = threading.Lock()
        sink(StepFetching(step.id, 0, self._total))

    def __call__(self, moved: int) -> None:
        """So many bytes more have come. Raises StoreError once the build is to stop."""
        self._apart.go_on()
        with self._lock:
            self._moved += moved
            if time.monotonic() - self._told < _PAUSE:
                return
            self._told = time.monotonic()
            event = StepFetching(self._step, self._moved, self._total)
        self._apart.post(partial(self._sink, event))
