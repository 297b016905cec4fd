"""Where `azureml.data.output_dataset_config` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    OutputFileDatasetConfig,
)

__all__ = [
    "OutputFileDatasetConfig",
]
