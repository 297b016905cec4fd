"""doit as the dispatcher, and mlmake's steps in a `dodo.py` of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from doit.control import TaskControl
from doit.exceptions import InvalidDodoFile, InvalidTask
from doit.runner import Runner
from doit.task import dict_to_task

from mlmake.engine.dodo import remaining, task_name, tasks
from mlmake.model.step import Step
from projects import Folder

STEPS = """
    [part]
    command = "echo {matrix.v} >> ../ran; echo {matrix.v} {params.n} > {outputs.x}"
    matrix = { v = ["a b", "50%", "%(x)s", "ü:y", "{x}", "<&>", "-q", "'", '"'] }
    outputs = { x = "build/part-{matrix.v}" }
    params = ["n"]
    description = "50% of {things} %s"
    [sum]
    command = "echo sum >> ../ran; cat {inputs.x} > {outputs.y}"
    inputs = { x = "@part" }
    outputs = { y = "build/sum" }
"""
DODO = """
from mlmake.dodo import load_tasks

def task_hello():
    return {"actions": ["echo hello > build/hello"], "file_dep": ["build/sum"], "targets": ["build/hello"]}

def task_mlmake():
    '''what the pipelines make'''
    yield from load_tasks()
"""


def steps_of(project: Folder) -> list[Step]:
    return list(project.load().steps.values())


def control(steps: list[Step]) -> TaskControl:
    return TaskControl([dict_to_task(task) for task in tasks(steps)])


def dispatched(steps: list[Step]) -> list[str]:
    """The order in which doit's own runner would run our tasks."""
    made = control(steps)
    made.process(None)
    dispatcher = made.task_dispatcher()
    order: list[str] = []
    node = None
    while True:
        try:
            node = dispatcher.generator.send(node)
        except StopIteration:
            return order
        assert node != "hold on"
        order.append(node.task.name)
        node.run_status = "successful"


# The generator


def test_names_are_doit_s(project: Folder) -> None:
    project.steps(STEPS, n=1)
    steps = steps_of(project)
    names = [task["name"] for task in tasks(steps)]
    assert task_name("p.part[v=a b]") == "p.part[v:a b]"
    assert len(set(names)) == len(steps) == 10
    made = control(steps)
    assert list(made.tasks) == names
    assert made.tasks["p.sum"].task_dep == names[:-1]
    assert made.targets[str(project.root / "build/sum")] == "p.sum"


def test_doit_s_order_is_a_good_one(project: Folder) -> None:
    project.steps(STEPS, n=1)
    assert dispatched(steps_of(project))[-1] == "p.sum"
    assert dispatched(list(reversed(steps_of(project))))[-1] == "p.sum"


@pytest.mark.parametrize("wide", [False, True])
def test_doit_finds_targets_that_two_tasks_make(project: Folder, wide: bool) -> None:
    project.steps(STEPS, n=1)
    steps = steps_of(project)
    steps[1] = replace(steps[1], outputs=steps[0].outputs)
    if wide:
        steps = [replace(step, inputs=step.inputs * 60) for step in steps]
    with pytest.raises(InvalidTask, match="can't have a common target"):
        control(steps)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("by", ["producers", "after"])
def test_doit_finds_cycles(project: Folder, by: str, wide: bool) -> None:
    project.steps(STEPS, n=1)
    steps = steps_of(project)
    steps[0] = replace(steps[0], **{by: ("p.sum",)})  # type: ignore[arg-type]
    if wide:
        steps = [replace(step, inputs=step.inputs * 60) for step in steps]
    with pytest.raises(InvalidDodoFile, match="Cyclic/recursive dependencies"):
        dispatched(steps)


def test_order_on_steps_that_are_not_there_is_dropped(project: Folder) -> None:
    project.steps(STEPS, n=1)
    (last,) = (step for step in steps_of(project) if step.id == "p.sum")
    assert [task["task_dep"] for task in tasks([last])] == [[]]
    assert dispatched([last]) == ["p.sum"]


