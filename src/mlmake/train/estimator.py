"""Where `azureml.train.estimator` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Estimator,
)

__all__ = [
    "Estimator",
]
