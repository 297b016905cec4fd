"""What cannot be done is refused in words, and never left out in silence; and small things that need no run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlmake.errors import NotYetError, UnknownName
from mlmake.inside import Run
from mlmake.sdk import (
    CondaDependencies,
    DataPath,
    DataPathComputeBinding,
    DataReference,
    Dataset,
    DatasetConsumptionConfig,
    Datastore,
    DockerConfiguration,
    Environment,
    Experiment,
    InputPortBinding,
    InputPortDef,
    Model,
    Module,
    ModuleStep,
    OutputFileDatasetConfig,
    OutputPortDef,
    ParamDef,
    Pipeline,
    PipelineData,
    PipelineDataset,
    PipelineParameter,
    PythonScriptStep,
    RunConfiguration,
    ScriptRunConfig,
    TrainingOutput,
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
        (lambda ws: InputPortBinding("x"), ValueError, "bind_object says what it is"),
        (lambda ws: PipelineData("x", output_mode="copy"), ValueError, "output_mode is mount or upload"),
        (lambda ws: DataPathComputeBinding("copy"), ValueError, "mode is mount, download or upload"),
        (lambda ws: DatasetConsumptionConfig("1x", None), ValueError, "no digit first"),
        (lambda ws: Dataset.Tabular.from_delimited_files("x").as_named_input("t").as_mount(), ValueError, "directly"),
        (lambda ws: Dataset.File.from_files("x").as_mount(), ValueError, "this dataset has no name"),
        (lambda ws: TrainingOutput("Model", iteration=1, metric="m"), ValueError, "iteration or metric, not both"),
        (lambda ws: Environment.get(ws, "none"), UnknownName, "no environment 'none'"),
        (lambda ws: Run(Experiment(ws, "e"), "x"), TypeError, "takes a run by its id"),  # type: ignore[arg-type]
        (lambda ws: Model(ws, "none"), UnknownName, "no model 'none'"),
        (lambda ws: Module.get(ws, name="none"), UnknownName, "no module 'none'"),
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
    raw, made = DataReference(ws.get_default_datastore(), "raw", "x"), PipelineData("made")
    reads, writes = InputPortDef("into", label="x"), OutputPortDef("out", default_datastore_mode="mount")
    fixed = module.publish_python_script("run.py", "d", [reads], [writes], source_directory="m", version="0.1")
    given = ["--in", raw, f"--out={made}"]
    step = ModuleStep(module_version=fixed, inputs_map={"into": raw}, outputs_map={"out": made}, arguments=given)
    (found,) = Pipeline(ws, step).project().steps.values()
    assert found.spec.kind.words()[1:] == ("--in", "{inputs.into}", "--out={outputs.out}")
    fixed.disable()
    newest = module.resolve("2")
    newest.enable()
    newest.set_description("better")
    module.resolve("1").deprecate()
    assert [(each.status, each.description) for each in module.module_version_list()] == [
        ("Disabled", "d"),
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


def test_datasets_by_name(place: Folder) -> None:
    ws = workspace(place, {"data/f/1": "", "data/f/2": ""})
    store = ws.get_default_datastore()
    files = Dataset.File.from_files([(store, "f/1"), DataPath(store, "f/2")]).register(ws, "my files", tags={"a": "b"})
    assert (files.id, files.as_mount().name, files.to_path()) == ("my files:1", "my_files", ["/1", "/2"])
    assert DatasetConsumptionConfig("x", (ws, "my files", 1)).dataset.tags == {"a": "b"}
    assert Dataset.get_by_id(ws, files.id).texts() == files.texts()
    assert PipelineDataset.is_dataset(PipelineDataset.create(files, "few").dataset)
    files.unregister_all_versions()
    with pytest.raises(UnknownName, match="no dataset 'my files'"):
        Dataset.get_by_name(ws, "my files")


def test_tables_as_frames(place: Folder) -> None:
    pytest.importorskip("pandas")
    text = {"data/t/2020/a.csv": "x;y\n1;\n2;b\n", "data/t/2021/b.csv": "x;y\n3;c\n", "data/l.jsonl": '{"x": 1}\n'}
    store = workspace(place, text).get_default_datastore()
    read = Dataset.Tabular.from_delimited_files
    by_year = read((store, "t/**/*.csv"), separator=";", partition_format="t/{year}/{name}.csv", empty_as_string=True)
    told = {"x": [1, 2, 3], "y": ["", "b", "c"], "year": ["2020", "2020", "2021"], "name": ["a", "a", "b"]}
    assert by_year.to_pandas_dataframe().to_dict("list") == told
    assert by_year.keep_columns(["year", "x"]).skip(1).take(1).to_pandas_dataframe().to_dict("list") == {
        "year": ["2020"],
        "x": [2],
    }
    plain = read((store, "t/2021/b.csv"), separator=";", header=False, infer_column_types=False)
    assert plain.to_pandas_dataframe().to_numpy().tolist() == [["x", "y"], ["3", "c"]]
    lines = Dataset.Tabular.from_json_lines_files((store, "l.jsonl"), include_path=True).to_pandas_dataframe()
    assert lines["x"].tolist() == [1]
    assert lines["Path"][0].endswith("data/l.jsonl")


def test_outside_of_a_step(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLMAKE_KEEP", raising=False)
    with Run.get_context() as run:
        run.start()
        run.log_residuals("chart", {"data": {"a": [1]}})
        run.fail("no good")
        run.complete()
    assert capsys.readouterr().out == "chart chart = {'a': [1]}\nfailed: no good\n"
    assert (run.get_properties(), run.get_tags(), run.get_file_names()) == ({}, {}, [])
    with pytest.raises(ValueError, match="is a relative path"):
        run.upload_file("../x", __file__)
    with pytest.raises(ValueError, match="is a relative path"):
        run.log_image("/x", plot=object())
    with pytest.raises(RuntimeError, match="cannot see its workspace"):
        run.experiment.workspace  # noqa: B018
