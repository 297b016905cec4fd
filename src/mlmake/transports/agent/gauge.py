"""The memory that is in use on a job's GPUs, by whomever: nvidia-smi is asked while the job runs.

A process in a container is nobody's child here, so what is asked for is not the job but its GPUs, which it has alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from . import probe

_FIRST, _EVERY = 0.2, 2.0
"""Seconds before the first look, and between two."""
_USED = ["nvidia-smi", "--query-gpu=index,uuid,memory.used", "--format=csv,noheader,nounits"]


class Gauge:
    """Looks from now on until it is closed; at nothing and by nobody for a job without GPUs.

    `peak` is the most that was seen so far, in bytes; 0 where there is no nvidia-smi, or nothing was seen.
    """

    def __init__(self, gpus: Sequence[str]) -> None:
        """`gpus` are indices, or ids as CUDA_VISIBLE_DEVICES may have them."""
        self.peak = 0
        self._gpus = tuple(gpus)
        self._closed = threading.Event()
        if gpus:
            threading.Thread(target=self._look, name="mlmake-gpus", daemon=True).start()

    def close(self) -> int:
        """Look no more; the peak."""
        self._closed.set()
        return self.peak

    def _look(self) -> None:
        pause = _FIRST
        while not self._closed.wait(pause):
            said = probe.said(_USED)
            if said is None:  # there is no nvidia-smi, or it was ended with the job
                return
            self.peak, pause = max(self.peak, used(said, self._gpus)), _EVERY


def used(said: str, gpus: Sequence[str]) -> int:
    """The bytes that are in use on some of the GPUs that nvidia-smi told of."""
    rows = [[part.strip() for part in line.split(",")] for line in said.splitlines()]
    return sum(
        int(row[2]) << 20
        for row in rows
        if len(row) == 3 and row[2].isdigit() and any(gpu == row[0] or _is_short_for(gpu, row[1]) for gpu in gpus)
    )


def _is_short_for(gpu: str, uuid: str) -> bool:
    return gpu.startswith("GPU-") and uuid.startswith(gpu)
