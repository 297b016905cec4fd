"""Fixtures for every test. `project` is an empty project's folder; see `projects.Folder` for what it can do.

def test_it(project: Folder) -> None:
    project.steps('''
        [one]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/x.txt" }
    ''')
    assert project.build().done == ["one"]
    assert project.cli("status", "--check").returncode == 0
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engines import Engine, base_image, docker_engine
from hosts import Door, door
from mlmake.transports.agent import guard
from projects import Folder
from servers import Lake, S3Server, mlflow_server, s3_server
from workspaces import end_all


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Folder]:
    """A project's folder, empty so far. Whatever it starts is ended with the test."""
    root = tmp_path / "project"
    root.mkdir()
    folder = Folder(root.resolve())
    yield folder
    folder.close()


@pytest.fixture
def place(project: Folder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """A project's folder, which is the current one too; builds that go on by themselves end with the test."""
    monkeypatch.chdir(project.root)
    yield project
    end_all(project)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine that has the base image."""
    with docker_engine() as engine:
        base_image(engine)
        yield engine


@pytest.fixture(scope="session")
def shared_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """What `box` is in every test of this process."""
    with door(tmp_path_factory.mktemp("sshd")) as made:
        yield made


@pytest.fixture
def box(shared_door: Door) -> Iterator[Door]:
    """A host that is this machine, behind a real sshd; what a test has its login shell do ends with the test."""
    yield shared_door
    shared_door.rc("")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A host's folder, of one test; jobs that still run there end with it."""
    root = tmp_path / "host-root"
    yield root
    for pid in guard.marked(f"{root}/jobs/"):
        with suppress(ProcessLookupError):  # it has just ended by itself
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def far(project: Folder, box: Door, root: Path) -> Folder:
    """A project with a target `box`, a host."""
    project.head = f"[compute.box]\n{box.table(root, cpus=4)}\n"
    return project


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A server of S3."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def lake(s3: S3Server, project: Folder, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A bucket that is the datastore `lake` of the project."""
    monkeypatch.setenv("LAKE_KEY", s3.KEY)
    monkeypatch.setenv("LAKE_SECRET", s3.SECRET)
    lake = Lake(s3)
    project.head = f"""
[datastores.lake]
url = "{lake.url}"
key = "${{env:LAKE_KEY}}"
secret = "${{env:LAKE_SECRET}}"
endpoint_url = "{s3.endpoint}"
"""
    return lake


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell has it so for what it runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "not_boxed(why): of the suite over every way to a host, not for containers")
    config.addinivalue_line("markers", "boxed_here(why): and this not for those of an engine behind a host")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow comes first, so that no process ends long after the others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of one module stay together; a process that has nothing left takes from another one's end.

    So it is with `-n`; another way that `--dist` names is taken.
    """
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None
