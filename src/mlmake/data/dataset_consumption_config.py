"""Where `azureml.data.dataset_consumption_config` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    DatasetConsumptionConfig,
)

__all__ = [
    "DatasetConsumptionConfig",
]
