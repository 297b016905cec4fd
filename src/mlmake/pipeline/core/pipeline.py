"""Where `azureml.pipeline.core.pipeline` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Pipeline,
)

__all__ = [
    "Pipeline",
]
