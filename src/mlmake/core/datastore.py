"""Where `azureml.core.datastore` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Datastore,
)

__all__ = [
    "Datastore",
]
