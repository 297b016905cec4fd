"""Where `azureml.core.workspace` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Workspace,
)

__all__ = [
    "Workspace",
]
