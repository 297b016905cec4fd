"""Where `azureml.pipeline.core.run` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    PipelineRun,
    StepRun,
    StepRunOutput,
)

__all__ = [
    "PipelineRun",
    "StepRun",
    "StepRunOutput",
]
