"""The public names, pinned; and what type checkers make of them."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlmake import core, sdk
from mlmake.core import Dataset, Datastore, Experiment, Run, Workspace
from mlmake.core.environment import Environment
from mlmake.pipeline.core import Pipeline, PipelineData, PipelineRun, StepRun
from mlmake.pipeline.steps import PythonScriptStep
from mlmake.sdk import ComputeTarget, FileDataset

if TYPE_CHECKING:
    from typing import assert_type

NAMES = [
    "ActivityFailedException",
    "AdlaStep",
    "AmlCompute",
    "AutoMLStep",
    "AzureBatchStep",
    "CommandStep",
    "ComputeTarget",
    "ComputeTargetException",
    "CondaDependencies",
    "DEFAULT_CPU_IMAGE",
    "DEFAULT_GPU_IMAGE",
    "DataFactoryCompute",
    "DataPath",
    "DataPathComputeBinding",
    "DataReference",
    "DataTransferStep",
    "DatabricksStep",
    "Dataset",
    "DatasetConsumptionConfig",
    "Datastore",
    "DockerConfiguration",
    "Edge",
    "Environment",
    "Estimator",
    "EstimatorStep",
    "Experiment",
    "FileDataset",
    "Graph",
    "HyperDriveStep",
    "InputPortBinding",
    "InputPortDef",
    "KustoStep",
    "Model",
    "Module",
    "ModuleStep",
    "ModuleVersion",
    "MpiStep",
    "Node",
    "OutputFileDatasetConfig",
    "OutputPortBinding",
    "OutputPortDef",
    "ParallelRunConfig",
    "ParallelRunStep",
    "ParamDef",
    "Pipeline",
    "PipelineData",
    "PipelineDataset",
    "PipelineOutputFileDataset",
    "PipelineOutputTabularDataset",
    "PipelineParameter",
    "PipelineRun",
    "PipelineStep",
    "PortDataReference",
    "PythonScriptStep",
    "RScriptStep",
    "RemoteCompute",
    "Run",
    "RunConfiguration",
    "ScriptRunConfig",
    "StepRun",
    "StepRunOutput",
    "StepSequence",
    "SynapseSparkStep",
    "TabularDataset",
    "TrainingOutput",
    "UserErrorException",
    "VERSION",
    "Workspace",
]
PACKAGES = {
    "core": "ComputeTarget Dataset Datastore Environment Experiment Model Run RunConfiguration ScriptRunConfig "
    "VERSION Workspace",
    "core.compute": "AmlCompute ComputeTarget ComputeTargetException DataFactoryCompute RemoteCompute",
    "core.compute_target": "ComputeTargetException",
    "core.conda_dependencies": "CondaDependencies",
    "core.dataset": "Dataset",
    "core.datastore": "Datastore",
    "core.environment": "CondaDependencies DEFAULT_CPU_IMAGE DEFAULT_GPU_IMAGE Environment",
    "core.experiment": "Experiment",
    "core.model": "Model",
    "core.run": "Run",
    "core.runconfig": "DEFAULT_CPU_IMAGE DEFAULT_GPU_IMAGE DockerConfiguration RunConfiguration",
    "core.script_run_config": "ScriptRunConfig",
    "core.workspace": "Workspace",
    "data": "FileDataset OutputFileDatasetConfig TabularDataset",
    "data.data_reference": "DataReference",
    "data.datapath": "DataPath DataPathComputeBinding",
    "data.dataset_consumption_config": "DatasetConsumptionConfig",
    "data.file_dataset": "FileDataset",
    "data.output_dataset_config": "OutputFileDatasetConfig",
    "data.tabular_dataset": "TabularDataset",
    "exceptions": "ActivityFailedException ComputeTargetException UserErrorException",
    "pipeline.core": "InputPortBinding Module ModuleVersion OutputPortBinding Pipeline PipelineData PipelineDataset "
    "PipelineParameter PipelineRun PipelineStep PortDataReference StepRun StepRunOutput StepSequence TrainingOutput",
    "pipeline.core.builder": "PipelineData PipelineStep StepSequence",
    "pipeline.core.module": "Module ModuleVersion",
    "pipeline.core.pipeline": "Pipeline",
    "pipeline.core.pipeline_output_dataset": "PipelineOutputFileDataset PipelineOutputTabularDataset",
    "pipeline.core.run": "PipelineRun StepRun StepRunOutput",
    "pipeline.core.graph": "Edge Graph InputPortDef Node OutputPortDef ParamDef PipelineParameter",
    "pipeline.steps": "AdlaStep AutoMLStep AzureBatchStep CommandStep DataTransferStep DatabricksStep EstimatorStep "
    "HyperDriveStep KustoStep ModuleStep MpiStep ParallelRunConfig ParallelRunStep PythonScriptStep RScriptStep "
    "SynapseSparkStep",
    "train.estimator": "Estimator",
}


def test_public_names() -> None:
    assert sorted(NAMES) == sdk.__all__
    assert all(getattr(sdk, name) is not None for name in NAMES)
    with pytest.raises(AttributeError):
        sdk.Nothing  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_names_of_packages(package: str) -> None:
    module = import_module(f"mlmake.{package}")
    assert sorted(module.__all__) == PACKAGES[package].split()
    assert all(getattr(module, name) is getattr(sdk, name) for name in module.__all__)


@pytest.mark.parametrize("module", [sdk, core])
def test_stubs_say_the_same(module: Any) -> None:
    tree = ast.parse(Path(module.__file__).with_suffix(".pyi").read_text())
    told = {a.asname for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert told == set(module.__all__)


def checked(ws: Workspace) -> None:
    """Code of a user, for the type checker alone."""
    store = Datastore(ws, "workspaceblobstore")
    made = PipelineData("made", datastore=store)
    step = PythonScriptStep(
        "train.py", arguments=["--out", made], outputs=[made], compute_target=ws.compute_targets["x"]
    )
    run = Experiment(ws, "e").submit(Pipeline(ws, [step]))
    if TYPE_CHECKING:
        assert_type(run, PipelineRun)
        assert_type(run.find_step_run("x"), list[StepRun])
        assert_type(ws.compute_targets["x"], ComputeTarget)
        assert_type(ws.environments["x"], Environment)
        assert_type(Dataset.File.from_files((store, "a/**")), FileDataset)
        assert_type(Run.get_context(), Run)
    PythonScriptStep("train.py", argument=[])  # type: ignore[call-arg]
    Pipeline(ws)  # type: ignore[call-arg]
