"""A host's own software is a fact of the steps there, and its GPUs are for one job each."""

from __future__ import annotations

import os
from pathlib import Path

from hosts import Door
from projects import Folder


def test_another_python_on_a_host_makes_its_steps_stale(project: Folder, box: Door, tmp_path: Path) -> None:
    project.head = f"[compute.box]\n{box.table(tmp_path / 'root', cpus=4)}\n"
    project.steps(
        '[far]\ncommand = "echo far > {outputs.o}"\noutputs = { o = "far.txt" }\ncompute = "box"\n'
        '[near]\ncommand = "echo near > {outputs.o}"\noutputs = { o = "near.txt" }'
    )
    assert sorted(project.build().done) == ["far", "near"]
    assert project.build().done == []
    said = Path(project.home.target("box"))
    true = said.read_text()
    said.write_text("cpython 3.8.0")
    assert project.states() == {"far": "stale", "near": "fresh"}
    assert project.reasons("far") == [f"environment system changed: {true} -> cpython 3.8.0"]
    assert project.build().done == ["far"]
    assert said.read_text() == true, "what the host says counts"
    assert project.build().done == []


def test_jobs_on_a_host_get_gpus_of_their_own(project: Folder, box: Door, tmp_path: Path) -> None:
    project.head = f"[compute.box]\n{box.table(tmp_path / 'root', cpus=4)}\ngpus = 2\n"
    held = tmp_path / "held"
    held.mkdir()
    project.steps(
        f'[train]\ncommand = "mkdir {held}/$CUDA_VISIBLE_DEVICES && sleep 0.2 && rmdir {held}/$CUDA_VISIBLE_DEVICES"\n'
        'matrix = { n = [1, 2, 3, 4] }\nresources = { gpus = 1 }\ncompute = "box"\n'
        '[both]\ncommand = "echo $NVIDIA_VISIBLE_DEVICES > {outputs.o}"\noutputs = { o = "both.txt" }\n'
        'resources = { gpus = 2 }\ncompute = "box"'
    )
    assert project.build().failed == []
    assert project.read("both.txt") == "0,1\n"
    assert os.listdir(held) == []
