"""What is in use on a step's GPUs is remembered where nvidia-smi tells of it: here a program of that name does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hosts import Door
from mlmake.state.database import connect
from mlmake.state.runs import Runs
from mlmake.transports.agent.gauge import used
from projects import Folder

SMI = """#!/bin/sh
echo asked >> {folder}/.asked
printf '0, GPU-5b1c-77, 4096\\n1, GPU-5b1c-78, 100\\n2, GPU-9, 300\\n3, GPU-10, [N/A]\\n'
"""


def test_what_nvidia_smi_tells() -> None:
    said = "0, GPU-5b1c-77, 4096\n1, GPU-5b1c-78, 100\n3, GPU-10, [N/A]\nsomething else"
    assert used(said, ["0"]) == 4096 << 20
    assert used(said, ["0", "1"]) == 4196 << 20
    assert used(said, ["GPU-5b1c-78"]) == used(said, ["GPU-5b1c-78", "3"]) == 100 << 20
    assert used(said, ["3"]) == used(said, ["MIG-1"]) == used("", ["0"]) == 0


def test_memory_of_gpus_is_remembered_here_and_on_a_host(
    project: Folder, box: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "bin", tmp_path / "there/bin"):
        folder.mkdir(parents=True)
        (folder / "nvidia-smi").write_text(SMI.format(folder=folder))
        (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    box.rc(f"PATH={tmp_path}/there/bin:$PATH")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")  # mlmake may use only these
    project.head = f"[compute.local]\ncpus = 4\ngpus = 2\n[compute.box]\n{box.table(tmp_path / 'root')}\ngpus = 2\n"
    seen = "until [ $(wc -l < {}/bin/.asked) -ge 2 ]; do sleep 0.05; done"  # so what was said first is known
    project.steps(f"""
        [here]
        command = "{seen.format(tmp_path)}; echo $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER"
        resources = {{ gpus = 2 }}
        [there]
        command = "{seen.format(tmp_path / "there")}; echo $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER"
        resources = {{ gpus = 1 }}
        compute = "box"
        [without]
        command = "true"
    """)
    assert len(project.build().done) == 3
    assert project.log(".mlmake/logs/1/p.here.log")[-1] == "1,2 PCI_BUS_ID"
    assert project.log(".mlmake/logs/1/p.there.log")[-1] == "0 PCI_BUS_ID"
    connection = connect(project.home, create=False)
    memory = {each.step: each.gpu_memory for each in Runs(connection).steps_of(1)}
    connection.close()
    assert memory == {"p.here": 400 << 20, "p.there": 4096 << 20, "p.without": 0}
    assert "gpu 4.0 GiB" in project.cli("show").stdout
