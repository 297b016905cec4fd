"""Environments on hosts: a real sshd of this machine, real installers, packages that the tests make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts import Door, door
from mlmake.model.events import EnvironmentBuilding
from mlmake.transports.agent import guard
from projects import Built, Folder, kill
from wheels import PYTHON, wheel, wheel_name


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with door(tmp_path_factory.mktemp("sshd")) as made:
        yield made


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The host's folder, of one test."""
    root = tmp_path / "host-root"
    yield root
    for pid in guard.marked(f"{root}/jobs/"):
        kill(pid)


@pytest.fixture
def far(project: Folder, box: Door, root: Path) -> Folder:
    """A project with a target `box`, and wheels of the package `tiny`."""
    project.head = f"[compute.box]\n{box.table(root, cpus=4)}\n"
    project.write({f"pkgs/{wheel_name('tiny', version)}": wheel("tiny", version) for version in ("1.0", "1.1")})
    return project


def environment(*lines: str) -> str:
    return "\n".join(["[environments.ml]", f'python = "{PYTHON}"', *lines, ""])


def pinned(version: str) -> str:
    return environment(f'packages = ["./pkgs/{wheel_name("tiny", version)}"]')


LOOK = """
[look]
script = "look.py"
matrix = { n = [1, 2] }
outputs = { o = "build/look-{matrix.n}.txt" }
environment = "ml"
compute = "box"
"""
SCRIPT = """
import os, shutil, sys, tiny
with open(os.environ["MLMAKE_OUTPUT_O"], "w") as file:
    print(tiny.VERSION, sys.prefix, os.environ["VIRTUAL_ENV"], shutil.which("python"), file=file)
"""


def environments(root: Path) -> list[Path]:
    """The folders of what was built on a host, or begun."""
    return sorted(each for each in root.glob("environments/*") if each.is_dir())


def built(told: Built) -> list[tuple[str, str]]:
    return [(event.name, event.target) for event in told.of(EnvironmentBuilding)]


def test_it_is_built_there_once_and_runs_the_steps(far: Folder, root: Path) -> None:
    far.write({"look.py": SCRIPT})
    far.steps(pinned("1.0") + LOOK)
    told = far.build()
    assert told.failed == [], [told.message(step) for step in told.failed]
    assert built(told) == [("ml", "box")]
    (folder,) = environments(root)
    assert far.read("build/look-1.txt").split() == ["1.0", str(folder), str(folder), f"{folder}/bin/python"]
    assert not os.path.exists(far.home.environments), "none is needed here"
    assert far.build().done == []
    assert set(far.states().values()) == {"fresh"}
