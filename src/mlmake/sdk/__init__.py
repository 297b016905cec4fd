"""Pipelines in Python, in the shape that those of Azure ML have: a face on the same model, state and engine as
pipelines.toml.

What stands here is loaded when it is used: a step's script takes `Run` from here, and is not to wait for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PLACES = {
    "mlmake.inside": ("Run",),
    "mlmake.sdk.compute": (
        *("AmlCompute", "ComputeTarget", "ComputeTargetException", "DataFactoryCompute", "RemoteCompute"),
    ),
    "mlmake.sdk.data": (
        *("InputPortBinding", "OutputFileDatasetConfig", "OutputPortBinding", "PipelineData"),
        *("PipelineOutputFileDataset", "PipelineOutputTabularDataset", "TrainingOutput"),
    ),
    "mlmake.sdk.dataset": ("Dataset", "DatasetConsumptionConfig", "FileDataset", "PipelineDataset", "TabularDataset"),
    "mlmake.sdk.datastore": ("DataPath", "DataPathComputeBinding", "DataReference", "Datastore"),
    "mlmake.sdk.environment": (
        *("CondaDependencies", "DEFAULT_CPU_IMAGE", "DEFAULT_GPU_IMAGE", "Environment", "RunConfiguration"),
        *("DockerConfiguration", "ScriptRunConfig"),
    ),
    "mlmake.sdk.estimator": ("Estimator",),
    "mlmake.sdk.experiment": ("Experiment",),
    "mlmake.sdk.graph": ("Edge", "Graph", "Node"),
    "mlmake.sdk.model": ("Model",),
    "mlmake.sdk.module": ("InputPortDef", "Module", "ModuleVersion", "OutputPortDef", "ParamDef"),
    "mlmake.sdk.parameters": ("PipelineParameter",),
    "mlmake.sdk.pipeline": ("Pipeline",),
    "mlmake.sdk.results": ("PortDataReference", "StepRunOutput"),
    "mlmake.sdk.runs": ("PipelineRun",),
    "mlmake.sdk.step_runs": ("StepRun",),
    "mlmake.sdk.step": ("PipelineStep", "StepSequence"),
    "mlmake.sdk.steps.command": ("CommandStep",),
    "mlmake.sdk.steps.data_transfer": ("DataTransferStep",),
    "mlmake.sdk.steps.estimator": ("EstimatorStep",),
    "mlmake.sdk.steps.later": (
        *("AdlaStep", "AutoMLStep", "AzureBatchStep", "DatabricksStep", "HyperDriveStep", "KustoStep", "MpiStep"),
        *("ParallelRunConfig", "ParallelRunStep", "RScriptStep", "SynapseSparkStep"),
    ),
    "mlmake.sdk.steps.module": ("ModuleStep",),
    "mlmake.sdk.steps.python_script": ("PythonScriptStep",),
    "mlmake.sdk.words": ("VERSION",),
    "mlmake.sdk.workspace": ("Workspace",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
_RENAMED = {"ActivityFailedException": "RunFailed", "UserErrorException": "WrongValue"}

__all__ = sorted([*_MODULES, *_RENAMED])  # noqa: PLE0605  # what it is built from stands above


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        return getattr(import_module("mlmake.errors"), _RENAMED[name])
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
