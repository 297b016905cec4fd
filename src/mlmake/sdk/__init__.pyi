"""What `mlmake.sdk` has, for type checkers and editors."""

from mlmake.errors import RunFailed as ActivityFailedException
from mlmake.errors import WrongValue as UserErrorException
from mlmake.inside import Run as Run
from mlmake.sdk.compute import AmlCompute as AmlCompute
from mlmake.sdk.compute import ComputeTarget as ComputeTarget
from mlmake.sdk.compute import ComputeTargetException as ComputeTargetException
from mlmake.sdk.compute import DataFactoryCompute as DataFactoryCompute
from mlmake.sdk.compute import RemoteCompute as RemoteCompute
from mlmake.sdk.data import InputPortBinding as InputPortBinding
from mlmake.sdk.data import OutputFileDatasetConfig as OutputFileDatasetConfig
from mlmake.sdk.data import OutputPortBinding as OutputPortBinding
from mlmake.sdk.data import PipelineData as PipelineData
from mlmake.sdk.data import PipelineOutputFileDataset as PipelineOutputFileDataset
from mlmake.sdk.data import PipelineOutputTabularDataset as PipelineOutputTabularDataset
from mlmake.sdk.data import TrainingOutput as TrainingOutput
from mlmake.sdk.dataset import Dataset as Dataset
from mlmake.sdk.dataset import DatasetConsumptionConfig as DatasetConsumptionConfig
from mlmake.sdk.dataset import FileDataset as FileDataset
from mlmake.sdk.dataset import PipelineDataset as PipelineDataset
from mlmake.sdk.dataset import TabularDataset as TabularDataset
from mlmake.sdk.datastore import DataPath as DataPath
from mlmake.sdk.datastore import DataPathComputeBinding as DataPathComputeBinding
from mlmake.sdk.datastore import DataReference as DataReference
from mlmake.sdk.datastore import Datastore as Datastore
from mlmake.sdk.environment import DEFAULT_CPU_IMAGE as DEFAULT_CPU_IMAGE
from mlmake.sdk.environment import DEFAULT_GPU_IMAGE as DEFAULT_GPU_IMAGE
from mlmake.sdk.environment import CondaDependencies as CondaDependencies
from mlmake.sdk.environment import DockerConfiguration as DockerConfiguration
from mlmake.sdk.environment import Environment as Environment
from mlmake.sdk.environment import RunConfiguration as RunConfiguration
from mlmake.sdk.environment import ScriptRunConfig as ScriptRunConfig
from mlmake.sdk.estimator import Estimator as Estimator
from mlmake.sdk.experiment import Experiment as Experiment
from mlmake.sdk.graph import Edge as Edge
from mlmake.sdk.graph import Graph as Graph
from mlmake.sdk.graph import Node as Node
from mlmake.sdk.model import Model as Model
from mlmake.sdk.module import InputPortDef as InputPortDef
from mlmake.sdk.module import Module as Module
from mlmake.sdk.module import ModuleVersion as ModuleVersion
from mlmake.sdk.module import OutputPortDef as OutputPortDef
from mlmake.sdk.module import ParamDef as ParamDef
from mlmake.sdk.parameters import PipelineParameter as PipelineParameter
from mlmake.sdk.pipeline import Pipeline as Pipeline
from mlmake.sdk.results import PortDataReference as PortDataReference
from mlmake.sdk.results import StepRunOutput as StepRunOutput
from mlmake.sdk.runs import PipelineRun as PipelineRun
from mlmake.sdk.step import PipelineStep as PipelineStep
from mlmake.sdk.step import StepSequence as StepSequence
from mlmake.sdk.step_runs import StepRun as StepRun
from mlmake.sdk.steps.command import CommandStep as CommandStep
from mlmake.sdk.steps.data_transfer import DataTransferStep as DataTransferStep
from mlmake.sdk.steps.estimator import EstimatorStep as EstimatorStep
from mlmake.sdk.steps.later import AdlaStep as AdlaStep
from mlmake.sdk.steps.later import AutoMLStep as AutoMLStep
from mlmake.sdk.steps.later import AzureBatchStep as AzureBatchStep
from mlmake.sdk.steps.later import DatabricksStep as DatabricksStep
from mlmake.sdk.steps.later import HyperDriveStep as HyperDriveStep
from mlmake.sdk.steps.later import KustoStep as KustoStep
from mlmake.sdk.steps.later import MpiStep as MpiStep
from mlmake.sdk.steps.later import ParallelRunConfig as ParallelRunConfig
from mlmake.sdk.steps.later import ParallelRunStep as ParallelRunStep
from mlmake.sdk.steps.later import RScriptStep as RScriptStep
from mlmake.sdk.steps.later import SynapseSparkStep as SynapseSparkStep
from mlmake.sdk.steps.module import ModuleStep as ModuleStep
from mlmake.sdk.steps.python_script import PythonScriptStep as PythonScriptStep
from mlmake.sdk.words import VERSION as VERSION
from mlmake.sdk.workspace import Workspace as Workspace

__all__ = [
    "DEFAULT_CPU_IMAGE",
    "DEFAULT_GPU_IMAGE",
    "VERSION",
    "ActivityFailedException",
    "AdlaStep",
    "AmlCompute",
    "AutoMLStep",
    "AzureBatchStep",
    "CommandStep",
    "ComputeTarget",
    "ComputeTargetException",
    "CondaDependencies",
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
    "Workspace",
]
