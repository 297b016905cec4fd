"""What steps are handed, when they are submitted: paths, values, tables, files that a step before them wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlmake.sdk import (
    CommandStep,
    ComputeTarget,
    DataFactoryCompute,
    DataReference,
    Dataset,
    DatasetConsumptionConfig,
    Datastore,
    DataTransferStep,
    Estimator,
    Experiment,
    InputPortBinding,
    OutputFileDatasetConfig,
    OutputPortBinding,
    Pipeline,
    PipelineData,
    PipelineParameter,
    PythonScriptStep,
    ScriptRunConfig,
)
from mlmake.sdk.runs import PipelineRun, ScriptRun
from projects import Folder
from workspaces import workspace

SHOWN = """
import json, os, sys
for word in sys.argv[1:]:
    place = word.rpartition("=")[2]
    if "staging" in place and "mlmake-inputs" not in place and not os.path.exists(place):
        open(place, "w").write("written")
print(json.dumps(sys.argv[1:]))
"""
"""Prints its arguments, and writes a file to each that is an output."""
WRITES = "import sys\nopen(sys.argv[1] + '/x.csv', 'w').write('a,b\\n1,2\\n3,4\\n')\n"
READS = """
from mlmake.core import Run
tables = Run.get_context().input_datasets
for name in tables:
    is_table = hasattr(tables[name], "to_pandas_dataframe")
    print(name, tables[name].to_pandas_dataframe().to_dict("list") if is_table else tables[name])
