"""Where `azureml.core.environment` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Environment,
)

__all__ = [
    "Environment",
]
