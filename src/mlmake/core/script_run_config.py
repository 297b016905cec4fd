"""Where `azureml.core.script_run_config` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    ScriptRunConfig,
)

__all__ = [
    "ScriptRunConfig",
]
