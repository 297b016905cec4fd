"""Where `azureml.data.data_reference` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    DataReference,
)

__all__ = [
    "DataReference",
]
