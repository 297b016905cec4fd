"""What a pipeline is: its steps, their order, and the file that says the same."""

from __future__ import annotations

import sys
import traceback
from datetime import datetime

import pytest

from mlmake.config.load import load, parse
from mlmake.core import Run
from mlmake.errors import NotYetError, UnknownName, UsageError, WrongValue
from mlmake.sdk import (
    AmlCompute,
    CommandStep,
    ComputeTarget,
    ComputeTargetException,
    CondaDependencies,
    DataPath,
    DataPathComputeBinding,
    DataReference,
    Dataset,
    DatasetConsumptionConfig,
    Datastore,
    DataTransferStep,
    Environment,
    Estimator,
    EstimatorStep,
    Experiment,
    HyperDriveStep,
    OutputFileDatasetConfig,
    Pipeline,
    PipelineData,
    PipelineParameter,
    PythonScriptStep,
    RemoteCompute,
    RunConfiguration,
    StepSequence,
    UserErrorException,
    Workspace,
)
from mlmake.state.declared import declared_facts
from projects import Folder
from servers import Lake
from workspaces import copy, workspace


def chain(ws: Workspace) -> tuple[PythonScriptStep, PythonScriptStep, PipelineData]:
    first, second = PipelineData("first"), PipelineData("second")
    one = copy(first, "a", name="one")
    return one, copy(second, "b", reads=first, name="two"), second


def names(pipeline: Pipeline) -> list[str]:
    return [step.name for step in pipeline.steps]


def upstream(pipeline: Pipeline) -> dict[str, set[str]]:
    steps = pipeline.project().steps.values()
    return {each.name: {other.partition(".")[2] for other in each.upstream} for each in steps}


def test_a_step_here_and_in_the_file_are_the_same(place: Folder) -> None:
    ws = workspace(place, {"data/20news.pkl": "x", "steps/train.py": "import used", "steps/used.py": ""})
    reads = DataReference(ws.get_default_datastore(), "test_data", "20news.pkl")
    made = PipelineData("model", output_name="fitted")
    rate = PipelineParameter("rate", 0.5)
    step = PythonScriptStep(
        "train.py",
        arguments=["--in", reads, "--out", made, "--rate", rate, 7, "{x} {inputs.y}"],
        inputs=[reads],
        outputs=[made],
        source_directory="steps",
    )
    ours = Pipeline(ws, step, name="train").project().steps["train.train"]
    place.toml("""
        [datastores]
        workspaceblobstore = "data"
        [pipelines.train.params]
        rate = 0.5
        [pipelines.train.steps.train]
        script = "steps/train.py"
        args = ["--in", "{inputs.test_data}", "--out", "{outputs.fitted}", "--rate", "{params.rate}", "7",
                "{x} {{inputs.y}}"]
        inputs = { test_data = "workspaceblobstore://20news.pkl" }
        outputs = { fitted = "workspaceblobstore://azureml/train/fitted" }
    """)
    theirs = load(str(place.root)).steps["train.train"]
    assert ours == theirs
    assert declared_facts(ours.spec) == declared_facts(theirs.spec)


def test_a_saved_pipeline_builds_and_says_the_same(place: Folder) -> None:
    ws = workspace(place)
    one, two, _ = chain(ws)
    pipeline = Pipeline(ws, [two, one], description='says "so"', name="p")
    (place.root / "pipelines.toml").unlink()
    pipeline.save("pipelines.toml")
    assert parse(place.read("pipelines.toml").encode(), str(place.root)) == pipeline.project()
    assert place.build().done == ["one", "two"]
    with pytest.raises(WrongValue, match="there already"):
        pipeline.save("pipelines.toml")


def test_steps_that_others_need_are_taken_in(place: Folder) -> None:
    ws = workspace(place)
    one, two, made = chain(ws)
    assert names(Pipeline(ws, [two])) == ["two", "one"]
    assert names(Pipeline(ws, made)) == ["two", "one"], "an output stands for the step that makes it"
    after = copy(PipelineData("third"), name="three")
    after.run_after(one)
    assert names(Pipeline(ws, [after])) == ["three", "one"]
    with pytest.raises(ValueError, match="step two needs one"):
        Pipeline(ws, [two], resolve_closure=False)


