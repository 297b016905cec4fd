"""Where `azureml.pipeline.core.builder` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    PipelineData,
    PipelineStep,
    StepSequence,
)

__all__ = [
    "PipelineData",
    "PipelineStep",
    "StepSequence",
]
