"""What runs keep: of steps from within, of pipelines from outside too, and of the process that logs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlmake.errors import UnknownName, WrongValue
from mlmake.inside import Run
from mlmake.sdk import Experiment, Model, Pipeline, PipelineData, PythonScriptStep, StepSequence, Workspace
from projects import Folder
from workspaces import copy, workspace

LOGGING = """
import json, os
from mlmake.core import Run

with Run.get_context() as run:
    run.log_table("one", {"a": [1], "b": [2]})
    run.log_table("scalars", {"a": 1, "b": "x"})
    run.log_table("two", {"a": [1], "b": [2]})
    run.log_row("two", a=3, c=4)
    chart = {"schema_type": "confusion_matrix", "data": {"class_labels": ["0", "1"], "matrix": [[3, 0], [0, 16]]}}
    run.log_confusion_matrix("matrix", chart)
    run.log_residuals("residuals", json.dumps({"data": {"bin_edges": [1, 2]}}))
    run.set_tags({"a": 1, "b": "2", "c": "3"})
    run.remove_tags("a")
    run.add_properties({"p": "1"})
    run.add_properties({"p": "2", "q": "3"})
    os.makedirs("outputs/net", exist_ok=True)
    open("outputs/net/weights", "w").write("w")
    print(run.get_status(), run.get_metrics("one", recursive=True)[run.id], run.get_properties())
    workspace = run.experiment.workspace
    print(workspace.name, run.register_model("inner", "outputs/net/weights", tags={"t": "1"}).run_id == run.id)
    try:
        run.child_run("x")
    except NotImplementedError:
        run.complete()
