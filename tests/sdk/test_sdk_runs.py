"""Submitted runs: what they do, what is known of them, what they outlive."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mlmake.errors import RunFailed, UnknownName
from mlmake.inside import Run
from mlmake.model.submission import Status
from mlmake.sdk import (
    CommandStep,
    DataReference,
    Dataset,
    Experiment,
    InputPortDef,
    Model,
    Module,
    ModuleStep,
    OutputFileDatasetConfig,
    OutputPortDef,
    ParamDef,
    Pipeline,
    PipelineData,
    PipelineParameter,
    PythonScriptStep,
    ScriptRunConfig,
    StepRun,
    Workspace,
)
from mlmake.sdk.runs import PipelineRun
from mlmake.services.submitted import desk
from mlmake.services.submitted.explaining import explained
from mlmake.services.submitted.place import Place
from projects import Folder, kill, until
from workspaces import copy, ran, worker_of, workspace

SNIPPET = """
from mlmake.core import Datastore, Experiment, Workspace
from mlmake.data.data_reference import DataReference
from mlmake.pipeline.core import Pipeline, PipelineData
from mlmake.pipeline.steps import PythonScriptStep

ws = Workspace.from_config()
blob_store = Datastore(ws, "workspaceblobstore")
compute_target = ws.compute_targets["STANDARD_NC6"]
experiment = Experiment(ws, 'MyExperiment')
input_data = DataReference(
    datastore=blob_store, data_reference_name="test_data", path_on_datastore="20newsgroups/20news.pkl")
output_data = PipelineData("output_data", datastore=blob_store, output_name="output_data1")
steps = [PythonScriptStep(script_name="train.py", arguments=["--input", input_data, "--output", output_data],
                          inputs=[input_data], outputs=[output_data], compute_target=compute_target,
                          source_directory="myfolder")]
pipeline = Pipeline(workspace=ws, steps=steps)
pipeline_run = experiment.submit(pipeline)
pipeline_run.wait_for_completion()
"""
SUBMITTING = """
import time
from mlmake.sdk import *

ws = Workspace.from_config()
one = PythonScriptStep("gated.py", name="one", arguments=["one"])
two = PythonScriptStep("gated.py", name="two", arguments=["two"])
run = Experiment(ws, "e").submit(Pipeline(ws, StepSequence([one, two])))
print(run.id, flush=True)
time.sleep(600)
"""
LOGGING = """
import os, sys
from mlmake.core import Run

run = Run.get_context()
run.log("loss", 2.0)
run.log("loss", 1.0)
run.log("accuracy", 0.5)
run.log_list("many", [1, 2, 3])
run.log_row("row", x=1, y=2)
run.log_row("rows", x=1, y=2)
run.log_row("rows", x=3, y=4)
run.log_table("table", {"a": [1, 2], "b": [3, 4]})
open("plot.png", "wb").write(b"PNG")
run.log_image("plot", "plot.png")
run.tag("colour", "red")
if run.parent:
    run.parent.log("overall", 0.9)
    run.parent.tag("best", "yes")
