"""`Run.get_context()` in steps, wherever they run, and what their runs keep."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from hosts import Door
from mlmake import inside
from mlmake.model.run import Outcome, StepRun
from mlmake.state.database import connect
from mlmake.state.runs import Runs
from projects import Folder
from wheels import PYTHON

SCRIPT = """
import os, sys
from mlmake.core import Run

began = os.getcwd()
os.chdir("/")
run = Run.get_context()
os.chdir(began)
run.log("loss", 0.5)
run.upload_file("who.txt", sys.modules[Run.__module__].__file__)
os.makedirs("outputs", exist_ok=True)
open("outputs/model", "w").write("fitted")
print(run.id, run.input_datasets["few"], run.get_metrics())
if "fail" in sys.argv:
    sys.exit(3)
open(sys.argv[1], "w").write("done")
"""
STEPS = """
    [good]
    script = "log.py"
    args = ["{outputs.x}"]
    inputs = { few = "few/*.txt" }
    outputs = { x = "build/x" }
"""


@pytest.fixture
def logging(project: Folder) -> Folder:
    project.write({"log.py": SCRIPT, "few/1.txt": "", "few/2.txt": ""})
    return project


def runs(project: Folder, number: int) -> dict[str, StepRun]:
    with closing(connect(project.home, create=False)) as connection:
        return {each.step.partition(".")[2]: each for each in Runs(connection).steps_of(number)}


def kept(project: Folder, number: int, step: str) -> dict[str, str]:
    files = inside.kept_files(project.home.keep(number, f"p.{step}"))
    return {name: Path(path).read_text() for name, path in files.items()}


def test_on_a_host(logging: Folder, box: Door, root: Path) -> None:
    logging.head = f"[compute.box]\n{box.table(root, cpus=2)}\n"
    bad = STEPS.replace("[good]", "[bad]").replace("build/x", "build/y").replace('x}"', 'x}", "fail"')
    on_box = '    compute = "box"\n'
    logging.steps(STEPS + on_box + bad + on_box)
    built = logging.build(keep_going=True)
    assert (built.done, built.failed) == (["good"], ["bad"])
    for step, outcome in (("good", Outcome.DONE), ("bad", Outcome.FAILED)):
        found = runs(logging, 1)[step]
        assert (found.outcome, found.metrics) == (outcome, {"loss": 0.5})
        assert found.log and logging.read(found.log) == f"1.p.{step} few {{'loss': 0.5}}\n"
        assert kept(logging, 1, step) == {"outputs/model": "fitted", "who.txt": Path(inside.__file__).read_text()}


def test_in_an_environment_of_its_own(logging: Folder) -> None:
    logging.head = f'[environments.ml]\npython = "{PYTHON}"\n'
    logging.steps(STEPS + '    environment = "ml"\n')
    assert logging.build().done == ["good"]
    assert runs(logging, 1)["good"].metrics == {"loss": 0.5}
    assert kept(logging, 1, "good") == {"who.txt": Path(inside.__file__).read_text()}, "./outputs is the user's here"


def test_what_was_logged_comes_back_with_what_was_made(logging: Folder) -> None:
    logging.steps(STEPS)
    logging.build()
    (logging.root / "build" / "x").unlink()
    logging.steps(STEPS.replace("[good]", "[better]"))
    built = logging.build()
    assert built.restored == ["better"]
    assert runs(logging, 2)["better"].metrics == {"loss": 0.5}
    assert list(kept(logging, 2, "better")) == ["who.txt"]


def test_an_attempt_begins_with_nothing(logging: Folder) -> None:
    once = 'if not os.path.exists("once"):\n    open("once", "w").close()\n    sys.exit(1)\n'
    logging.write({"log.py": SCRIPT.replace("open(sys.argv[1]", f"{once}open(sys.argv[1]")})
    logging.steps(STEPS + "    retries = 1\n")
    assert logging.build().done == ["good"]
    assert runs(logging, 1)["good"].metrics == {"loss": 0.5}
