"""Where `azureml.data.tabular_dataset` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    TabularDataset,
)

__all__ = [
    "TabularDataset",
]
