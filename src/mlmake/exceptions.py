"""Where `azureml.exceptions` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    ActivityFailedException,
    ComputeTargetException,
    UserErrorException,
)

__all__ = [
    "ActivityFailedException",
    "ComputeTargetException",
    "UserErrorException",
]