run.upload_file("notes/a.txt", "plot.png")
os.makedirs("outputs", exist_ok=True)
open("outputs/model.pkl", "w").write("fitted")
print("hello from", run.experiment.name, run.parent.id in run.id, dict(run.input_datasets))
open(sys.argv[1], "w").write("done")
"""
LOGGED = {
    "loss": [2.0, 1.0],
    "accuracy": 0.5,
    "many": [1, 2, 3],
    "row": {"x": 1, "y": 2},
    "rows": {"x": [1, 3], "y": [2, 4]},
    "table": {"a": [1, 2], "b": [3, 4]},
    "plot": "plot.png",
}


def done(run: PipelineRun, status: str = "Finished") -> PipelineRun:
    """The run, when it has ended."""
    assert run.wait_for_completion(show_output=False, raise_on_error=False) == status, run.get_all_logs()
    return run


def gated(name: str) -> PythonScriptStep:
    """A step that runs until there is a file of its name."""
    return PythonScriptStep("gated.py", name=name, arguments=[name])


def test_the_example_runs_as_it_stands(place: Folder) -> None:
    workspace(
        place,
        {
            "data/20newsgroups/20news.pkl": "text",
            "myfolder/train.py": "import argparse, os\np = argparse.ArgumentParser()\np.add_argument('--input')\n"
            "p.add_argument('--output')\na = p.parse_args()\nos.makedirs(a.output, exist_ok=True)\n"
            "open(a.output + '/model', 'w').write(open(a.input).read().upper())\n",
            "submit.py": SNIPPET,
        },
        toml="[compute.STANDARD_NC6]\nkind = 'local'\n",
    )
    said = subprocess.run([sys.executable, "submit.py"], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "Submitted PipelineRun " in said.stdout
    assert "PipelineRun Status: Finished" in said.stdout
    assert place.read("data/azureml/train/output_data1/model") == "TEXT"
    (run,) = Workspace.from_config().experiments["MyExperiment"].get_runs()
    (step,) = run.find_step_run("train.py")
    reference = step.get_output_data("output_data1")
    assert reference.texts() == ("workspaceblobstore://azureml/train/output_data1",)
    assert reference.download("got") == 1
    assert place.read("got/azureml/train/output_data1/model") == "TEXT"


def test_reuse_and_why(place: Folder) -> None:
    ws = workspace(place)
    made, last = PipelineData("made", pipeline_output_name="result"), PipelineData("last")
    words = PipelineParameter("words", "a")
    steps = [copy(made, words, name="one"), copy(last, "b", reads=made, name="two")]
    pipeline = Pipeline(ws, steps)
    experiment = Experiment(ws, "first")
    first = done(experiment.submit(pipeline, tags={"who": "me"}))
    assert ran(place) == ["one a", "two b"]
    assert {name: str(told) for name, told in first.explain().items()} == dict.fromkeys(
        ("one", "two"), "ran: never ran"
    )

    again = done(pipeline.submit("second"))
    assert ran(place) == [], "reuse goes across experiments"
    assert [step.is_reused for step in again.get_steps()] == [True, True]

    other = done(experiment.submit(pipeline, pipeline_parameters={"words": "c"}))
    assert ran(place) == ["one c", "two b"]
    assert str(other.explain()["one"]) == 'ran: param words changed: "a" -> "c"'
    other.get_pipeline_output("result").download("new")
    first.get_pipeline_output("result").download("old")
    assert (place.read("old/azureml/one/made"), place.read("new/azureml/one/made")) == ("+a", "+c"), "as it was then"

    forced = done(experiment.submit(pipeline, pipeline_parameters={"words": "c"}, regenerate_outputs=True))
    assert ran(place) == ["one c", "two b"]
    assert not any(step.is_reused for step in forced.get_children())
    assert [run.id for run in experiment.get_runs()] == [forced.id, other.id, first.id]
    assert [run.id for run in experiment.get_runs(tags={"who": "me"})] == [first.id]
    first.tag("who", "you")
    first.set_tags({"more": None})
    first.remove_tags(["more"])
    assert ws.get_run(first.id).get_tags() == {"who": "you"}
    one = ws.get_run(f"{first.id}.first.one")
    assert isinstance(one, StepRun) and one.name == "one"
    with pytest.raises(UnknownName):
        ws.get_run("none")
    with pytest.raises(UnknownName, match="no pipeline output"):
        first.get_pipeline_output("resul")


def test_runs_are_compared(place: Folder) -> None:
    script = "import sys\nfrom mlmake.core import Run\nRun.get_context().log('score', 10 - int(sys.argv[1]))\n"
    ws = workspace(place, {"score.py": script})
    steps = [PythonScriptStep("score.py", arguments=[PipelineParameter("depth", 3)], params={"fixed": "a"})]
    experiment = Experiment(ws, "tries")
    for depth in (3, 5, 4):
        run = done(experiment.submit(Pipeline(ws, steps), pipeline_parameters={"depth": depth}, tags={"n": str(depth)}))
    table = place.cli("runs", "--experiment", "tries", "--sort", "-score").stdout.splitlines()
    assert [line.split()[-3:] for line in table] == [
        ["tags", "depth", "score"],
        *([f"n={depth}", str(depth), str(10 - depth)] for depth in (3, 4, 5)),
    ]
    rows = place.cli("runs", "--experiment", "tries", "--csv", "--last", "1").stdout.splitlines()
    assert rows[0].endswith("tags,depth,steps.score.fixed,score")
    assert rows[1].startswith(run.id)
    for words, said in (
        (["--experiment", "trie"], "'tries'?"),
        (["--experiment", "tries", "--sort", "scor"], "'score'?"),
    ):
        wrong = place.cli("runs", *words)
        assert (wrong.returncode, f"did you mean {said}" in wrong.stderr) == (2, True)


def test_the_file_and_python_share_records_and_cache(place: Folder) -> None:
    ws = workspace(place)
    made = PipelineData("made")
    pipeline = Pipeline(ws, [copy(made, "a", name="one"), copy(PipelineData("last"), reads=made, name="two")], name="p")
    experiment = Experiment(ws, "e")
    done(experiment.submit(pipeline))
    (place.root / "pipelines.toml").unlink()
    pipeline.save()
    assert place.states() == {"one": "fresh", "two": "fresh"}
    (place.root / "data" / "azureml" / "two" / "last").unlink()
    assert place.build().restored == ["two"]
    (place.root / "data" / "azureml" / "two" / "last").unlink()
    run = done(experiment.submit(pipeline))
    assert [str(told).partition(" (")[0] for told in run.explain().values()] == [
        "reused: everything that counts is as in run 1",
        "restored: what it would write is in the cache",
    ]


def test_what_a_step_logs_is_kept(place: Folder) -> None:
    ws = workspace(place, {"log.py": LOGGING, "data/in": "", "more/t.csv": "x\n1\n"})
    out = PipelineData("out")
    table = Dataset.Tabular.from_delimited_files("more/t.csv").as_named_input("table")
    reads = DataReference(ws.get_default_datastore(), "raw", "in")
    step = PythonScriptStep("log.py", arguments=[out], inputs=[reads, table], outputs=[out])
    experiment = Experiment(ws, "e")
    for _ in range(2):
        run = done(experiment.submit(Pipeline(ws, [step])))
        (logged,) = run.find_step_run("log.py")
        assert logged.get_metrics() == LOGGED
        assert logged.get_metrics("accuracy") == {"accuracy": 0.5}
        assert run.get_metrics() == {"overall": 0.9}
        assert run.get_metrics(recursive=True) == {run.id: {"overall": 0.9}, logged.id: LOGGED}
        assert run.get_tags() == {"best": "yes"}
        assert logged.get_tags() == {"colour": "red"}
        assert logged.get_file_names() == ["notes/a.txt", "outputs/model.pkl", "plot.png"]
        assert "hello from e True {'raw': 'data/in', 'table': <mlmake.table.Table" in logged.get_stdout_log()
    assert Path(logged.download_file("outputs/model.pkl", "got.pkl")).read_text() == "fitted"
    with desk.history(ws.home) as runs:
        assert [each.metrics for each in runs.steps_of(1)] == [LOGGED]
    model = Model.register(ws, "got.pkl", "fitted", tags={"a": "b"})
    assert (model.id, logged.register_model("fitted", "outputs/model.pkl").version) == ("fitted:1", 2)
    assert ws.models["fitted"].run_id == logged.id
    experiment.tag("team", "blue")
    assert ws.experiments["e"].tags == {"team": "blue"}
    assert Path(Model(ws, "fitted", version=1).download("models")).read_text() == "fitted"


def test_outside_of_a_step_it_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLMAKE_KEEP", raising=False)
    run = Run.get_context()
    run.log("loss", 1.5)
    run.log_row("rows", x=1)
    assert capsys.readouterr().out == "value loss = 1.5\nrow rows = {'x': 1}\n"
    assert (run.id, run.get_metrics()) == ("OfflineRun", {})
    with pytest.raises(RuntimeError):
        Run.get_context(allow_offline=False)


def test_failures(place: Folder) -> None:
    ws = workspace(place, {"fail.py": "import sys; print('oh no'); sys.exit(3)"})
    made = PipelineData("made")
    bad = PythonScriptStep("fail.py", name="bad", outputs=[made])
    steps = [bad, copy(PipelineData("x"), reads=made, name="after"), copy(PipelineData("y"), name="apart")]
    experiment = Experiment(ws, "e")
    run = experiment.submit(Pipeline(ws, steps), continue_on_step_failure=True)
    with pytest.raises(RunFailed, match="bad: exit code 3") as raised:
        run.wait_for_completion(show_output=False)
    assert "exit code 3" in raised.value.error_details
    assert run.get_status() == "Failed"
    assert {step.name: step.get_status() for step in run.get_steps()} == {"bad": "Failed", "apart": "Finished"}
    (after,) = run.find_step_run("after")
    assert (after.get_status(), str(after.explain())) == ("NotStarted", "did not start: step e.bad failed")
    assert run.find_step_run("bad")[0].get_stdout_log() == "oh no\n"
    run.cancel()
    assert run.get_status() == "Failed", "what has ended stays as it is"
    lost = DataReference(ws.get_default_datastore(), "lost", "nowhere")
    done(experiment.submit(Pipeline(ws, [copy(PipelineData("z"), reads=lost)])), "Failed")


def test_a_failure_stops_what_has_not_started(place: Folder) -> None:
    waiting = "import os, sys, time\nwhile not os.path.exists('gate.started'):\n    time.sleep(0.02)\nsys.exit(3)"
    ws = workspace(place, {"fail.py": waiting}, toml="[compute.wide]\ncpus = 2\n")
    gate = PythonScriptStep("gated.py", name="gate", arguments=["gate"], compute_target="wide")
    after = copy(PipelineData("x"), name="after")
    after.run_after(gate)
    bad = PythonScriptStep("fail.py", name="bad", compute_target="wide")
    run = Experiment(ws, "e").submit(Pipeline(ws, [bad, gate, after]))
    until(lambda: run.find_step_run("bad")[0].get_status() == "Failed")
    assert (run.get_status(), run.find_step_run("gate")[0].get_status()) == ("Running", "Running")
    place.write({"gate": ""})
    done(run, "Failed")
    ended = {"bad": "Failed", "gate": "Finished", "after": "NotStarted"}
    assert {name: run.find_step_run(name)[0].get_status() for name in ended} == ended, "what runs goes on to its end"


@pytest.fixture
def deaf() -> Iterator[None]:
    """This process ignores SIGTERM, and so do its children unless they say otherwise."""
    old = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, old)


@pytest.mark.usefixtures("deaf")
def test_a_run_is_cancelled(place: Folder) -> None:
    ws = workspace(place)
    run = Experiment(ws, "e").submit(Pipeline(ws, [gated("gate")]))
    until(lambda: place.has("gate.started"))
    assert run.get_status() == "Running"
    assert run.wait_for_completion(show_output=False, timeout_seconds=0.05) == "Running"
    other = Experiment(ws, "e").submit(Pipeline(ws, [gated("other")]))
    until(lambda: "waits for another build" in other.get_all_logs())
    assert other.get_status() == "NotStarted"
    other.cancel()
    done(other, "Canceled")
    run.cancel()
    done(run, "Canceled")
    (step,) = run.get_steps()
    assert step.get_status() == "Canceled"


def test_a_run_outlives_its_script_and_its_own_worker(place: Folder) -> None:
    ws = workspace(place)
    place.write(
        {
            "submit.py": SUBMITTING,
        }
    )
    script = subprocess.Popen([sys.executable, "submit.py"], stdout=subprocess.PIPE, text=True)
    assert script.stdout is not None
    script.stdout.readline()
    run = PipelineRun.get(ws, script.stdout.readline().strip())
    script.stdout.close()
    script.kill()
    script.wait()
    until(lambda: place.has("one.started"))
    place.write({"one": ""})
    until(lambda: place.has("two.started"))

    first = worker_of(run)
    kill(first)
    until(lambda: not psutil.pid_exists(first))
    (place.root / "two.started").unlink()
    (place.root / "one.started").unlink()
    assert run.get_status() == "Running", "this look takes it up"
    until(lambda: place.has("two.started"))
    assert worker_of(run) != first
    place.write({"two": ""})
    done(run)
    assert not place.has("one.started"), "a step that had ended does not run again"
    assert [(each.is_reused, each.ended is None) for each in desk.steps(ws.home, run.id)] == [(False, False)] * 2


def test_a_worker_that_died_between_the_record_of_a_step_and_its_note(place: Folder) -> None:
    ws = workspace(place)
    run = Experiment(ws, "e").submit(Pipeline(ws, [copy(PipelineData("x"), name="one")]))
    done(run)
    (step,) = desk.steps(ws.home, run.id)
    with desk.opened(ws.home) as submissions:
        submissions.put_steps(run.id, [replace(step, status=Status.RUNNING, ended=None)])
        submissions.connection.execute("UPDATE submissions SET status = 'Running'")
    done(run)
    (found,) = desk.steps(ws.home, run.id)
    assert replace(found, ended=step.ended) == step and found.ended
    assert [str(told) for told in explained(ws.home, run.id).values()] == ["ran: never ran"]
    assert ran(place) == ["one"]


def test_a_step_that_looks_at_a_run_takes_up_none(place: Folder) -> None:
    ws = workspace(place)
    run = Experiment(ws, "e").submit(Pipeline(ws, [gated("gate")]))
    until(lambda: place.has("gate.started"))
    first = worker_of(run)
    kill(first)
    until(lambda: not psutil.pid_exists(first))
    (place.root / "gate.started").unlink()
    look = f"from mlmake.sdk.runs import *; print(PipelineRun.get(Workspace('.'), '{run.id}').get_status())"
    place.write({"look.py": look.replace("runs import *", "runs import PipelineRun; from mlmake.sdk import Workspace")})
    place.steps("""
        [look]
        command = "python look.py > {outputs.x}"
        outputs = { x = "status" }
    """)
    ran = place.cli()
    assert (ran.returncode, place.read("status")) == (0, "Running\n"), ran.stderr
    assert Place(ws.home, run.id).signed() == (first, 0), "a build inside of a build would fail the run"
    assert run.get_status() == "Running", "this look takes it up"
    until(lambda: place.has("gate.started"))
    place.write({"gate": ""})
    done(run)


def test_a_build_that_cannot_start_is_told(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = workspace(place)
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    run = Experiment(ws, "e").submit(Pipeline(ws, [copy(PipelineData("x"))]))
    with pytest.raises(RunFailed, match="its build could not start"):
        run.wait_for_completion(show_output=False)


def test_scripts_and_commands_by_themselves(place: Folder) -> None:
    ws = workspace(place, {"log.py": LOGGING})
    experiment = Experiment(ws, "e")
    run = experiment.submit(ScriptRunConfig(script="log.py", arguments=["out.txt"]))
    assert run.wait_for_completion(show_output=False) == "Completed"
    assert run.get_metrics() == LOGGED
    assert "hello from e" in run.get_all_logs()
    made = OutputFileDatasetConfig("made").register_on_complete("results")
    command = CommandStep("echo $MLMAKE_PARAM_WORD > $MLMAKE_OUTPUT_MADE/x", outputs=[made], params={"word": "hi"})
    done(experiment.submit(Pipeline(ws, [command])))
    results = Dataset.get_by_name(ws, "results")
    assert [Path(path).read_text() for path in results.download("got")] == ["hi\n"]


def test_modules(place: Folder) -> None:
    ws = workspace(place, {"m/run.py": "import sys\nopen(sys.argv[1], 'w').write(sys.argv[2] + ' one')\n"})
    module = Module.create(ws, "say")
    out = OutputPortDef("out")

    def publish(version: str | None = None, *, is_default: bool = False) -> None:
        module.publish_python_script(
            "run.py",
            inputs=[],
            outputs=[out],
            params={"word": "hello"},
            arguments=[out, ParamDef("word")],
            source_directory="m",
            version=version,
            is_default=is_default,
        )

    publish()
    place.write({"m/run.py": "import sys\nopen(sys.argv[1], 'w').write(sys.argv[2] + ' two')\n"})
    publish("1.10")
    publish("1.9")
    assert Module.get_versions(ws, "say") == ["1", "1.9", "1.10"]
    assert module.resolve().version == "1.10", "the highest"
    made = PipelineData("made")
    pipeline = Pipeline(ws, [ModuleStep(module, outputs_map={"out": made})])
    experiment = Experiment(ws, "e")
    done(experiment.submit(pipeline))
    assert place.read("data/azureml/say/out") == "hello two"
    module.set_default_version("1")
    done(experiment.submit(pipeline))
    assert place.read("data/azureml/say/out") == "hello one", "it is resolved anew"
    fixed = ModuleStep(
        module_version=module.resolve("1.9"), outputs_map={"out": PipelineData("o")}, params={"word": "x"}
    )
    done(experiment.submit(Pipeline(ws, [fixed])))
    assert place.read("data/azureml/say/out") == "x two"
    with pytest.raises(UnknownName, match="has no version 7"):
        module.resolve("7")
    with pytest.raises(ValueError, match="'out' of the module is not connected"):
        ModuleStep(module)
    assert InputPortDef("a").name == "a"
