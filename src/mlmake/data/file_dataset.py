"""Where `azureml.data.file_dataset` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    FileDataset,
)

__all__ = [
    "FileDataset",
]