def test_order(place: Folder) -> None:
    ws = workspace(place)
    a, b, c, d = (copy(PipelineData(name), name=name) for name in "abcd")
    assert upstream(Pipeline(ws, [a, [b, [c]], d])) == {name: set() for name in "abcd"}, "a list is parallel"
    sequence = StepSequence([a, [b, c], d])
    assert upstream(Pipeline(ws, sequence)) == {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b", "c"}}
    assert upstream(Pipeline(ws, [a, b])) == {"a": set(), "b": set()}, "a sequence leaves its steps as they were"
    with pytest.raises(NotImplementedError, match="not a tuple"):
        Pipeline(ws, (a, b))


def test_a_cycle_is_told(place: Folder) -> None:
    ws = workspace(place)
    one, two, _ = chain(ws)
    one.run_after(two)
    pipeline = Pipeline(ws, [one, two])
    (said,) = pipeline.validate()
    assert said.startswith("Cycle detected including node ")
    with pytest.raises(ValueError, match=r"the steps make a cycle: (one -> two -> one|two -> one -> two)"):
        pipeline.submit("e")


def test_a_graph_shows_nodes_and_edges(place: Folder) -> None:
    ws = workspace(place, {"data/in": ""})
    reads = DataReference(ws.get_default_datastore(), "raw", "in")
    made = PipelineData("made")
    one = copy(made, reads=reads, name="one")
    two = copy(PipelineData("last"), reads=made, name="two")
    graph = Pipeline(ws, [one, two]).graph
    assert [node.name for node in graph.nodes] == ["one", "two", "raw"]
    assert {(edge.source_node.name, edge.dest_node.name, edge.data) for edge in graph.edges} == {
        ("raw", "one", "raw"),
        ("one", "two", "made"),
    }
    assert all(len(node.node_id) == 8 and graph.get_node(node.node_id) is node for node in graph.nodes)
    with pytest.raises(NotImplementedError):
        graph.delete_node("x")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda ws, one: Pipeline(ws, one, colour=1), ValueError, "parameter colour is not recognized for Pipeline"),
        (lambda ws, one: copy(PipelineData("a b")), ValueError, "letters, digits and _ only"),
        (
            lambda ws, one: PythonScriptStep("join.py", arguments=[PipelineData("x")]),
            ValueError,
            "appears in arguments",
        ),
        (
            lambda ws, one: Pipeline(ws, copy(PipelineData("x"), reads=PipelineData("lost"))),
            ValueError,
            "not connected",
        ),
        (lambda ws, one: PipelineParameter("p", None), ValueError, "its default is a str, int, float, bool"),
        (lambda ws, one: PythonScriptStep("c", inputs=[Dataset.File.from_files("x")]), ValueError, "as_named_input"),
        (lambda ws, one: PythonScriptStep("c", outputs=["x"]), ValueError, "nothing that a step can write"),
        (lambda ws, one: PythonScriptStep("no.py"), None, "no script no.py"),
        (lambda ws, one: ws.compute_targets["gpubx"], KeyError, "did you mean 'gpubox'"),
        (lambda ws, one: Datastore(ws, "workspaceblobstor"), UnknownName, "did you mean 'workspaceblobstore'"),
        (lambda ws, one: HyperDriveStep("x", None), NotYetError, "HyperDriveStep is not there yet"),
        (lambda ws, one: PythonScriptStep("join.py", compute_target="gone"), None, "Target gone does not exist"),
        (lambda ws, one: Datastore.register(ws, "s", "s3://b", key="plain"), UserErrorException, "written down"),
    ],
)
def test_what_is_wrong_is_told(place: Folder, make, error, words) -> None:  # type: ignore[no-untyped-def]
    ws = workspace(place, toml="[compute.gpubox]\n")
    one = copy(PipelineData("one"))
    if error is None:
        assert any(words in said for said in Pipeline(ws, [make(ws, one)]).validate())
        return
    with pytest.raises(error) as raised:
        make(ws, one)
    assert words in f"{raised.value} {getattr(raised.value, 'hint', '')}"


