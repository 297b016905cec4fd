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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "not_boxed(why): of the suite over every way to a host, not for containers")
    config.addinivalue_line("markers", "boxed_here(why): and this not for those of an engine behind a host")
