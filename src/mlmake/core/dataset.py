"""Where `azureml.core.dataset` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Dataset,
)

__all__ = [
    "Dataset",
]
