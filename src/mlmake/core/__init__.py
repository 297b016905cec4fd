"""What `azureml.core` has: see `mlmake.sdk`. Each is loaded when it is used, as a step takes just `Run` from here."""

from __future__ import annotations

from typing import Any

from mlmake import sdk

__all__ = [
    "VERSION",
    "ComputeTarget",
    "Dataset",
    "Datastore",
    "Environment",
    "Experiment",
    "Model",
    "Run",
    "RunConfiguration",
    "ScriptRunConfig",
    "Workspace",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(sdk, name)
