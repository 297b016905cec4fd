"""Where `azureml.core.runconfig` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    DEFAULT_CPU_IMAGE,
    DEFAULT_GPU_IMAGE,
    DockerConfiguration,
    RunConfiguration,
)

__all__ = [
    "DEFAULT_CPU_IMAGE",
    "DEFAULT_GPU_IMAGE",
    "DockerConfiguration",
    "RunConfiguration",
]
