"""What cannot be done is refused in words, and never left out in silence; and small things that need no run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlmake.errors import NotYetError, UnknownName
from mlmake.sdk import (
    CondaDependencies,
    DataPath,
    DataReference,
    Dataset,
    Datastore,
    DockerConfiguration,
    Environment,
    Experiment,
    InputPortBinding,
    InputPortDef,
    Module,
    ModuleStep,
    OutputFileDatasetConfig,
    ParamDef,
    Pipeline,
    PipelineData,
    PipelineParameter,
    PythonScriptStep,
    RunConfiguration,
    ScriptRunConfig,
    Workspace,
)
from projects import Folder
from workspaces import copy, workspace

Make = Callable[[Workspace], object]
NODES = {"NodeCount": PipelineParameter("nodes", 2)}


def shared(ws: Workspace) -> Pipeline:
    return Pipeline(ws, [copy(PipelineData(name, pipeline_output_name="z")) for name in "ab"])


def within(ws: Workspace) -> object:
    made = Environment("w")
    made.python.conda_dependencies = CondaDependencies(conda_dependencies_file_path="join.py")
    assert made.table(ws, "local") == {"conda": "join.py"}
    made.python.conda_dependencies.add_pip_package("z")
    return made.table(ws, "local")


def beside(ws: Workspace) -> object:
    made = Environment.from_docker_image("i", "deb:1")
    made.python.conda_dependencies.add_pip_package("z")
    return made.table(ws, "docker")


def conda(ws: Workspace) -> object:
    made = Environment("c")
    made.python.conda_dependencies.add_conda_package("z")
    return made.table(ws, "docker")


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (shared, ValueError, "two outputs of the pipeline are named 'z'"),
        (beside, ValueError, "environment 'i' is made from deb:1: put z there"),
        (within, ValueError, "environment 'w' is made from join.py: put z there"),
        (conda, NotYetError, "packages of conda in an image"),
        (lambda ws: Environment.from_docker_image("i", "deb:1", pip_requirements="r.txt"), NotYetError, "on top of an"),
        (lambda ws: Environment.from_dockerfile("i", "D", conda_specification="e.yml"), NotYetError, "on top of an"),
        (lambda ws: Environment.from_existing_conda_environment("i", "base"), NotYetError, "conda env export"),
        (
            lambda ws: PythonScriptStep("a.py", runconfig_pipeline_params=NODES),
            NotYetError,
            "NodeCount: a step runs",
        ),
        (lambda ws: ScriptRunConfig(script="a.py", distributed_job_config=1), NotYetError, "on several nodes"),
        (lambda ws: Dataset.Tabular.from_delimited_files("x", set_column_types={"a": 1}), NotYetError, "that pandas"),
        (lambda ws: Dataset.Tabular.from_sql_query("select 1"), NotYetError, "read it in a step"),
        (
            lambda ws: OutputFileDatasetConfig("x").as_upload(source_globs=["*"]),
            NotYetError,
            "leave `source_globs`",
        ),
        (lambda ws: InputPortBinding("x", PipelineData("y"), is_resource=True), NotYetError, "hand its path over"),
        (lambda ws: InputPortDef("x", is_optional=True), NotYetError, "publish two versions"),
        (lambda ws: Datastore.register_azure_file_share(ws, "s", "share", "me"), NotYetError, "mount it"),
        (lambda ws: Datastore.register_azure_sql_database(ws, "s"), NotYetError, "read it in a step"),
        (lambda ws: Experiment(ws, "a b"), ValueError, "letters, digits, _ and -"),
        (lambda ws: Experiment(ws, "e").submit(print), ValueError, "can be submitted, not a builtin"),  # type: ignore[call-overload]
    ],
)
def test_what_is_refused(place: Folder, make: Make, error: type[Exception], said: str) -> None:
    ws = workspace(place)
    with pytest.raises(error) as raised:
        make(ws)
    assert said in f"{raised.value} {getattr(raised.value, 'hint', '')}"


def test_several_nodes_are_told_when_a_pipeline_is_looked_over(place: Folder) -> None:
    config = RunConfiguration()
    config.node_count = 2
    step = PythonScriptStep("join.py", runconfig=config)
    assert Pipeline(workspace(place), step).validate() == ["step join.py: node_count 2: a step runs on one machine"]


def test_packages_in_an_image(place: Folder) -> None:
    ws = workspace(place)
    env = Environment("own")
    env.docker.base_image = "deb:1"
    assert env.table(ws, "docker") == {"image": "deb:1"}
    env.python.conda_dependencies = CondaDependencies.create(pip_packages=["a==1", "b>2"], python_version="3.12")
    assert env.table(ws, "docker") == {"dockerfile": "environments/own/Dockerfile"}
    said = 'FROM deb:1\nRUN ["python", "-m", "pip", "install", "a==1", "b>2"]\n'
    assert place.read("environments/own/Dockerfile") == said
    assert env.table(ws, "local") == {"python": "3.12", "packages": ["a==1", "b>2"]}
    env.docker.base_image = None
    env.table(ws, "docker")
    assert place.read("environments/own/Dockerfile").startswith("FROM python:3.12-slim\n")
    env.python.user_managed_dependencies = True
    assert (env.table(ws, "docker"), env.table(ws, "local")) == (None, None)
    assert ScriptRunConfig(command="true", docker_runtime_config=DockerConfiguration(True)).timeout == ""


def test_versions_of_modules_are_taken_out_of_use(place: Folder) -> None:
    ws = workspace(place, {"m/run.py": ""})
    module = Module.create(ws, "say", "says")
    for version in ("1", "2"):
        depth = ParamDef("depth", 3, is_optional=True)
        module.publish_python_script("run.py", "d", params={"n": depth}, source_directory="m", version=version)
    module.resolve("2").disable()
    assert (module.resolve().version, module.resolve("2").status) == ("1", "Disabled")
    step = ModuleStep(module, params={"n": PipelineParameter("turns", 7)})
    (found,) = Pipeline(ws, step).project({"turns": 8}).steps.values()
    assert {param.name: param.value for param in found.params} == {"n": 8}
    assert found.spec.kind.words() == ("modules/say/1/run.py",)
    newest = module.resolve("2")
    newest.enable()
    newest.set_description("better")
    module.resolve("1").deprecate()
    assert [(each.status, each.description) for each in module.module_version_list()] == [
        ("Deprecated", "d"),
        ("Active", "better"),
    ]
    assert module.resolve().version == "2"
    with pytest.raises(UnknownName, match="has no version 3"):
        module.set_default_version("3")
    module.set_description("says more")
    assert (Module.get(ws, name="say").description, newest.module_id) == ("says more", "say")


def test_datastores_and_paths(place: Folder) -> None:
    ws = workspace(place)
    store = Datastore.register(ws, "lake", "lake")
    store.set_as_default()
    reference = store.path("a/b", data_reference_name="raw")
    assert DataPath.create_from_data_reference(reference).texts() == ("lake://a/b",)
    assert store.as_download(path_on_compute="/x").texts() == store.as_mount().texts()
    assert str(reference) == str(DataReference(store, "raw")) == "$AZUREML_DATAREFERENCE_raw"
    assert ws.get_default_datastore().name == "lake"
    ws.set_default_datastore("workspaceblobstore")
    store.unregister()
    assert "lake" not in ws.datastores
