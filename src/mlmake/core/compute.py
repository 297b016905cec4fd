"""Where `azureml.core.compute` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    AmlCompute,
    ComputeTarget,
    ComputeTargetException,
    DataFactoryCompute,
    RemoteCompute,
)

__all__ = [
    "AmlCompute",
    "ComputeTarget",
    "ComputeTargetException",
    "DataFactoryCompute",
    "RemoteCompute",
]