def test_names_of_steps_and_outputs(place: Folder) -> None:
    ws = workspace(place)
    made = PipelineData("x")
    steps = [copy(made), copy(PipelineData("x")), copy(PipelineData("y"), reads=made, name="Fit it")]
    project = Pipeline(ws, steps, name="p").project()
    assert [step.name for step in project.steps.values()] == ["join", "join-2", "Fit_it"]
    another = Pipeline(ws, [copy(PipelineData("first")), *steps], name="p").project()
    (moved,) = (step for step in another.steps.values() if step.name == "join-2")
    assert moved.outputs[0].location.text == "workspaceblobstore://azureml/join/x", "a number is no part of the key"
    assert [output.location.text for step in project.steps.values() for output in step.outputs] == [
        "workspaceblobstore://azureml/join/x",
        "workspaceblobstore://azureml/join-2/x",
        "workspaceblobstore://azureml/Fit_it/y",
    ]
    other = copy(PipelineData("z"))
    other.made["x"] = made
    with pytest.raises(ValueError, match=r"already an output of step join\.py"):
        Pipeline(ws, [steps[0], other])


def test_parameters(place: Folder) -> None:
    ws = workspace(place, {"data/a/1": "", "data/b/2": ""})
    store = ws.get_default_datastore()
    depth, flag = PipelineParameter("depth", 3), PipelineParameter("flag", True)
    path = PipelineParameter("where", DataPath(store, "a"))
    bound = (path, DataPathComputeBinding())
    made = PipelineData("made")
    step = PythonScriptStep(
        "join.py",
        arguments=["--output", made, depth, flag, "--input", bound],
        inputs=[bound],
        outputs=[made],
        params={"depth": depth, "own": 1},
    )
    pipeline = Pipeline(ws, [step], name="p")
    (found,) = pipeline.project().steps.values()
    assert {param.name: param.value for param in found.params} == {"depth": 3, "flag": "True", "own": 1}
    assert found.inputs[0].sources[0].location.text == "workspaceblobstore://a"
    (found,) = pipeline.project({"depth": "4", "flag": False, "where": DataPath(store, "b")}).steps.values()
    assert {param.name: param.value for param in found.params} == {"depth": 4, "flag": "False", "own": 1}
    assert found.inputs[0].sources[0].location.text == "workspaceblobstore://b"
    with pytest.raises(KeyError, match="Pipeline parameter with name deep does not exist"):
        pipeline.project({"deep": 1})
    with pytest.raises(ValueError, match="Invalid parameter type"):
        pipeline.project({"depth": [1]})
    twice = copy(PipelineData("x"), depth, PipelineParameter("depth", 5))
    with pytest.raises(ValueError, match="two defaults"):
        Pipeline(ws, [twice]).project()


def test_datasets_as_inputs(place: Folder) -> None:
    ws = workspace(place, {"data/t/a.csv": "x;y\n1;2\n", "data/t/b.csv": "x;y\n3;4\n", "data/f/1": "", "data/f/2": ""})
    store = Datastore(ws, "workspaceblobstore")
    files = Dataset.File.from_files((store, "f/**")).register(ws, "files")
    table = Dataset.Tabular.from_delimited_files((store, "t/*.csv"), separator=";")
    assert Dataset.get_by_name(ws, "files").version == 1
    assert files.register(ws, "files").version == 1, "the same again is no new version"
    with pytest.raises(ValueError, match="is another one"):
        Dataset.File.from_files((store, "f/1")).register(ws, "files")
    assert Dataset.File.from_files((store, "f/1")).register(ws, "files", create_new_version=True).version == 2
    assert files.to_path() == ["/1", "/2"]
    step = PythonScriptStep(
        "join.py",
        arguments=["--input", ws.datasets["files"].as_named_input("few").as_mount()],
        inputs=[table.as_named_input("rows"), files.as_mount()],
    )
    (found,) = Pipeline(ws, [step]).project().steps.values()
    texts = {each.name: [source.location.text for source in each.sources] for each in found.inputs}
    blob = "workspaceblobstore://"
    assert texts == {"rows": [f"{blob}t/*.csv"], "files": [f"{blob}f/"], "few": [f"{blob}f/1"]}
    assert {param.name: param.value for param in found.params} == {"read.rows": '{"format": "delimited", "sep": ";"}'}


