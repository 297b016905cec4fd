"""`mlmake cache` on the real command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlmake.state.objects import Objects
from projects import Folder, until

ONE = """
    [s]
    command = "printf '%1000s' {params.word} > {outputs.x}"
    params = ["word"]
    outputs = { x = "build/x" }
"""


@pytest.fixture
def kept(project: Folder) -> Folder:
    """A project with three results of a thousand bytes."""
    for word in ("one", "two", "three"):
        project.steps(f"[cache]\nruns = 2\n{ONE}", word=word)
        project.build()
    return project


def said(project: Folder, *words: str) -> list[str]:
    told = project.cli("cache", *words)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout.splitlines()


def test_stats(kept: Folder) -> None:
    assert said(kept, "stats") == [
        "results  3, in 3 files and 0 folders",
        "size     2.9 KiB",
        "needed   2.0 KiB, by the steps as they are and by the newest 2 runs",
        "spare    1000 B; `mlmake cache gc` removes it",
        "limit    none",
        "shared   with nobody",
    ]
    assert kept.json("cache", "stats") == {
        "folder": kept.home.cache,
        "results": 3,
        "files": 3,
        "folders": 0,
        "size": 3000,
        "needed": 2000,
        "spare": 1000,
        "damaged": 0,
        "enabled": True,
        "limit": None,
        "runs": 2,
        "link": "copy",
        "remote": None,
        "mode": None,
    }


def test_stats_with_settings(project: Folder) -> None:
    cache = "[cache]\nenabled = false\nsize = '1GiB'\nruns = 1\nremote = 'file:///nowhere'\nmode = 'read'\n"
    project.steps(cache + ONE, word="one")
    told = said(project, "stats")
    assert told[2] == "needed   0 B, by the steps as they are and by the newest run"
    assert told[4:] == [
        "limit    1.0 GiB",
        "shared   file:///nowhere (read)",
        "off      enabled = false: nothing is kept or restored",
    ]


def test_stats_does_not_wait(project: Folder) -> None:
    project.steps("""
        [slow]
        command = "touch ../began; while [ ! -e ../go ]; do sleep 0.05; done"
    """)
    build = project.start()
    until(lambda: project.has("../began"), "the build")
    assert said(project, "stats")[0] == "results  0, in 0 files and 0 folders"
    assert build.poll() is None
    project.write({"../go": ""})
    assert build.wait() == 0


def test_verify(kept: Folder) -> None:
    assert said(kept, "verify") == ["3 objects, 2.9 KiB: all as they were written"]
    objects = Objects(kept.home.cache)
    digest = next(digest for digest, _, _ in objects.all() if "one" in Path(objects.path(digest)).read_text())
    os.chmod(objects.path(digest), 0o644)
    os.truncate(objects.path(digest), 999)
    told = kept.cli("cache", "verify")
    assert told.returncode == 1
    assert told.stdout.splitlines() == [
        f"damaged {digest}, written by s: set aside",
        "3 objects, 2.9 KiB: 1 damaged",
    ]
    assert said(kept, "verify") == ["2 objects, 2.0 KiB: all as they were written"]
    assert said(kept, "stats")[-1] == "damaged  1 set aside; `mlmake cache gc` removes them"
    assert "1.9 KiB freed" not in said(kept, "gc")[-1]
    assert objects.damaged() == []


def test_verify_json(kept: Folder) -> None:
    assert kept.json("cache", "verify") == {"objects": 3, "size": 3000, "damaged": []}
    objects = Objects(kept.home.cache)
    digest = next(digest for digest, _, _ in objects.all())
    os.chmod(objects.path(digest), 0o644)
    os.truncate(objects.path(digest), 0)
    told = kept.json("cache", "verify")
    place = os.path.join(kept.home.cache, "damaged", digest)
    assert told == {
        "objects": 3,
        "size": 2000,
        "damaged": [{"digest": digest, "place": place, "steps": ["p.s"]}],
    }


def test_gc(kept: Folder) -> None:
    assert said(kept, "gc", "-n") == ["would remove 1 result and 1 object: 1000 B freed, 2.0 KiB kept"]
    assert said(kept, "gc") == ["removed 1 result and 1 object: 1000 B freed, 2.0 KiB kept"]
    assert said(kept, "gc") == ["removed 0 results and 0 objects: 0 B freed, 2.0 KiB kept"]
    assert said(kept, "gc", "--runs", "1") == ["removed 1 result and 1 object: 1000 B freed, 1000 B kept"]
    assert kept.states() == {"s": "fresh"}
    kept.cli("clean", "--all")
    assert kept.build().restored == ["s"]


def test_gc_of_everything_but_the_present(kept: Folder) -> None:
    assert said(kept, "gc", "--all") == ["removed 2 results and 2 objects: 2.0 KiB freed, 1000 B kept"]
    told = kept.cli("cache", "gc", "--all", "--runs", "3")
    assert told.returncode == 2
    assert "say one of them" in told.stderr


def test_gc_down_to_a_size(kept: Folder) -> None:
    assert said(kept, "gc", "--size", "1MiB") == ["removed 0 results and 0 objects: 0 B freed, 2.9 KiB kept"]
    assert said(kept, "gc", "--size", "1500", "--runs", "2") == [
        "removed 1 result and 1 object: 1000 B freed, 2.0 KiB kept",
        "the rest is needed: by the steps as they are, or by the newest 2 runs; --runs N keeps fewer runs",
    ]
    told = kept.cli("cache", "gc", "--size", "much")
    assert told.returncode == 2
    assert "expected a size such as '8GiB'" in told.stderr


def test_gc_in_a_step_would_wait_for_itself(project: Folder) -> None:
    project.steps("""
        [s]
        command = "python -m mlmake cache gc > ../told 2>&1; echo $? >> ../told"
    """)
    project.build()
    assert "would wait for the one that it is a part of" in project.read("../told")
    assert project.log("../told")[-1] == "2"


def test_nothing_there(project: Folder) -> None:
    project.steps(ONE, word="one")
    assert said(project, "verify") == ["0 objects, 0 B: all as they were written"]
    assert said(project, "gc") == ["removed 0 results and 0 objects: 0 B freed, 0 B kept"]
    assert project.cli("cache", "stats", cwd=project.root.parent).returncode == 2


def test_the_group_names_its_commands(project: Folder) -> None:
    project.steps(ONE, word="one")
    told = project.cli("cache", "--help")
    assert told.returncode == 0
    assert all(word in told.stdout for word in ("stats", "verify", "gc"))
    assert project.cli("cache", "gx").returncode == 2


@pytest.mark.parametrize(
    ("line", "found"), [("mlmake ca", "cache"), ("mlmake cache v", "verify"), ("mlmake restore 1 s", "s")]
)
def test_the_shell_completes(project: Folder, line: str, found: str) -> None:
    project.steps(ONE, word="one")
    words = len(line.split()) - 1
    env = {"_MLMAKE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(words)}
    assert f",{found}\n" in project.cli(env=env).stdout
