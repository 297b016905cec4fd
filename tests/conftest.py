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

from collections.abc import Iterator
from pathlib import Path

import pytest

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
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "not_boxed(why): of the suite over every way to a host, not for containers")
    config.addinivalue_line("markers", "boxed_here(why): and this not for those of an engine behind a host")
