"""Builds that tell a real MLflow server of their runs, and how they fare without one."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hosts import Door, door
from mlmake.engine import tracking
from mlmake.errors import ConfigError, UsageError
from mlmake.model.events import Event, Noticed, StepStarted
from mlmake.sdk import Experiment, Pipeline, PythonScriptStep
from mlmake.trackers import mlflow as client
from projects import Built, Folder, kill, until
from servers import HOST, proxy
from workspaces import workspace

LOGGING = """
import json, os, sys
from mlmake.core import Run

run = Run.get_context()
for loss in (3, 2, 1):
    run.log("loss", loss)
run.log("accuracy", 0.5, step=7)
run.log_row("rows", x=1, y=2)
run.tag("colour", "red")
run.upload_file("notes/a.txt", "fit.py")
run.parent.log("best", 9)
json.dump({"auc": {"test": 0.75}, "note": "text"}, open(os.environ["MLMAKE_OUTPUT_SCORES"], "w"))
"""
OWN = """
import os, sys
import mlflow

mlflow.log_param("own", 1)
mlflow.log_metric("own", 2.0)
open(sys.argv[2], "w").write(mlflow.active_run().info.run_id)
"""
TELLING = """
import json, os, sys, time, urllib.request

def say(what, **told):
    address = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/" + what
    body = json.dumps({"run_id": os.environ["MLFLOW_RUN_ID"], **told}).encode()
    urllib.request.urlopen(urllib.request.Request(address, body, {"Content-Type": "application/json"}))

say("set-tag", key="experiment", value=os.environ["MLFLOW_EXPERIMENT_ID"])
while os.path.exists(sys.argv[1]):
    time.sleep(0.02)
open(sys.argv[2], "w").close()
"""
"""Needs no MLflow: says a word about its run, and ends when there is no file of a name any more."""
TOUCH = """
    [touch]
    command = "touch {outputs.x}"
    outputs = { x = "x" }
