"""Where `azureml.pipeline.core` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    InputPortBinding,
    Module,
    ModuleVersion,
    OutputPortBinding,
    Pipeline,
    PipelineData,
    PipelineDataset,
    PipelineParameter,
    PipelineRun,
    PipelineStep,
    PortDataReference,
    StepRun,
    StepRunOutput,
    StepSequence,
    TrainingOutput,
)

__all__ = [
    "InputPortBinding",
    "Module",
    "ModuleVersion",
    "OutputPortBinding",
    "Pipeline",
    "PipelineData",
    "PipelineDataset",
    "PipelineParameter",
    "PipelineRun",
    "PipelineStep",
    "PortDataReference",
    "StepRun",
    "StepRunOutput",
    "StepSequence",
    "TrainingOutput",
]
