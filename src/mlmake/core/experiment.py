"""Where `azureml.core.experiment` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Experiment,
)

__all__ = [
    "Experiment",
]