def test_a_dataset_of_some_files_is_handed_over_as_a_folder(place: Folder) -> None:
    ws = workspace(place, {"data/t/a.csv": "1", "data/t/a.txt": "", "data/t/in/b.csv": "2", "data/u.csv": "3"})
    store = ws.get_default_datastore()
    tables = Dataset.File.from_files((store, "t/**/*.csv")).as_named_input("tables").as_mount()
    chosen = PipelineParameter("chosen", Dataset.File.from_files((store, ["t/a.csv", "u.csv"])))
    two = DatasetConsumptionConfig("two", chosen).as_download()
    made = PipelineData("made")
    step = CommandStep(
        ["for d in", tables, two, "; do (cd $d && find . -name '*.csv' | sort); done >", made],
        inputs=[tables, two],
        outputs=[made],
        name="list",
    )
    (place.root / "pipelines.toml").unlink()
    Pipeline(ws, [step], name="p").save()
    assert place.build().done == ["list"]
    assert place.log("data/azureml/list/made") == ["./a.csv", "./in/b.csv", "./t/a.csv", "./u.csv"]
    assert place.build().started == []
    place.write({"data/t/more.csv": ""})
    assert place.build().done == ["list"]


def test_reuse_as_it_was_asked_for(place: Folder) -> None:
    ws = workspace(place)
    steps = [
        PythonScriptStep("join.py", name="never", allow_reuse=False),
        PythonScriptStep("join.py", name="salted", version="2"),
        PythonScriptStep("join.py", name="plain"),
    ]
    found = {each.name: each.spec for each in Pipeline(ws, steps).project().steps.values()}
    assert [found[name].reuse for name in ("never", "salted", "plain")] == [False, True, True]
    assert [found[name].version for name in ("never", "salted", "plain")] == ["", "2", ""]


def test_other_kinds_of_steps(place: Folder) -> None:
    ws = workspace(place, {"data/a/1": "", "src/fit.py": ""})
    store = ws.get_default_datastore()
    Datastore.register(ws, "away", str(place.root / "away"))
    moved = DataTransferStep(
        "move",
        DataReference(store, "a", "a/"),
        DataReference(Datastore(ws, "away"), "b", "b"),
        source_reference_type="directory",
    )
    made = OutputFileDatasetConfig("model", destination=(store, "models/{run-id}/{output-name}"))
    command = CommandStep(
        ["python fit.py --data", moved.get_output(), "--to", made],
        inputs=[moved.get_output()],
        outputs=[made],
        source_directory="src",
    )
    pipeline = Pipeline(ws, [command], name="p")
    project = pipeline.project()
    moving, fitting = project.steps.values()
    assert moving.spec.kind.name == "transfer"
    assert moving.outputs[0].location.text == "away://b/"
    assert fitting.name == "python"
    assert fitting.spec.kind.words() == ("python src/fit.py --data {inputs.b} --to {outputs.model}",)
    assert fitting.outputs[0].location.text == "workspaceblobstore://models/python/model/"
    (place.root / "pipelines.toml").unlink()
    pipeline.save()
    assert place.build().done == ["move", "python"]
    assert place.has("away/b/1")


def test_outputs_without_names(place: Folder) -> None:
    ws = workspace(place)
    one, two = OutputFileDatasetConfig(), OutputFileDatasetConfig()
    steps = [PythonScriptStep("join.py", name=name, arguments=[made]) for name, made in (("a", one), ("b", two))]
    with pytest.raises(ValueError, match="an output of step"):
        Pipeline(ws, [*steps, PythonScriptStep("join.py", arguments=[one])])
    steps = [PythonScriptStep("join.py", name=name, arguments=[made]) for name, made in (("a", one), ("b", two))]
    last = PythonScriptStep("join.py", name="c", arguments=[one, two], inputs=[one, two, one.as_input("x")])
    found = Pipeline(ws, last).project().steps["pipeline.c"]
    assert found.spec.inputs == {"output": ("@a.output",), "output_2": ("@b.output",), "x": ("@a.output",)}
    assert found.spec.kind.words()[1:] == ("{inputs.output}", "{inputs.output_2}")
    assert steps[0].outputs == [one]