"""


@dataclass
class Seen:
    """A run on the server, with those in it by their names."""

    status: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    run: Any
    children: dict[str, Seen] = field(default_factory=dict)


def seen(address: str, experiment: str) -> dict[str, Seen]:
    """The runs of an experiment that are in no other, by name."""
    from mlflow import MlflowClient

    asked = MlflowClient(address)
    found = asked.get_experiment_by_name(experiment)
    if found is None:
        return {}
    runs = {
        run.info.run_id: Seen(run.info.status, run.data.params, run.data.metrics, run.data.tags, run)
        for run in asked.search_runs([found.experiment_id])
    }
    above: dict[str, Seen] = {}
    for run in runs.values():
        parent = run.tags.get("mlflow.parentRunId")
        (runs[parent].children if parent else above)[run.run.info.run_name] = run
    return above


@pytest.fixture
def tracked(project: Folder, mlflow: str, request: pytest.FixtureRequest) -> Folder:
    """A project that has a name of its own, and tells the server."""
    head(project, mlflow, request.node.name)
    return project


def head(project: Folder, address: str, name: str = "quiet") -> None:
    project.head = f'[project]\nname = "{name}"\n[tracking]\nmlflow = "{address}"\n'


def notices(built: Built) -> list[str]:
    return [event.text for event in built.of(Noticed)]


def test_a_build_is_a_run_and_its_steps_are_in_it(tracked: Folder, mlflow: str) -> None:
    tracked.write({"fit.py": LOGGING})
    tracked.steps(
        """
        [fit]
        script = "fit.py"
        matrix = { fold = [0] }
        params = ["seed"]
        metrics = { scores = "scores.json" }
        [bad]
        command = "exit 3"
        [after]
        command = "true"
        after = ["bad"]
        """,
        seed=7,
    )
    built = tracked.build(keep_going=True)
    assert not notices(built)
    (run,) = seen(mlflow, "test_a_build_is_a_run_and_its_steps_are_in_it").values()
    assert (run.run.info.run_name, run.status, run.tags["mlmake.run"]) == ("run 1", "FAILED", "1")
    assert run.metrics == {"best": 9}
    assert run.children.keys() == {"fit[fold=0]", "bad"}

    bad, fit = run.children["bad"], run.children["fit[fold=0]"]
    assert (bad.status, bad.tags["mlmake.message"]) == ("FAILED", "exit code 3")
    assert (fit.status, fit.tags["mlmake.step"], fit.tags["colour"]) == ("FINISHED", "p.fit[fold=0]", "red")
    assert fit.params == {"seed": "7", "fold": "0"}
    assert fit.metrics == {"loss": 1, "accuracy": 0.5, "rows.x": 1, "rows.y": 2, "scores.auc.test": 0.75}
    assert run.run.info.start_time <= fit.run.info.start_time <= fit.run.info.end_time <= run.run.info.end_time

    from mlflow import MlflowClient

    asked, own = MlflowClient(mlflow), fit.run.info.run_id
    assert [(each.step, each.value) for each in asked.get_metric_history(own, "loss")] == [(0, 3), (1, 2), (2, 1)]
    assert [each.step for each in asked.get_metric_history(own, "accuracy")] == [7]
    assert [each.path for each in asked.list_artifacts(own, "notes")] == ["notes/a.txt"]


def test_what_does_not_run_is_no_run(tracked: Folder, mlflow: str) -> None:
    name = "test_what_does_not_run_is_no_run"
    tracked.steps(TOUCH)
    assert tracked.build().done == ["touch"]
    assert tracked.build().done == []
    assert seen(mlflow, name).keys() == {"run 1"}
    (tracked.root / "x").unlink()
    tracked.steps(TOUCH.replace("[touch]", "[again]"))
    assert tracked.build().restored == ["again"]
    assert seen(mlflow, name)["run 2"].children == {}


def test_a_step_that_uses_mlflow_lands_in_its_run(tracked: Folder, mlflow: str) -> None:
    tracked.write({"own.py": OWN})
    tracked.steps(
        """
        [own]
        script = "own.py"
        outputs = { x = "id" }
        """,
    )
    tracked.build()
    (run,) = seen(mlflow, "test_a_step_that_uses_mlflow_lands_in_its_run").values()
    own = run.children["own"]
    assert (own.status, own.params, own.metrics) == ("FINISHED", {"own": "1"}, {"own": 2.0})
    assert tracked.read("id") == own.run.info.run_id


def test_each_attempt_is_a_run(tracked: Folder, mlflow: str) -> None:
    tracked.steps('[flaky]\ncommand = "test -e tried || ! touch tried"\nretries = 1\n')
    assert tracked.build().done == ["flaky"]
    (run,) = seen(mlflow, "test_each_attempt_is_a_run").values()
    assert run.status == "FINISHED"
    from mlflow import MlflowClient

    both = MlflowClient(mlflow).search_runs([run.run.info.experiment_id], "tags.`mlmake.step` = 'p.flaky'")
    assert {each.data.tags["mlmake.attempt"]: each.info.status for each in both} == {"1": "FAILED", "2": "FINISHED"}


def test_an_interrupted_build(tracked: Folder, mlflow: str) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepStarted):
            signal.raise_signal(signal.SIGINT)

    tracked.steps('[long]\ncommand = "sleep 600"\n')
    assert tracked.build(sink=interrupt).summary.interrupted
    (run,) = seen(mlflow, "test_an_interrupted_build").values()
    assert (run.status, run.children["long"].status) == ("KILLED", "KILLED")


# On a host.


@contextmanager
def far(project: Folder, tmp_path: Path) -> Iterator[Door]:
    """A target `box` of a project: a host over SSH."""
    with door(tmp_path) as made:
        project.head += f"[compute.box]\n{made.table(tmp_path / 'root', cpus=2)}\n"
        yield made


def test_on_a_host_and_a_build_that_was_killed(tracked: Folder, mlflow: str, tmp_path: Path) -> None:
    """The job goes on, and so does its run; the next build takes both up. What else was left open is ended."""
    name = "test_on_a_host_and_a_build_that_was_killed"
    gate = tmp_path / "gate"
    gate.touch()
    tracked.write({"tell.py": TELLING})
    with far(tracked, tmp_path):
        tracked.steps(
            f"""
            [tell]
            script = "tell.py"
            args = ["{gate}", "{{outputs.x}}"]
            outputs = {{ x = "x" }}
            compute = "box"
            """
        )
        killed = tracked.start()
        until(lambda: any("experiment" in _told(run) for run in seen(mlflow, name).values()), "the job")
        first = seen(mlflow, name)["run 1"]
        kill(killed.pid)
        killed.wait()
        gate.unlink()
        assert tracked.build().done == ["tell"]
    runs = seen(mlflow, name)
    assert {run: (each.status, list(each.children)) for run, each in runs.items()} == {
        "run 1": ("KILLED", []),
        "run 2": ("FINISHED", ["tell"]),
    }
    told = runs["run 2"].children["tell"]
    assert (told.status, told.run.info.run_id) == ("FINISHED", first.children["tell"].run.info.run_id)
    assert told.tags["experiment"] == told.run.info.experiment_id


def _told(run: Seen) -> dict[str, str]:
    return run.children["tell"].tags if run.children else {}


# Submitted.


def test_a_submitted_run_is_in_its_experiment(place: Folder, mlflow: str) -> None:
    script = "from mlmake.core import Run\nRun.get_context().log('n', 1)\n"
    ws = workspace(place, {"log.py": script}, toml=f'[tracking]\nmlflow = "{mlflow}"\n')
    run = Experiment(ws, "Submitted").submit(Pipeline(ws, [PythonScriptStep("log.py", name="log")]))
    run.wait_for_completion()
    found = seen(mlflow, "Submitted")[run.id]
    assert (found.status, found.children["log"].metrics) == ("FINISHED", {"n": 1})


# Without a server.


def test_a_server_that_is_down(project: Folder) -> None:
    head(project, f"http://{HOST}:1")
    project.steps(TOUCH)
    built = project.build()
    assert built.done == ["touch"]
    where = f"mlflow at http://{HOST}:1"
    assert notices(built) == [
        f"{where}: it cannot be reached (Connection refused); the build goes on",
        f"not in {where}: this run; `mlmake show 1` has it",
    ]


def test_a_server_that_does_not_answer(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server((HOST, 0)) as silent:
        head(project, f"http://{HOST}:{silent.getsockname()[1]}")
        project.steps(TOUCH)
        built = project.build()
    assert built.done == ["touch"]
    assert "it cannot be reached" in notices(built)[0]


def test_a_server_that_is_slow(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that may start waits for it only so long; the end of the build too."""
    monkeypatch.setattr(tracking, "_PATIENCE", 0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server((HOST, 0)) as silent:
        head(project, f"http://{HOST}:{silent.getsockname()[1]}")
        project.steps(TOUCH)
        built = project.build()
    assert built.done == ["touch"]
    assert "it cannot be reached (no answer in 0.1 s)" in notices(built)[0]


def test_a_server_that_goes_away_and_comes_back(project: Folder, mlflow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be said is said in the end."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    name = "test_a_server_that_goes_away_and_comes_back"
    with proxy(int(mlflow.rpartition(":")[2])) as between:

        def cut(event: Event) -> None:
            """Between the starts of the two steps."""
            if isinstance(event, StepStarted):
                between.is_down = event.step == "p.one"
                between.cut()

        head(project, f"http://{HOST}:{between.port}", name)
        project.steps('[one]\ncommand = "true"\n[two]\ncommand = "true"\nafter = ["one"]\n')
        (said,) = notices(project.build(sink=cut))
    assert "it cannot be reached" in said
    (run,) = seen(mlflow, name).values()
    assert (run.status, {step: each.status for step, each in run.children.items()}) == (
        "FINISHED",
        {"one": "FINISHED", "two": "FINISHED"},
    )


def test_an_address_of_the_environment(project: Folder, mlflow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head(project, "${env:MLFLOW_TRACKING_URI}", "test_an_address_of_the_environment")
    project.steps(TOUCH)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    built = project.build()
    assert notices(built) == ["nothing goes to mlflow: [tracking] names ${env:MLFLOW_TRACKING_URI}, which is not set"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow)
    assert not notices(project.build("touch", force=True))
    assert seen(mlflow, "test_an_address_of_the_environment").keys() == {"run 2"}
    assert mlflow.encode() not in b"".join(each.read_bytes() for each in project.root.rglob("*") if each.is_file())


def test_mlflow_is_not_installed(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "find_spec", lambda _: None)
    head(project, f"http://{HOST}:1")
    project.steps(TOUCH)
    with pytest.raises(UsageError, match="needs MLflow's client") as raised:
        project.build()
    assert raised.value.hint == "pip install 'mlmake[mlflow]'"
    assert not project.has("x")


def test_a_password_in_the_file(project: Folder) -> None:
    head(project, "https://me:secret@tracking.example.com")
    project.steps(TOUCH)
    with pytest.raises(ConfigError) as raised:
        project.load()
    (problem,) = raised.value.problems
    assert problem.where == "tracking.mlflow"
    assert "${env:NAME}" in problem.what and "secret" not in problem.what