def test_what_doit_complains_of_ends_the_build(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def complain(self: object, dispatcher: object) -> None:
        raise InvalidTask("a task is wrong")

    project.steps(STEPS, n=1)
    monkeypatch.setattr("mlmake.engine.dodo.Runner.run_tasks", complain)
    with pytest.raises(RuntimeError, match="a task is wrong"):
        project.build()
    assert issubclass(__import__("mlmake.engine.dodo", fromlist=["Runner"]).Runner, Runner)


def test_remaining_is_the_longest_path(project: Folder) -> None:
    project.steps("""
        [a]
        command = "true"
        [b]
        command = "true"
        after = ["a"]
        [c]
        command = "true"
        after = ["a"]
        [d]
        command = "true"
        after = ["b", "c"]
    """)
    steps = steps_of(project)
    known = {"p.a": 1.0, "p.b": 10.0, "p.c": 2.0}
    mean = 13 / 3  # what is not known takes a mean of what is
    paths = {"p.a": (11 + mean, 10 + mean), "p.b": (10 + mean, mean), "p.c": (2 + mean, mean), "p.d": (mean, 0)}
    assert remaining(steps, known) == paths
    assert remaining(steps, {}) == {"p.a": (3, 2), "p.b": (2, 1), "p.c": (2, 1), "p.d": (1, 0)}


# A dodo.py of one's own


def doit(project: Folder, *args: str, code: int = 0) -> str:
    """Run the real doit in the project's folder; what it prints."""
    run = subprocess.run(
        [sys.executable, "-m", "doit", *args], cwd=project.root, capture_output=True, text=True, check=False
    )
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout + run.stderr


@pytest.fixture
def dodo(project: Folder) -> Folder:
    project.steps(STEPS, n=1)
    project.write({"dodo.py": DODO})
    return project


def test_plain_doit_lists_and_builds(dodo: Folder) -> None:
    assert "mlmake   what the pipelines make" in doit(dodo, "list")
    listing = doit(dodo, "list", "--all")
    for value in ("a b", "50%", "%(x)s", "ü:y", "{x}", "<&>", "-q", "'", '"'):
        assert f"mlmake:p.part[v:{value}]" in listing
    assert "50% of {things} %s" in listing
    first = doit(dodo)
    assert ".  mlmake:p.part[v:a b]" in first
    assert len(dodo.log("../ran")) == 10
    assert dodo.read("build/hello") == "hello\n"
    assert set(dodo.states().values()) == {"fresh"}
    second = doit(dodo)
    assert "-- mlmake:p.sum" in second
    assert ".  " not in second
    assert len(dodo.log("../ran")) == 10
    assert dodo.build().started == []


def test_doit_builds_one_step_and_what_it_needs(dodo: Folder) -> None:
    doit(dodo, "run", "mlmake:p.part[v:50%]")
    assert dodo.log("../ran") == ["50%"]
    doit(dodo, "build/sum")
    assert len(dodo.log("../ran")) == 10


def test_doit_s_own_state_makes_nothing_look_fresh(dodo: Folder) -> None:
    doit(dodo)
    state = {name: (dodo.root / name).read_bytes() for name in os.listdir(dodo.root) if name.startswith(".doit")}
    assert state
    sum_ = (dodo.root / "build/sum").stat()
    dodo.write({"build/sum": "x" * sum_.st_size})
    os.utime(dodo.root / "build/sum", ns=(sum_.st_atime_ns, sum_.st_mtime_ns))  # doit would not look twice
    doit(dodo, "mlmake")
    assert "x" not in dodo.read("build/sum").split()
    dodo.steps(STEPS, n=2)
    doit(dodo, "mlmake")
    assert "50% 2" in dodo.log("build/sum")
    dodo.steps(STEPS, n=3)
    for name, content in state.items():  # as after another build
        (dodo.root / name).write_bytes(content)
    doit(dodo, "mlmake")
    assert "50% 3" in dodo.log("build/sum")


def test_what_mlmake_has_built_is_up_to_date_for_doit(dodo: Folder) -> None:
    dodo.build()
    assert ".  " not in doit(dodo, "mlmake")
    assert len(dodo.log("../ran")) == 10
    status = doit(dodo, "list", "--all", "--status")
    assert "U mlmake:p.sum" in status


def test_always_execute_forces(dodo: Folder) -> None:
    doit(dodo)
    doit(dodo, "-a", "mlmake:p.sum")
    assert dodo.log("../ran")[10:].count("sum") == 1


def test_a_failure_is_doit_s_too(dodo: Folder) -> None:
    dodo.toml(dodo.read("pipelines.toml").replace("echo sum >> ../ran;", "exit 3;"))
    said = doit(dodo, code=1)
    assert "TaskFailed - taskid:mlmake:p.sum" in said
    assert "sum: exit code 3; log: .mlmake/logs/" in said
    assert not dodo.has("build/hello")
    assert sum(state == "fresh" for state in dodo.states().values()) == 9


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_side_by_side(dodo: Folder, kind: str) -> None:
    """Builds of single steps wait for each other, and nothing is built twice."""
    doit(dodo, "-n", "3", "-P", kind, "mlmake")
    assert sorted(dodo.log("../ran")) == sorted(set(dodo.log("../ran")))
    assert len(dodo.log("../ran")) == 10
    assert set(dodo.states().values()) == {"fresh"}


def test_equal_bytes_spare_followers_in_doit_as_well(dodo: Folder) -> None:
    doit(dodo, "mlmake")
    dodo.toml(dodo.read("pipelines.toml").replace("echo {matrix.v} >> ../ran;", "echo again >> ../ran;"))
    said = doit(dodo, "mlmake")
    assert said.count(".  mlmake:p.part") == 9
    assert "-- mlmake:p.sum" in said


def test_a_broken_project_is_told_in_a_line(dodo: Folder) -> None:
    dodo.write({"pipelines.toml": "[pipelines.p.steps.one]\nscirpt = 'x.py'"})
    said = doit(dodo, "list", code=3)
    assert "unknown key 'scirpt'; did you mean 'script'?" in said
    assert "Traceback" not in said


def test_another_folder_and_group(dodo: Folder, project: Folder) -> None:
    (dodo.root / "sub").mkdir()
    dodo.write(
        {
            "sub/dodo.py": "from mlmake.dodo import load_tasks\ndef task_x():\n    yield from load_tasks('..', 'ml')",
        }
    )
    subprocess.run([sys.executable, "-m", "doit", "ml:p.sum"], cwd=dodo.root / "sub", capture_output=True, check=True)
    assert dodo.has("build/sum")
