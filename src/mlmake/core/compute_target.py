"""Where `azureml.core.compute_target` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    ComputeTargetException,
)

__all__ = [
    "ComputeTargetException",
]