def test_an_output_as_a_table(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = workspace(place, {"t/1.csv": "a;b\n1;2\n", "t/2.csv": "a;b\n3;4\n", "t/notes.txt": "none"})
    made = PipelineData("made")
    table = made.as_dataset().parse_delimited_files(separator=";", file_extension=".csv").drop_columns(["b"])
    steps = [copy(made, name="one"), PythonScriptStep("join.py", name="two", inputs=[table.as_named_input("rows")])]
    two = Pipeline(ws, steps).project().steps["pipeline.two"]
    assert two.spec.inputs == {"rows": ("@one.made",)}
    (how,) = (param.value for param in two.params)
    told = {"RUN": "1", "STEP": "p.two", "KEEP": "kept", "INPUTS": '["rows"]'}
    for name, value in {**told, "INPUT_ROWS": "t", "PARAM_READ_ROWS": how}.items():
        monkeypatch.setenv(f"MLMAKE_{name}", value)
    read = Run.get_context().input_datasets["rows"]
    assert read.paths == ["t/1.csv", "t/2.csv"]
    pytest.importorskip("pandas")
    assert read.to_pandas_dataframe().to_dict("list") == {"a": [1, 3]}


def test_partitions(place: Folder) -> None:
    ws = workspace(
        place, {f"data/sales/{year}/{month}/x.csv": f"n\n{month}\n" for year in (2020, 2021) for month in "12"}
    )
    store = ws.get_default_datastore()
    files = Dataset.File.from_files((store, "sales/**"), partition_format="{year:yyyy}/{month}/x.csv")
    assert files.partition_keys == ["year", "month"]
    assert files.get_partition_key_values(["month"]) == [{"month": "1"}, {"month": "2"}]
    assert files.get_partition_key_values()[-1] == {"year": datetime(2021, 1, 1), "month": "2"}
    with pytest.raises(ValueError, match="is not of the form"):
        Dataset.File.from_files((store, "sales/**"), partition_format="{a}.txt").get_partition_key_values()


def test_environments_as_tables(place: Folder) -> None:
    ws = workspace(place, {"req.txt": "", "env.yml": ""})
    packages = CondaDependencies.create(pip_packages=["a==1"], python_version="3.11.4")
    config = RunConfiguration(conda_dependencies=packages)
    config.environment_variables = {"MODE": "fast"}
    estimator = Estimator("src", entry_script="fit.py", pip_packages=["a==2"])
    place.write({"src/fit.py": ""})
    steps = [
        PythonScriptStep("join.py", runconfig=config),
        EstimatorStep(estimator=estimator, estimator_entry_script_arguments=[]),
        PythonScriptStep("gated.py"),
    ]
    pipeline = Pipeline(ws, steps, name="p")
    document, draft = pipeline.document({}, "p")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    ours, theirs = document["environments"].values()
    assert ours == {"python": "3.11", "packages": ["a==1"], "variables": ["MODE"]}
    assert theirs == {"python": python, "packages": ["a==2"]}
    assert draft.variables == {"MODE": "fast"}
    names = [step.spec.environment for step in pipeline.project().steps.values()]
    assert names == [*document["environments"], "system"]
    assert [*Pipeline(ws, steps[1]).document({}, "p")[0]["environments"]] == [names[1]], "its name stays"
    config = RunConfiguration()
    config.environment_variables = {"MODE": "slow"}
    (step,) = Pipeline(ws, PythonScriptStep("join.py", runconfig=config)).project().steps.values()
    assert [param.name for param in step.params] == ["env.MODE"]
    assert "slow" not in str(step)

    conda = Environment("own")
    conda.python.conda_dependencies = CondaDependencies.create(pip_packages=["x"], conda_packages=["b"])
    assert conda.table(ws, "local") == {"conda": "environments/own.yml"}
    assert "  - b\n" in place.read("environments/own.yml")
    assert Environment.from_pip_requirements("r", "req.txt").register(ws).version == "1"
    assert ws.environments["r"].table(ws, "local") == {"python": python, "requirements": "req.txt"}
    assert Environment.from_docker_image("i", "deb:1").table(ws, "docker") == {"image": "deb:1"}


def test_stores_and_targets(place: Folder) -> None:
    ws = workspace(place, {"mine/a/b.txt": "b"})
    store = Datastore.register(ws, "lake", "lake")
    assert store.upload("mine", "up").texts() == ("lake://up",)
    assert place.read("lake/up/a/b.txt") == "b"
    assert store.download("down", prefix="up/a") == 1
    assert place.read("down/up/a/b.txt") == "b"
    ws.set_default_datastore("lake")
    assert ws.get_default_datastore().name == "lake"
    with pytest.raises(ComputeTargetException):
        ComputeTarget(ws, "cpu")
    ComputeTarget.create(ws, "cpu", AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=4))
    far = RemoteCompute.attach_configuration(username="me", address="box", ssh_port=2222, private_key_file="key")
    ComputeTarget.attach(ws, "far", far)
    assert {name: each.type for name, each in ws.compute_targets.items()} == {
        "local": "local",
        "cpu": "local",
        "far": "ssh",
    }
    (step,) = Pipeline(ws, [PythonScriptStep("join.py", compute_target="far")]).project().steps.values()
    assert step.spec.compute == "far"


