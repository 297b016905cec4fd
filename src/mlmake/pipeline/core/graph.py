"""Where `azureml.pipeline.core.graph` has it: see `mlmake.sdk`."""

from mlmake.sdk import (
    Edge,
    Graph,
    InputPortDef,
    Node,
    OutputPortDef,
    ParamDef,
    PipelineParameter,
)

__all__ = [
    "Edge",
    "Graph",
    "InputPortDef",
    "Node",
    "OutputPortDef",
    "ParamDef",
    "PipelineParameter",
]
