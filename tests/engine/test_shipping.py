"""What a job takes along, as the builds of small projects would send it; nothing is sent."""

from __future__ import annotations

import os
from pathlib import Path

from mlmake.engine.shipping import SEARCH, Places, shipment
from mlmake.engine.staging import Spares, Stage
from mlmake.model.job import Shipment
from mlmake.state.database import empty
from mlmake.state.digests import Digests
from mlmake.state.fingerprint import Fingerprint
from projects import Folder

STEP = """
    [one]
    script = "steps/one.py"
    inputs = { file = "in.txt", folder = "folder/" }
    outputs = { x = "build/x", f = "build/f/" }
"""


def shipped(project: Folder, paths: dict[str, tuple[str, ...]], outputs: dict[str, str], *code: str) -> Shipment:
    """The shipment of step `one`, with files at these places."""
    digests = Digests(empty())
    found = {path: digests.of(path) for path in code}
    code_seen = {path: each.digest for path, each in found.items() if each}
    seen = Fingerprint(facts={}, inputs={}, paths=paths, missing=(), pending=(), code=code_seen)
    step = project.load().steps["p.one"]
    stage = Stage(project.home, step, 1, str(project.root / ".mlmake/staging/p.one"), outputs, Spares())
    return shipment("name", step, seen, stage, str(project.root), digests)


def test_places() -> None:
    places = Places("/project")
    assert places.inside("/project/a/b.txt") == "a/b.txt"
    outside = places.inside("/lake/a/b.txt")
    assert outside.startswith(".mlmake/outside/")
    assert outside.endswith("/b.txt")
    assert places.inside("/lake/a/c.txt").rpartition("/")[0] == outside.rpartition("/")[0]
    assert places.inside("/lake/other/b.txt") != outside
    assert places.inside("/projects/b.txt").startswith(".mlmake/outside/")


def test_a_shipment(project: Folder, tmp_path: Path) -> None:
    project.steps(STEP)
    project.write({"steps/one.py": "", "in.txt": "one", "folder/a b": "x", "folder/deep/run": "y", "other": ""})
    (project.root / "folder/deep/run").chmod(0o755)
    (project.root / "folder/empty").mkdir()
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake/in.txt").write_text("three")
    root = str(project.root)
    made = shipped(
        project,
        {"file": (f"{root}/in.txt", f"{tmp_path}/lake/in.txt"), "folder": (f"{root}/folder",)},
        {"x": f"{root}/.mlmake/staging/one/x", "f": f"{root}/.mlmake/staging/one/f"},
        f"{root}/steps/one.py",
    )
    outside = Places(root).inside(f"{tmp_path}/lake/in.txt")
    assert sorted(each.path for each in made.files) == sorted(
        ["steps/one.py", "in.txt", outside, "folder/a b", "folder/deep/run"]
    )
    assert {each.path: each.is_executable for each in made.files}["folder/deep/run"]
    assert {each.path: each.size for each in made.files}[outside] == 5
    assert {folder.rstrip("/") for folder in made.folders} == {
        *("folder", "folder/deep", "folder/empty"),
        *(".mlmake/staging/one", ".mlmake/staging/one/f"),
    }
    assert made.outputs == {
        ".mlmake/staging/one/x": f"{root}/.mlmake/staging/one/x",
        ".mlmake/staging/one/f": f"{root}/.mlmake/staging/one/f",
    }
    assert made.search == SEARCH
    assert all(os.path.isabs(each.source) and not os.path.isabs(each.path) for each in made.files)


def test_what_is_to_be_made_does_not_travel(project: Folder) -> None:
    """A step with fixed paths may name its outputs in its command, where they are taken for code."""
    project.steps(STEP)
    project.write({"steps/one.py": "", "in.txt": "one", "folder/x": "", "build/x": "old", "build/f/y": "old"})
    root = str(project.root)
    made = shipped(
        project,
        {"file": (f"{root}/in.txt",), "folder": (f"{root}/folder",)},
        {"x": f"{root}/build/x", "f": f"{root}/build/f"},
        *(f"{root}/{name}" for name in ("steps/one.py", "build/x", "build/f/y")),
    )
    assert sorted(each.path for each in made.files) == ["folder/x", "in.txt", "steps/one.py"]