def test_files_of_a_datastore_behind_a_url(place: Folder, lake: Lake) -> None:
    ws = workspace(place, {"mine/a.csv": "n\n1\n", "mine/in/b.csv": "n\n2\n", "mine/c.txt": ""}, place.head)
    store = Datastore(ws, "lake")
    store.upload("mine", "up")
    assert lake.keys("up") == ["a.csv", "c.txt", "in/b.csv"]
    place.write({"mine/a.csv": "n\n9\n"})
    store.upload_files(["mine/a.csv"], target_path="up")
    assert lake.read("up/a.csv") == "n\n1\n", "overwrite is False"
    assert store.download("down", prefix="up/in") == 1
    assert place.read("down/up/in/b.csv") == "n\n2\n"
    files = Dataset.File.from_files((store, "up/**/*.csv"), partition_format="up/{name}.csv")
    assert files.to_path() == ["/a.csv", "/in/b.csv"]
    assert files.download("here") == ["here/a.csv", "here/in/b.csv"]
    assert place.read("here/in/b.csv") == "n\n2\n"
    assert Dataset.File.from_files((store, "up/a.csv"), partition_format="{name}.csv").get_partition_key_values() == [
        {"name": "a"}
    ]
    pandas = pytest.importorskip("pandas")
    table = Dataset.Tabular.from_delimited_files((store, "up/**/*.csv"))
    assert table.to_pandas_dataframe()["n"].tolist() == [1, 2]
    pytest.importorskip("pyarrow")
    kept = Dataset.Tabular.register_pandas_dataframe(pandas.DataFrame({"x": [1]}), (store, "frames"), "mine")
    assert lake.keys("frames") == ["mine.parquet"]
    assert kept.to_pandas_dataframe().to_dict("list") == {"x": [1]}
    made = PipelineData("made", datastore=store)
    run = Experiment(ws, "e").submit(Pipeline(ws, [copy(made, "word", name="one")]))
    run.wait_for_completion(show_output=False)
    output = run.find_step_run("one")[0].get_output_data("made")
    assert output.download("out") == 1
    assert place.read("out/azureml/one/made") == "+word"
    lake.write({"azureml/one/made": "another"})
    with pytest.raises(ValueError, match="is gone"):
        output.download("again")


def test_a_workspace_is_found(place: Folder) -> None:
    with pytest.raises(UsageError, match="no workspace in") as caught:
        Workspace.from_config()
    assert "makes one in the current folder" in traceback.format_exception(caught.value)[-1]
    place.write({".azureml/config.json": '{"subscription_id": "s", "resource_group": "g", "workspace_name": "old"}'})
    place.write({"deep/in/x": ""})
    found = Workspace.from_config(place.root / "deep" / "in")
    assert (found.name, found.subscription_id, found.root) == ("old", "s", str(place.root))
    made = Workspace.create("new", root="other")
    assert (made.name, Workspace.from_config("other").name) == ("new", "new")
    with pytest.raises(ValueError, match="is there already"):
        Workspace.create("new", root="other")
