"""`restore RUN` brings back what stood when a run ended, and loses nothing that stands now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlmake.state.objects import Objects
from projects import Folder, kill, until

TWO = """
    [a]
    command = "echo {params.word} > {outputs.x}"
    params = ["word"]
    outputs = { x = "build/x" }
    [b]
    command = "cp {inputs.x} {outputs.d}f; cat {inputs.n} > {outputs.d}n"
    inputs = { x = "@a", n = "n.txt" }
    outputs = { d = "build/d/" }
"""
ALONE = TWO.partition("[b]")[0]
BACK = "the next `mlmake` puts the present results back"


@pytest.fixture
def past(project: Folder) -> Folder:
    """Run 1: one, n 1. Run 2: one, n 2, where only `b` ran. Run 3: two, n 2."""
    for word, number in (("one", "1"), ("one", "2"), ("two", "2")):
        project.write({"n.txt": number})
        project.steps(TWO, word=word)
        project.build()
    return project


def stands(project: Folder) -> tuple[str, str, str]:
    return project.read("build/x").strip(), project.read("build/d/f").strip(), project.read("build/d/n")


def restore(project: Folder, *words: str) -> list[str]:
    """What `mlmake restore` prints; it must go well."""
    told = project.cli("restore", *words)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout.splitlines()


@pytest.mark.parametrize(
    ("run", "then"),
    [("1", ("one", "one", "1")), ("2", ("one", "one", "2")), ("-3", ("one", "one", "1"))],
    ids=["first", "partly", "from the newest"],
)
def test_it_brings_back_what_stood_then(past: Folder, run: str, then: tuple[str, ...]) -> None:
    told = restore(past, run)
    assert stands(past) == then
    assert told[:2] == ["build/x of a restored", "build/d/ of b restored"]
    assert told[2].endswith(": 2 restored, 0 there already, 0 missing")
    assert told[3] == BACK
    assert past.states() == {"a": "restorable", "b": "restorable"} or past.states()["b"] == "maybe"
    assert past.build().restored == ["a", "b"]
    assert stands(past) == ("two", "two", "2")


def test_what_is_there_already_is_left_alone(past: Folder) -> None:
    before = os.stat(past.root / "build" / "x")
    assert restore(past, "latest") == ["run 3: 0 restored, 2 there already, 0 missing"]
    assert os.stat(past.root / "build" / "x") == before
    assert past.states() == {"a": "fresh", "b": "fresh"}


def test_deleted_outputs_come_back(past: Folder) -> None:
    past.cli("clean", "--all")
    restore(past, "3")
    assert stands(past) == ("two", "two", "2")
    assert past.states() == {"a": "fresh", "b": "fresh"}


def test_named_steps_alone(past: Folder) -> None:
    restore(past, "1", "b")
    assert stands(past) == ("two", "one", "1")
    assert past.cli("restore", "1", "c").returncode == 2


def test_a_step_that_had_not_run_then(past: Folder) -> None:
    past.steps(f'{TWO}    [c]\n    command = "echo c > {{outputs.z}}"\n    outputs = {{ z = "build/z" }}\n', word="two")
    past.build()
    restore(past, "1")
    assert past.has("build/z"), "nothing is removed"
    told = past.cli("restore", "1", "c")
    assert (told.returncode, told.stdout) == (2, "")
    assert "c had not run when run 1 ended" in told.stderr


def test_a_step_that_is_gone_comes_back_by_name_or_with_its_run(past: Folder) -> None:
    past.steps(ALONE, word="two")
    past.cli("clean", "a")
    (past.root / "build" / "d" / "f").unlink()
    (past.root / "build" / "d" / "n").unlink()
    assert restore(past, "3")[-2] == "run 3: 2 restored, 0 there already, 0 missing"
    assert restore(past, "1", "b")[0] == "build/d/ of b restored"
    assert stands(past) == ("two", "one", "1")


def test_there_is_no_such_run(past: Folder) -> None:
    told = past.cli("restore", "9")
    assert told.returncode == 2
    assert "there is no run 9" in told.stderr
    assert past.cli("restore").returncode == 2


def test_no_runs_yet(project: Folder) -> None:
    project.steps(TWO, word="one")
    assert "no runs yet" in project.cli("restore", "1").stderr


def test_a_dry_run_changes_nothing(past: Folder) -> None:
    told = restore(past, "1", "-n")
    assert told == [
        "build/x of a would be restored",
        "build/d/ of b would be restored",
        "run 1: 2 would be restored, 0 there already, 0 missing",
    ]
    assert stands(past) == ("two", "two", "2")


def test_a_step_with_several_outputs(project: Folder) -> None:
    outputs = ", ".join(f'o{n} = "build/{n}{"/" if n > 2 else ""}"' for n in range(5))
    command = "; ".join(f"echo {{params.word}} > {{outputs.o{n}}}{'/f' if n > 2 else ''}" for n in range(5))
    text = f'[s]\ncommand = "{command}"\nparams = ["word"]\noutputs = {{ {outputs} }}\n'
    for word in ("one", "two"):
        project.steps(text, word=word)
        project.build()
    assert restore(project, "1")[-2] == "run 1: 5 restored, 0 there already, 0 missing"
    assert [project.read(f"build/{n}{'/f' if n > 2 else ''}") for n in range(5)] == ["one\n"] * 5
    assert not os.listdir(project.home.staging)
    assert project.build().restored == ["s"]


# Nothing is lost.


@pytest.mark.parametrize("place", ["build/x", "build/d/f", "build/d/more"])
def test_what_was_edited_is_not_overwritten(past: Folder, place: str) -> None:
    past.write({place: "mine"})
    told = past.cli("restore", "1")
    assert (told.returncode, told.stdout) == (2, "")
    assert f"{'build/x' if place == 'build/x' else 'build/d/'} would be lost" in told.stderr
    assert "--force" in told.stderr
    assert past.read(place) == "mine"
    assert past.read("build/x") != "one\n", "nothing was restored"
    restore(past, "1", "--force")
    assert stands(past) == ("one", "one", "1")


def test_what_is_not_kept_is_not_overwritten(project: Folder) -> None:
    for word, kept in (("one", "true"), ("two", "false")):
        project.steps(f"{ALONE}cache = {kept}\n", word=word)
        project.build()
    told = project.cli("restore", "1")
    assert told.returncode == 2
    assert "build/x would be lost: what stands there now is not in the cache" in told.stderr
    assert project.read("build/x") == "two\n"


def test_what_is_damaged_in_the_cache_is_not_overwritten(past: Folder) -> None:
    objects = Objects(past.home.cache)
    path = next(
        path
        for digest, _, _ in objects.all()
        if Path(path := objects.path(digest)).exists() and "two" in Path(path).read_text()
    )
    os.chmod(path, 0o644)
    Path(path).write_text("2wo\n")
    told = past.cli("restore", "1")
    assert told.returncode == 2
    assert "build/x would be lost" in told.stderr
    assert stands(past) == ("two", "two", "2")


def test_an_empty_folder_is_nothing_to_lose(past: Folder) -> None:
    for name in ("f", "n"):
        (past.root / "build" / "d" / name).unlink()
    restore(past, "1")
    assert stands(past) == ("one", "one", "1")


def test_an_edited_output_that_is_what_comes_is_no_loss(past: Folder) -> None:
    past.write({"build/x": "one\n"})
    assert restore(past, "1")[-2] == "run 1: 1 restored, 1 there already, 0 missing"


# What cannot be had.


def test_what_is_missing_is_told_and_the_rest_comes(past: Folder) -> None:
    objects = Objects(past.home.cache)
    path = next(
        path for digest, _, size in objects.all() if size == 1 and Path(path := objects.path(digest)).read_text() == "1"
    )
    os.unlink(path)
    told = past.cli("restore", "1")
    assert told.returncode == 1
    assert told.stdout.splitlines() == [
        "build/d/ of b missing: the cache does not have it any more, or never had",
        "build/x of a restored",
        "run 1: 1 restored, 0 there already, 1 missing",
        BACK,
    ]
    assert stands(past) == ("one", "two", "2")


def test_what_is_damaged_is_told_and_set_aside(past: Folder) -> None:
    objects = Objects(past.home.cache)
    path = next(
        path for digest, _, size in objects.all() if size == 1 and Path(path := objects.path(digest)).read_text() == "1"
    )
    os.chmod(path, 0o644)
    Path(path).write_text("7")
    told = past.cli("restore", "1")
    assert told.returncode == 1
    assert "build/d/ of b missing: it was damaged in the cache, and is set aside there" in told.stdout
    assert stands(past) == ("one", "two", "2")
    assert len(objects.damaged()) == 1


@pytest.mark.parametrize(
    ("key", "reason"), [("cache = false", "its step says cache = false"), ("reuse = false", "reuse = false, so")]
)
def test_why_it_was_not_kept(project: Folder, key: str, reason: str) -> None:
    text = f"{ALONE}{key}\n"
    for word in ("one", "two"):
        project.steps(text, word=word)
        project.build()
    told = project.cli("restore", "1")
    assert told.returncode == 1
    assert reason in told.stdout
    assert project.read("build/x") == "two\n"


def test_a_place_that_is_declared_no_more(past: Folder) -> None:
    """A run knows its outputs by where they were."""
    past.steps(TWO.replace("build/x", "build/y"), word="two")
    past.build()
    restore(past, "1", "a")
    assert (past.read("build/x"), past.read("build/y")) == ("one\n", "two\n")


# In every way of linking, and killed.


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_linked(project: Folder, link: str) -> None:
    for word in ("one", "two"):
        project.write({"n.txt": word})
        project.steps(f"[cache]\nlink = '{link}'\n{TWO}", word=word)
        project.build()
    restore(project, "1")
    assert stands(project) == ("one", "one", "one")
    assert project.build().restored == ["a", "b"]
    assert stands(project) == ("two", "two", "two")
    assert project.cli("cache", "verify").returncode == 0


def test_a_kill_leaves_whole_states(project: Folder) -> None:
    text = """
        [s]
        command = "yes {params.word} | head -c 50000000 | tee {outputs.x} > {outputs.d}f"
        params = ["word"]
        outputs = { x = "build/x", d = "build/d/" }
    """
    for word in ("one", "two"):
        project.steps(text, word=word)
        project.build()
    staging = Path(project.home.staging)
    for attempt in range(6):
        travel = project.start("restore", str(attempt % 2 + 1))
        until(lambda: holds_a_file(staging) or travel.poll() is not None, "the first bytes to come")  # noqa: B023
        kill(travel.pid)
        travel.wait()
        for name in ("x", "d/f"):
            content = (project.root / "build" / name).read_bytes()
            assert len(content) == 50_000_000
            assert content == content[:4] * 12_500_000
    assert not project.build().done
    assert project.read("build/x")[:4] == "two\n"
    assert project.states() == {"s": "fresh"}


def test_it_waits_for_a_build(past: Folder) -> None:
    past.steps(f'{TWO}    [c]\n    command = "touch ../began; while [ ! -e ../go ]; do sleep 0.05; done"\n', word="two")
    build = past.start()
    until(lambda: past.has("../began"), "the build")
    travel = past.start("restore", "1")
    assert travel.stdout is not None
    assert travel.stdout.readline().startswith("waiting for a build of this project: pid ")
    assert stands(past) == ("two", "two", "2")
    past.write({"../go": ""})
    assert (build.wait(), travel.wait()) == (0, 0)
    assert stands(past) == ("one", "one", "1")


def holds_a_file(folder: Path) -> bool:
    try:
        return any(path.is_file() for path in folder.rglob("*"))
    except OSError:
        return False
