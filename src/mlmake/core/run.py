"""Where `azureml.core.run` has it: see `mlmake.sdk`."""

from mlmake.inside import (
    Run,
)

__all__ = [
    "Run",
]
