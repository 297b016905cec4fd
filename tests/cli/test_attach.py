"""`mlmake attach`: jobs that a killed mlmake left on a host or in a container are followed, and their results taken."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from engines import Engine, base_image
from hosts import Door
from mlmake.transports.agent import guard
from projects import Folder, until
from servers import free_port

HELD = """
    [before]
    command = "echo 1 > {{outputs.x}}"
    outputs = {{ x = "build/before" }}
    [held]
    command = "echo ran >> {above}/ran; echo begun; {wait}; cat {{inputs.x}} > {{outputs.y}}; echo over{end}"
    inputs = {{ x = "@before" }}
    outputs = {{ y = "build/held" }}
    retries = 2
    compute = "box"
    [after]
    command = "echo ran >> {above}/after; cat {{inputs.y}} > {{outputs.z}}"
    inputs = {{ y = "@held" }}
    outputs = {{ z = "build/after" }}
    compute = "box"
"""


def held(project: Folder, end: str = "") -> None:
    """Write a pipeline whose middle step waits on `box` for a file `go`."""
    above = project.root.parent
    wait = f"touch {above}/ready; while [ ! -e {above}/go ]; do sleep 0.05; done"
    project.steps(HELD.format(above=above, wait=wait, end=end))


def abandoned(project: Folder, *words: str) -> None:
    """Build until the step runs there, and kill that mlmake."""
    running = project.start(*words)
    until(lambda: project.has("../ready"))
    running.kill()
    running.wait()


def go(project: Folder) -> None:
    project.write({"../go": ""})


def test_a_job_that_runs_is_followed_and_its_result_taken(far: Folder, root: Path) -> None:
    held(far)
    abandoned(far)
    running = far.start("attach")
    assert running.stdout is not None
    lines = []
    while "held | begun" not in lines:
        lines.append(running.stdout.readline().rstrip())
    go(far)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode == 0, rest
    assert lines[0] == "left alone: after (input y is missing: build/held)"
    assert lines[1] == "held is on box"
    assert "held | over" in rest
    assert "held done in" in rest
    assert rest.splitlines()[-1].startswith("1 ran, 0 fresh, 0 restored, 0 failed")
    assert far.log("../ran") == ["ran"]
    assert not far.has("../after"), "nothing new is started"
    assert far.states() == {"before": "fresh", "held": "fresh", "after": "stale"}
    assert "over" in far.cli("logs", "held").stdout
    until(lambda: os.listdir(root / "jobs") == [], "the host forgets what was fetched")
    assert far.build().done == ["after"]


def test_a_job_that_has_ended(far: Folder, root: Path) -> None:
    held(far)
    abandoned(far)
    go(far)
    until(lambda: list(root.glob("jobs/*/exit.json")))
    told = far.cli("attach", "held", "-q")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert far.read("build/held") == "1\n"
    assert far.log("../ran") == ["ran"]
    told = far.cli("attach", "held")
    assert (told.returncode, told.stdout) == (0, "nothing to attach to\n")


def test_a_job_that_failed_is_not_tried_again(far: Folder, root: Path) -> None:
    held(far, "; exit 3")
    abandoned(far)
    go(far)
    told = far.cli("attach")
    assert told.returncode == 1
    assert "held failed: exit code 3" in told.stdout
    assert far.log("../ran") == ["ran"]


def test_ctrl_c_leaves_it_there(far: Folder, root: Path) -> None:
    held(far)
    abandoned(far)
    running = far.start("attach")
    assert running.stdout is not None
    assert any("held | begun" in line for line in running.stdout)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "SIGINT: they go on where they are" in said
    assert "held left on box" in said
    assert guard.marked(f"{root}/jobs/") != []
    go(far)
    assert far.cli("attach").returncode == 0
    assert far.read("build/held") == "1\n"
    assert far.log("../ran") == ["ran"]


def test_what_was_edited_is_left_alone(far: Folder, root: Path) -> None:
    held(far)
    abandoned(far)
    held(far, "; true")
    told = far.cli("attach", "held")
    assert told.returncode == 1
    assert told.stdout == "left alone: held (no job of it as it is now is on box)\nnothing to attach to\n"
    assert far.cli("attach", "before").stdout == "nothing to attach to\n", "it is fresh"
    assert far.log("../ran") == ["ran"]
    go(far)


def test_nothing_there_and_nobody_there(far: Folder, box: Door, root: Path) -> None:
    held(far)
    told = far.cli("attach")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines() == [
        "left alone: before (no job of this machine outlives its mlmake)",
        "left alone: held (input x is missing: build/before)",
        "left alone: after (input y is missing: build/held)",
        "nothing to attach to",
    ]
    assert far.cli("build", "before").returncode == 0
    text = far.read("pipelines.toml")
    far.toml(text.replace(f"port = {box.server.port}", f"port = {free_port()}"))
    told = far.cli("attach")
    assert told.returncode == 1
    assert "box cannot be asked: host 'box' cannot be reached" in told.stdout
    assert far.cli("attach", "nosuch").returncode == 2


def test_on_another_target_and_in_a_pool(far: Folder, box: Door, root: Path) -> None:
    other = root.parent / "other-root"
    pool = '[compute.farm]\nkind = "pool"\nof = ["other", "box"]\n'
    far.head += f"[compute.other]\n{box.table(other)}\n{pool}"
    held(far)
    abandoned(far)
    far.toml(far.read("pipelines.toml").replace('compute = "box"', 'compute = "farm"'))
    assert "is on other)" in far.cli("attach", "held", "--on", "other").stdout
    go(far)
    told = far.cli("attach", "held")
    assert told.returncode == 0, told.stdout + told.stderr
    assert far.log("../ran") == ["ran"]
    assert "on box" in far.cli("show", "-1").stdout


def test_a_container(project: Folder, engine: Engine, root: Path) -> None:
    above = project.root.parent
    table = f'kind = "docker"\nroot = "{root}"\nhost = "{engine.host}"\nnetwork = false\nmounts = ["{above}:{above}"]'
    project.head = f'[compute.box]\n{table}\n[environments.deb]\nimage = "{base_image(engine)}"\n'
    held(project)
    text = project.read("pipelines.toml").replace('compute = "box"', 'compute = "box"\nenvironment = "deb"')
    project.toml(text)
    abandoned(project)
    go(project)
    told = project.cli("attach", "held")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "held | over" in told.stdout
    assert project.log("../ran") == ["ran"]
    assert project.read("build/held") == "1\n"
