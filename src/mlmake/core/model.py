"""Where `azureml.core.model` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Model,
)

__all__ = [
    "Model",
]
