"""Where `azureml.data` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    FileDataset,
    OutputFileDatasetConfig,
    TabularDataset,
)

__all__ = [
    "FileDataset",
    "OutputFileDatasetConfig",
    "TabularDataset",
]