"""
LOGGED = {
    "one": {"a": 1, "b": 2},
    "scalars": {"a": 1, "b": "x"},
    "two": {"a": [1, 3], "b": [2, None], "c": [None, 4]},
    "matrix": {"class_labels": ["0", "1"], "matrix": [[3, 0], [0, 16]]},
    "residuals": {"bin_edges": [1, 2]},
}
FAILING = "from mlmake.core import Run\nRun.get_context().fail('it went wrong')\nprint('not this')\n"


def test_what_steps_and_their_run_keep(place: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    ws = workspace(place, {"log.py": LOGGING, "fail.py": FAILING})
    made = PipelineData("made")
    steps = StepSequence([copy(made, name="first"), [PythonScriptStep("log.py"), PythonScriptStep("fail.py")]])
    run = Experiment(ws, "e").submit(Pipeline(ws, steps), continue_on_step_failure=True)
    assert run.wait_for_completion(show_output=False, raise_on_error=False) == "Failed"
    (step,), (failed,) = run.find_step_run("log.py"), run.find_step_run("fail.py")
    assert failed.get_stdout_log() == "it went wrong\n"
    said = ["Running {'one': {'a': 1, 'b': 2}} {'p': '1', 'q': '3'}", "w True"]
    assert step.get_stdout_log().splitlines() == said
    assert step.get_metrics() == LOGGED
    assert step.get_metrics("one", recursive=True) == {step.id: {"one": LOGGED["one"]}}
    assert (step.tags, step.properties) == ({"b": "2", "c": "3"}, {"p": "1", "q": "3"})
    assert (step.type, step.status, step.get_details()["target"]) == ("azureml.StepRun", "Finished", "local")
    assert list(step.get_children()) == []
    assert Model(ws, "inner").tags == {"t": "1"}
    for tags in (["t"], [["t", "1"]], {"t": "1"}):
        assert [each.name for each in Model.list(ws, tags=tags)] == ["inner"]
    assert Model.list(ws, tags=[("t", "2")]) == Model.list(ws, tags=["u"]) == []
    for path, kept in (("outputs/net", "weights"), ("outputs", "net/weights"), ("outputs/net/weights", "")):
        assert Path(step.register_model("net", path).path, kept).read_text() == "w"
    with pytest.raises(UnknownName, match="keeps no file 'outputs/lost'"):
        step.register_model("lost")
    with pytest.raises(NotImplementedError, match="logs and tags from within"):
        step.tag("late")

    run.log("overall", 1)
    run.log("overall", 2)
    run.tag("seen", "yes")
    run.add_properties({"k": "1"})
    run.add_properties({"k": "2"})
    run.upload_file("notes/n.txt", "log.py")
    run = ws.get_run(run.id)  # type: ignore[assignment]
    assert (run.get_metrics(), run.tags, run.properties) == ({"overall": [1, 2]}, {"seen": "yes"}, {"k": "1"})
    assert run.download_files("notes", "got") == ["got/notes/n.txt"]
    assert [each.name for each in run.get_children()][-1] == "first", "the latest comes first"
    assert [each.name for each in run.get_children(status="Failed")] == ["fail.py"]
    assert [each.name for each in run.get_children(tags="b")] == ["log.py"]
    assert [each.name for each in run.get_children(tags={"b": "3"})] == []
    assert [each.name for each in run.get_children(properties={"p": "1"}, type=step.type)] == ["log.py"]
    (place.root / "pipelines.toml").unlink()
    run.save()
    assert {name for name, state in place.states().items() if state == "fresh"} == {"first", "log"}
    graph = run.get_graph()
    assert {(edge.source_node.name, edge.dest_node.name) for edge in graph.edges} == {
        ("first", "log.py"),
        ("first", "fail.py"),
    }
    assert Run.get(ws, step.id).wait_for_completion() == "Finished"
    assert capsys.readouterr().out.endswith("\n".join([f"StepRunId: {step.id}", *said, "StepRun Status: Finished\n"]))
    for refused in (run.complete, run.fail, run.child_run):
        with pytest.raises(NotImplementedError):
            refused()


def test_runs_of_this_process(place: Folder) -> None:
    ws = workspace(place, {"a.txt": "a"})
    experiment = Experiment(ws, "e")
    with experiment.start_logging(tags={"a": "b"}, snapshot_directory=None) as run:
        run.log("accuracy", 0.5)
        run.log("accuracy", 0.7)
        run.tag("more", "x")
        run.upload_file("kept/a.txt", "a.txt")
        child = run.child_run("part")
        child.log("loss", 1)
        child.complete()
        assert Run.get(ws, run.id).get_status() == "Running", "to others too"
    assert (run.status, child.status, child.name) == ("Completed", "Completed", "part")
    assert (run.get_metrics(), run.tags) == ({"accuracy": [0.5, 0.7]}, {"a": "b", "more": "x"})
    assert run.get_metrics(recursive=True) == {run.id: {"accuracy": [0.5, 0.7]}, child.id: {"loss": 1}}
    assert [each.id for each in run.get_children(status="Completed")] == [child.id]
    assert child.parent is not None
    assert child.parent.id == run.id
    assert Path(run.download_file("kept/a.txt", "got")).read_text() == "a"
    assert run.wait_for_completion(show_output=False) == "Completed"
    assert [each.id for each in experiment.get_runs()] == [run.id]
    assert [each.id for each in experiment.get_runs(include_children=True)] == [run.id, child.id]
    best = place.cli("runs", "--experiment", "e", "--sort", "-accuracy").stdout.splitlines()[1]
    assert (run.id in best, best.split()[-1]) == (True, "0.7")
    with pytest.raises(WrongValue, match="only its own may end it"):
        run.complete()

    failed = experiment.start_logging()
    failed.fail("no good")
    assert (failed.status, failed.get_details()["error"]) == ("Failed", "no good")
    with pytest.raises(ZeroDivisionError), experiment.start_logging() as broken:
        raise ZeroDivisionError("by 0")
    assert broken.get_details()["error"] == "ZeroDivisionError('by 0')"
    cancelled = experiment.start_logging()
    cancelled.cancel()
    cancelled.complete()
    assert cancelled.status == "Canceled"


def test_a_run_whose_process_is_gone_has_failed(place: Folder) -> None:
    ws = workspace(place)
    code = "from mlmake.sdk import *\nrun = Experiment(Workspace.from_config(), 'e').start_logging()\nprint(run.id)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    run = Workspace.from_config().get_run(said)
    assert (run.get_status(), run.get_details()["error"]) == ("Failed", "its script ended before it said complete()")
    experiment = ws.experiments["e"]
    experiment.tag("team", "blue")
    experiment.archive()
    assert (ws.experiments, experiment.tags) == ({}, {"team": "blue"})
    experiment.reactivate()
    assert [*ws.experiments] == ["e"]