"""


def words(run: PipelineRun | ScriptRun, name: str) -> list[str]:
    """The arguments that a step was handed, without the folder that it writes in."""
    text = run.find_step_run(name)[0].get_stdout_log() if isinstance(run, PipelineRun) else run.get_all_logs()
    given: list[str] = json.loads(text)
    return [word.replace(".mlmake/staging/", "") for word in given]


def done(run: Any) -> Any:
    run.wait_for_completion(show_output=False)
    return run


def test_arguments(place: Folder) -> None:
    files = {"src/show.py": SHOWN, "data/raw": "r", "data/t/1.csv": "", "data/t/2.csv": ""}
    ws = workspace(place, files, toml="[datastores]\nother = 'elsewhere'\n")
    store = Datastore(ws, "workspaceblobstore")
    raw = DataReference(store, "raw", "raw")
    one = Dataset.File.from_files((store, "t/1.csv")).as_named_input("one").as_mount()
    all_of = Dataset.File.from_files((store, "t")).as_named_input("all_of").as_download("/tmp/x")
    chosen = PipelineParameter("chosen", Dataset.File.from_files((store, "t/1.csv")))
    made, same, port = PipelineData("made", output_name="fitted"), PipelineData("raw"), OutputPortBinding("port")
    texts = [f"--to={made}", f"--from={one}", "parameter:P", PipelineParameter("none", ""), "a\nb", True, 1.5, None]
    PythonScriptStep(
        "show.py",
        name="first",
        arguments=[*texts, raw, same, port, all_of, DatasetConsumptionConfig("chosen", chosen).as_mount()],
        inputs=[raw, one, all_of],
        outputs=[made, same, port],
        params={"P": 5, "raw": PipelineParameter("turns", 2)},
    )
    bound = [made.as_input("x"), made.as_mount("y"), same.create_input_binding("z"), InputPortBinding("w", port)]
    second = PythonScriptStep("show.py", name="second", arguments=[*bound, f"-{bound[0]}-"], inputs=bound)
    pipeline = Pipeline(ws, second, default_datastore=Datastore(ws, "other"), default_source_directory="src")
    run = done(pipeline.submit("e"))
    head = ["--to=e.first/fitted", "--from=data/t/1.csv", "5", "", "a\nb", "True", "1.5"]
    tail = ["data/raw", "e.first/raw", "e.first/port", "data/t", "data/t/1.csv"]
    assert words(run, "first") == [*head, *tail]
    at = "elsewhere/azureml/first"
    assert words(run, "second") == [f"{at}/fitted"] * 2 + [f"{at}/raw", f"{at}/port", f"-{at}/fitted-"]
    later = run.find_step_run("first")[0].get_output_data("fitted")
    steps = [
        PythonScriptStep("src/show.py", name="later", arguments=[later], inputs=[later]),
        PythonScriptStep("src/show.py", name="never", allow_reuse=False),
        PythonScriptStep("src/show.py", name="salted", version="1"),
    ]
    assert words(done(Experiment(ws, "e").submit(Pipeline(ws, steps))), "later") == [f"{at}/fitted"]
    steps[2] = PythonScriptStep("src/show.py", name="salted", version="2")
    with pytest.warns(UserWarning, match="no 'colour'"), pytest.deprecated_call():
        again = done(Experiment(ws, "e").submit(Pipeline(ws, steps), pipeline_params={}, colour=1))
    assert {step.name: step.is_reused for step in again.get_steps()} == {"later": True, "never": False, "salted": False}
    assert str(again.explain()["salted"]).startswith("ran: version")
    with pytest.raises(ValueError, match="parameter chosen is a FileDataset"):
        pipeline.submit("e", {"chosen": Dataset.Tabular.from_delimited_files("t/1.csv")})
    with pytest.raises(ValueError, match="parameter colour is not recognized"):
        pipeline.submit("e", colour=1)


def test_tables_that_steps_write(place: Folder) -> None:
    pytest.importorskip("pandas")
    ws = workspace(place, {"w.py": WRITES, "r.py": READS, "data/t/1.csv": "x,y\n1,2\n3,4\n5,6\n"})
    folder = OutputFileDatasetConfig("rows")
    made = PipelineData("made", is_directory=True)
    kept = made.as_dataset().register("kept")
    write = [
        PythonScriptStep("w.py", name="w1", arguments=[folder]),
        PythonScriptStep("w.py", name="w2", arguments=[made], outputs=[kept]),
    ]
    table = Dataset.Tabular.from_delimited_files((ws.get_default_datastore(), "t/*.csv"), include_path=True)
    inputs = [
        folder.read_delimited_files().keep_columns(["a"]).as_input("t1"),
        kept.parse_delimited_files().drop_columns(["a"]).as_named_input("t2"),
        table.take(2).skip(1).as_named_input("t3"),
        table.drop_columns("Path").keep_columns("y").as_named_input("t4"),
        kept.as_named_input("t5"),
    ]
    read = PythonScriptStep("r.py", name="read", inputs=inputs)
    run = done(Experiment(ws, "e").submit(Pipeline(ws, [*write, read])))
    assert run.find_step_run("read")[0].get_stdout_log().splitlines() == [
        "t1 {'a': [1, 3]}",
        "t2 {'b': [2, 4]}",
        "t3 {'x': [3], 'y': [4], 'Path': ['data/t/1.csv']}",
        "t4 {'y': [2, 4, 6]}",
        "t5 data/azureml/w2/made",
    ]
    assert Dataset.get_by_name(ws, "kept").to_path() == ["/x.csv"]


def test_transfers(place: Folder) -> None:
    ws = workspace(place, {"data/raw/a.txt": "a", "show.py": SHOWN})
    mover = ComputeTarget.create(ws, "mover", DataFactoryCompute.provisioning_configuration())
    source = DataReference(ws.get_default_datastore(), "source", "raw/a.txt")
    files = Datastore(ws, "workspacefilestore")
    made = PipelineData("made")
    fill = CommandStep(["mkdir -p", made, "&& touch", f"{made}/x"], name="fill", outputs=[made])
    one = DataTransferStep("one", source, DataReference(files, "away", "b.txt"), compute_target=mover)
    all_of = DataReference(files, "all", "all")
    many = DataTransferStep("many", made, all_of, source_reference_type="directory", allow_reuse=False)
    used = [one.get_output(), many.get_output()]
    run = done(Experiment(ws, "e").submit(Pipeline(ws, PythonScriptStep("show.py", arguments=used, inputs=used))))
    assert {step.name for step in run.get_steps()} == {"fill", "one", "many", "show.py"}
    assert words(run, "show.py") == ["files/b.txt", "files/all"]
    assert (place.read("files/b.txt"), place.has("files/all/x"), fill.outputs) == ("a", True, [made])


def test_scripts_by_themselves(place: Folder) -> None:
    ws = workspace(place, {"src/show.py": SHOWN, "data/t/1.csv": ""})
    experiment, store = Experiment(ws, "e"), ws.get_default_datastore()
    reads = [Dataset.File.from_files((store, "t/1.csv")).as_named_input("d").as_mount(), DataReference(store, "r", "t")]
    script = ScriptRunConfig("src", "show.py", [*reads, OutputFileDatasetConfig("o")], compute_target="local")
    run = experiment.submit(script, tags={"a": "b"})
    assert done(run).get_status() == "Completed"
    assert words(run, "") == ["data/t/1.csv", "data/t", "show.show/o/"]
    fit = Estimator("src", entry_script="show.py", script_params={"--n": 3, "--flag": ""}, user_managed=True)
    assert words(done(experiment.submit(fit)), "") == ["--n", "3", "--flag"]
    slow = experiment.submit(ScriptRunConfig(command="sleep 60", max_run_duration_seconds=0.2))
    assert slow.wait_for_completion(show_output=False, raise_on_error=False) == "Failed"
    assert "ended after its timeout of 0.2 s" in slow.get_details()["error"]
    assert [each.type for each in experiment.get_runs(tags="a")] == ["azureml.scriptrun"]
    assert Path(place.root, "data/azureml/show/o").is_dir()
