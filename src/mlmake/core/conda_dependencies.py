"""Where `azureml.core.conda_dependencies` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    CondaDependencies,
)

__all__ = [
    "CondaDependencies",
]
