"""Where `azureml.data.datapath` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    DataPath,
    DataPathComputeBinding,
)

__all__ = [
    "DataPath",
    "DataPathComputeBinding",
]
