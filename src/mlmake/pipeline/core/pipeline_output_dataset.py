"""Where `azureml.pipeline.core.pipeline_output_dataset` has it: see `mlmake.sdk`."""

from mlmake.sdk import PipelineOutputFileDataset, PipelineOutputTabularDataset

__all__ = ["PipelineOutputFileDataset", "PipelineOutputTabularDataset"]
