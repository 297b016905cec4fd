"""Where `azureml.pipeline.core.module` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Module,
    ModuleVersion,
)

__all__ = [
    "Module",
    "ModuleVersion",
]
