"""Outputs: private until they are whole, then real in one rename; what stood there before survives a failure."""

from __future__ import annotations

import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlmake.engine import staging
from mlmake.engine.staging import Spares, recover, stage
from mlmake.model.events import Noticed, StepFinished
from mlmake.model.step import Step
from mlmake.state.database import connect
from mlmake.state.digests import Digests
from projects import Folder, kill, until

TRAP = "touch ../ready; while [ ! -e ../go ]; do sleep 0.01; done"
"""Lets a test look at a step that is in the middle of its work."""

ODD = ["a b", "-x", "'", '"', "$HOME", "`id`", "größe", "日本", "🧪", "a\nb", "%s", "&;|", "#", "a~", "x" * 200]


@pytest.fixture
def elsewhere(project: Folder) -> Iterator[Path]:
    """A folder on another disk than the project's."""
    folder = Path("/dev/shm") / f"mlmake-{uuid.uuid4().hex}"
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(project.root).st_dev:
        pytest.skip("there is no second file system here")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def listed(folder: Path) -> list[str]:
    """Everything in a folder, at any depth."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def private(project: Folder) -> list[str]:
    """What is left in private places."""
    return [name for place in ("staging", "aside") for name in listed(Path(project.home.folder) / place)]


# Files


def test_a_real_place_never_holds_half_of_an_output(project: Folder) -> None:
    text = """
        [one]
        command = "echo {params.word} > {outputs.x}; %s; echo end >> {outputs.x}"
        outputs = { x = "build/deep/er/x" }
    """
    project.steps(text.replace("%s", "true"), word="old")
    project.build()
    assert project.read("build/deep/er/x") == "old\nend\n"
    project.steps(text.replace("%s", TRAP), word="new")
    running = project.start()
    until((project.root / "../ready").exists)
    assert project.read("build/deep/er/x") == "old\nend\n"
    assert listed(project.root / "build") == ["deep", "deep/er", "deep/er/x"]
    project.write({"../go": ""})
    assert running.wait() == 0
    assert project.read("build/deep/er/x") == "new\nend\n"
    assert private(project) == []


def test_a_failure_keeps_the_last_good_output_and_record(project: Folder) -> None:
    text = """
        [one]
        command = "echo {params.word} > {outputs.x}; exit {params.code}"
        outputs = { x = "build/x" }
    """
    project.steps(text, word="old", code=0)
    project.build()
    before = project.record("p.one")
    inode = (project.root / "build/x").stat().st_ino
    project.steps(text, word="new", code=3)
    built = project.build()
    assert built.failed == ["one"]
    assert built.message("one") == "exit code 3"
    assert project.read("build/x") == "old\n"
    assert (project.root / "build/x").stat().st_ino == inode
    assert project.record("p.one") == before
    assert private(project) == []
    assert project.reasons("one") == ['param word changed: "old" -> "new"', "param code changed: 0 -> 3"]
    project.steps(text, word="old", code=0)
    assert project.states() == {"one": "fresh"}


@pytest.mark.parametrize("in_place", [False, True])
def test_an_output_that_was_not_written_is_named(project: Folder, in_place: bool) -> None:
    project.steps(f"""
        [one]
        command = "echo > {{outputs.a}}"
        outputs = {{ a = "build/a", b = "build/b", c = "build/c" }}
        in_place = {str(in_place).lower()}
    """)
    built = project.build()
    assert built.failed == ["one"]
    assert "did not write its output b (build/b), c (build/c)" in built.message("one")
    assert ("must write to the path that it is handed" in built.message("one")) is not in_place
    assert not project.has("build/a")
    assert project.states() == {"one": "stale"}


def test_metrics_are_outputs(project: Folder) -> None:
    project.steps("""
        [good]
        command = "echo '{{\\"f1\\": 0.5}}' > {outputs.m}"
        metrics = { m = "build/good.json" }
        [bad]
        command = "echo nonsense > {outputs.m}"
        metrics = { m = "build/bad.json" }
    """)
    built = project.build()
    assert sorted(built.done) == ["bad", "good"]
    assert json.loads(project.read("build/good.json").replace("{{", "{").replace("}}", "}")) == {"f1": 0.5}
    assert any("build/bad.json cannot be read as JSON" in event.text for event in built.of(Noticed))


def test_several_outputs_move_together(project: Folder) -> None:
    project.steps("""
        [one]
        command = "echo a > {outputs.a}; echo b > {outputs.b}; mkdir {outputs.c}/d; echo d > {outputs.c}/d/d"
        outputs = { a = "build/a", b = "other/b", c = "build/c/" }
        [two]
        command = "cat {inputs.x} {inputs.y}/d/d > {outputs.z}"
        inputs = { x = ["@one.a", "@one.b"], y = "@one.c" }
        outputs = { z = "build/z" }
    """)
    assert project.build().done == ["one", "two"]
    assert project.log("build/z") == ["a", "b", "d"]
    assert private(project) == []


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_odd_names(project: Folder, name: str, in_place: bool) -> None:
    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    project.write({f"in/{name}": "content", f"{name}.txt": "top"})
    project.steps(f"""
        [copy]
        command = "cat {{inputs.x}} {{inputs.top}} > {{outputs.y}}; cp {{inputs.x}} {{outputs.d}}"
        inputs = {{ x = {quoted("in/" + name)}, top = {quoted(name + ".txt")} }}
        outputs = {{ y = {quoted(name)}, d = {quoted(f"folder {name}/"[-200:])} }}
        in_place = {str(in_place).lower()}
    """)
    built = project.build()
    assert built.done == ["copy"], [e.message for e in built.of(StepFinished)]
    assert project.read(name) == "contenttop"
    assert project.read(f"folder {name}/"[-200:] + name) == "content"
    assert project.states() == {"copy": "fresh"}


def test_a_file_in_the_way_of_an_output_fails_the_step(project: Folder) -> None:
    project.write({"build": "a file"})
    for in_place in ("false", "true"):
        project.steps(f"""
            [one]
            command = "echo 1 > {{outputs.x}}"
            outputs = {{ x = "build/x" }}
            in_place = {in_place}
            [two]
            command = "true"
        """)
        built = project.build(keep_going=True)
        assert built.failed == ["one"]
        assert "build" in built.message("one")
        assert project.read("build") == "a file"
        assert private(project) == []
    assert project.states()["two"] == "fresh"


def test_a_folder_full_of_work_is_not_replaced_by_a_file(project: Folder) -> None:
    project.write({"data/precious.csv": "years of work"})
    project.steps("""
        [one]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "data" }
    """)
    built = project.build()
    assert built.failed == ["one"]
    assert "cannot put its output into place" in built.message("one")
    assert project.read("data/precious.csv") == "years of work"


def test_an_output_is_a_file_of_its_own(project: Folder) -> None:
    """A step that links its input to its output may do so."""
    project.write({"x": "1"})
    project.steps("""
        [one]
        command = "ln {inputs.x} {outputs.hard}; ln -s $PWD/{inputs.x} {outputs.soft}"
        inputs = { x = "x" }
        outputs = { hard = "build/hard", soft = "build/soft" }
    """)
    built = project.build()
    assert built.done == ["one"]
    assert built.summary.edited == ()
    assert project.states() == {"one": "fresh"}
    project.write({"x": "2"})
    assert project.reasons("one") == [
        "input x changed",
        "output build/hard is not what the last run wrote",
        "output build/soft is not what the last run wrote",
    ]


def test_modes_stay(project: Folder) -> None:
    project.steps("""
        [one]
        command = "echo 'echo hi' > {outputs.x}; chmod 750 {outputs.x}"
        outputs = { x = "build/x" }
    """)
    project.build()
    assert stat.S_IMODE((project.root / "build/x").stat().st_mode) == 0o750


def test_what_a_step_leaves_in_its_private_place_goes(project: Folder) -> None:
    project.steps("""
        [one]
        command = "echo 1 > {outputs.x}; d=$(dirname {outputs.x}); mkdir -p $d/a/b; echo > $d/a/b/c; chmod -R 500 $d/a"
        outputs = { x = "build/x" }
    """)
    assert project.build().done == ["one"]
    assert private(project) == []
    assert project.build("one", force=True).done == ["one"]


# Folders


def test_a_folder_is_swapped_whole(project: Folder) -> None:
    text = """
        [one]
        command = "for n in {params.names}; do echo $n > {outputs.d}/$n; done; exit {params.code}"
        outputs = { d = "build/d/" }
    """
    project.steps(text, names=["a", "b"], code=0)
    project.build()
    assert listed(project.root / "build/d") == ["a", "b"]
    project.steps(text, names=["b", "c"], code=0)
    project.build()
    assert listed(project.root / "build/d") == ["b", "c"]
    project.steps(text, names=["z"], code=1)
    assert project.build().failed == ["one"]
    assert listed(project.root / "build/d") == ["b", "c"]
    assert private(project) == []
    project.write({"build/d/stray": ""})
    assert project.reasons("one")[-1] == "output build/d/ is not what the last run wrote"


def test_a_folder_and_a_file_can_take_each_others_place(project: Folder) -> None:
    for command in ("mkdir {outputs.x}; echo 1 > {outputs.x}/y", "mkdir {outputs.x}; echo 2 > {outputs.x}/z"):
        project.steps(f"""
            [one]
            command = "{command}"
            outputs = {{ x = "build/x" }}
        """)
        assert project.build().done == ["one"]
    assert listed(project.root / "build/x") == ["z"]
    shutil.rmtree(project.root / "build/x")
    project.write({"build/x": "a file"})
    assert project.build().restored == ["one"]
    assert listed(project.root / "build/x") == ["z"]


def test_a_folder_that_is_a_link_is_followed(project: Folder, tmp_path: Path) -> None:
    """People link their large folders to other disks."""
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "old").touch()
    (project.root / "models").symlink_to(tmp_path / "large")
    for in_place in ("false", "true"):
        project.steps(f"""
            [one]
            command = "echo {in_place} > {{outputs.d}}/new"
            outputs = {{ d = "models/" }}
            in_place = {in_place}
        """)
        assert project.build().done == ["one"]
        assert (project.root / "models").is_symlink()
        assert listed(tmp_path / "large") == ["new"]
        assert project.states() == {"one": "fresh"}


def test_a_commit_that_fails_puts_folders_back(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        [one]
        command = "echo {params.n} > {outputs.d}/x; echo {params.n} > {outputs.e}/x"
        outputs = { d = "build/d/", e = "build/e/" }
    """
    project.steps(text, n=1)
    project.build()
    project.steps(text, n=2)

    def refuse(source: str, target: str, real: object = staging.rename) -> None:
        if target.endswith("build/e"):
            monkeypatch.undo()
            raise OSError(28, "No space left on device")
        os.replace(source, target)

    monkeypatch.setattr(staging, "rename", refuse)
    built = project.build()
    assert built.failed == ["one"]
    assert "No space left on device" in built.message("one")
    assert [project.read(f"build/{name}/x") for name in "de"] == ["1\n", "1\n"]
    assert private(project) == []


# in_place

IN_PLACE = """
    [one]
    command = "%s"
    outputs = { x = "out/x", d = "out/d/" }
    in_place = true
"""


def test_in_place_writes_where_it_says(project: Folder) -> None:
    project.steps(IN_PLACE % "[ ! -e out/x ] && echo 1 > out/x && ls out/d > ../y; mv ../y out/d")
    assert project.build().done == ["one"]
    assert project.build("one", force=True).done == ["one"]  # the old outputs are out of the way
    assert listed(project.root / "out") == ["d", "d/y", "x"]
    assert project.read("out/d/y") == ""
    assert project.states() == {"one": "fresh"}
    assert private(project) == []


def test_in_place_puts_back_what_a_failure_left_half_done(project: Folder) -> None:
    project.steps(IN_PLACE % "echo good > out/x; (cd out/d; echo good > y)")
    project.build()
    for bad in (
        "echo half > out/x; exit 1",
        "rm -rf out",
        "echo half > out/x; echo half > out/d/z; kill -9 $$",
        "true",
    ):
        project.steps(IN_PLACE % bad)
        assert project.build().failed == ["one"], bad
        assert listed(project.root / "out") == ["d", "d/y", "x"]
        assert [project.read("out/x"), project.read("out/d/y")] == ["good\n", "good\n"]
        assert private(project) == []
    project.steps(IN_PLACE % "echo good > out/x; (cd out/d; echo good > y)")
    assert project.states() == {"one": "fresh"}


def test_in_place_leaves_nothing_of_a_first_failure(project: Folder) -> None:
    project.steps(IN_PLACE % "echo half > out/x; (cd out/d; echo half > z); exit 1")
    assert project.build().failed == ["one"]
    assert listed(project.root / "out") == []


def test_in_place_with_retries_starts_from_nothing_each_time(project: Folder) -> None:
    attempt = "echo >> ../tries; [ ! -e out/x ] && echo 1 > out/x && [ $(wc -l < ../tries) -ge 2 ]"
    project.steps(IN_PLACE % attempt + "    retries = 1\n")
    built = project.build()
    assert built.done == ["one"]
    assert len(built.started) == 2


@pytest.mark.parametrize("first", [True, False])
def test_the_next_build_puts_back_what_a_killed_one_left(project: Folder, first: bool) -> None:
    good = "echo good > out/x; (cd out/d; echo good > y)"
    if not first:
        project.steps(IN_PLACE % good)
        project.build()
    project.steps(IN_PLACE % f"echo half > out/x; {TRAP}")
    running = project.start()
    until((project.root / "../ready").exists)
    guards = project.guards()
    kill(running.pid)
    for guard in guards:
        guard.wait(60)
    assert project.read("out/x") == "half\n"
    project.steps("""
        [other]
        command = "true"
    """)
    built = project.build()
    assert [event.text for event in built.of(Noticed)] == [
        "the last build died while p.one ran: its old outputs are back in place"
    ]
    assert listed(project.root / "out") == ([] if first else ["d", "d/y", "x"])
    assert private(project) == []
    project.steps(IN_PLACE % good)
    assert project.states() == {"one": "stale" if first else "fresh"}


# Death at every point of the way


class Killed(BaseException):
    """Stands for a kill -9: nothing is cleaned up."""


def test_recovery_from_death_at_any_point(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old or new, whole, for every output, wherever the build dies, and wherever the next one dies in recovering."""
    for in_place in (False, True):
        points = 0
        while _dies_at(project, in_place, points, monkeypatch):
            points += 1
        assert points >= 8


def _dies_at(project: Folder, in_place: bool, point: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Commit a step's outputs and die at the given call that changes the disk; False if there are fewer calls."""
    shutil.rmtree(project.root / "out", ignore_errors=True)
    project.write({"out/x": "old", "out/d/y": "old"})
    project.steps(f"""
        [one]
        command = "true"
        outputs = {{ x = "out/x", d = "out/d/", n = "out/n/" }}
        in_place = {str(in_place).lower()}
    """)
    step = project.load().steps["p.one"]
    died = _run_until(step, project, point, monkeypatch)
    for later in range(20):  # the next build dies too, in the middle of recovering
        if not _recover_until(project, later, monkeypatch):
            break
    assert private(project) == []
    if not died:
        assert _contents(project) == {"x": "new", "d/y": "new", "n/y": "new"}
        return False
    contents = _contents(project)
    assert contents.get("d/y") == "old", f"died at {point}: {contents}"
    assert contents.get("x") in (("old",) if in_place else ("old", "new")), f"died at {point}: {contents}"
    assert contents.get("n/y") in (None, "new"), f"died at {point}: {contents}"
    return True


def _contents(project: Folder) -> dict[str, str]:
    folder = project.root / "out"
    return {name: (folder / name).read_text() for name in listed(folder) if (folder / name).is_file()}


def _run_until(step: Step, project: Folder, point: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    place = stage(project.home, step, 1, Spares())
    project.home.ensure()
    connection = connect(project.home, create=True)
    try:
        with monkeypatch.context() as patch:
            _die_at(point, patch)
            place.prepare()
            for name, path in place.outputs.items():
                Path(path, "y" if name != "x" else "").write_text("new")
            place.commit(Digests(connection))
    except Killed:
        return True
    finally:
        connection.close()
    place.finish()
    return False


def _recover_until(project: Folder, point: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    try:
        with monkeypatch.context() as patch:
            _die_at(point, patch)
            recover(project.home, lambda step, run: False)
    except Killed:
        return True
    return False


def _die_at(point: int, patch: pytest.MonkeyPatch) -> None:
    """Raise Killed at the given call of all that change names on disk."""
    calls = iter(range(1_000_000))
    for name in ("replace", "unlink", "makedirs"):

        def call(*args: object, real: object = getattr(os, name), **rest: object) -> None:
            if next(calls) == point:
                raise Killed
            real(*args, **rest)  # type: ignore[operator]

        patch.setattr(os, name, call)


# Another disk


@pytest.mark.parametrize("in_place", ["false", "true"])
def test_outputs_on_another_disk(project: Folder, elsewhere: Path, in_place: str) -> None:
    text = f"""
        [datastores]
        far = "{elsewhere}"
        [one]
        command = '''
            echo {{params.n}} > {{outputs.x}}; chmod 750 {{outputs.x}}
            mkdir {{outputs.d}}/e; echo {{params.n}} > {{outputs.d}}/e/f; ln -s f {{outputs.d}}/e/g
            exit {{params.code}}
        '''
        outputs = {{ x = "far://deep/x", d = "far://d/" }}
        in_place = {in_place}
    """
    project.steps(text, n=1, code=0)
    assert project.build().done == ["one"]
    assert project.states() == {"one": "fresh"}
    assert listed(elsewhere) == ["d", "d/e", "d/e/f", "d/e/g", "deep", "deep/x"]
    assert stat.S_IMODE((elsewhere / "deep/x").stat().st_mode) == 0o750
    assert (elsewhere / "d/e/g").is_symlink()
    project.steps(text, n=2, code=1)
    assert project.build().failed == ["one"]
    assert [(elsewhere / name).read_text() for name in ("deep/x", "d/e/f")] == ["1\n", "1\n"]
    project.steps(text, n=2, code=0)
    assert project.build().done == ["one"]
    assert [(elsewhere / name).read_text() for name in ("deep/x", "d/e/f")] == ["2\n", "2\n"]
    assert listed(elsewhere) == ["d", "d/e", "d/e/f", "d/e/g", "deep", "deep/x"]
    assert private(project) == []


def test_death_on_the_way_to_another_disk_leaves_nothing_there(
    project: Folder, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.toml(f"""
        [datastores]
        far = "{elsewhere}"
        [pipelines.p.steps.one]
        command = "true"
        outputs = {{ x = "far://x", d = "far://d/" }}
    """)
    step = project.load().steps["p.one"]
    died = True
    point = 0
    while died:
        shutil.rmtree(elsewhere / "d", ignore_errors=True)
        (elsewhere / "d").mkdir()
        (elsewhere / "d" / "y").write_text("old")
        (elsewhere / "x").write_text("old")
        died = _run_until(step, project, point, monkeypatch)
        recover(project.home, lambda step, run: False)
        assert listed(elsewhere) == ["d", "d/y", "x"]
        assert (elsewhere / "d/y").read_text() == ("old" if died else "new")
        assert (elsewhere / "x").read_text() in ("old", "new")
        point += 1
    assert point > 5


def test_a_full_disk_keeps_all_that_is_there(project: Folder, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"""
        [datastores]
        far = "{elsewhere}"
        [one]
        command = "echo {{params.n}} > {{outputs.near}}; echo {{params.n}} > {{outputs.x}}"
        outputs = {{ near = "build/near", x = "far://x" }}
    """
    project.steps(text, n=1)
    project.build()

    def full(source: str, target: str, **rest: object) -> None:
        Path(target).write_text("hal")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    project.steps(text, n=2)
    assert "No space left" in project.build().message("one")
    assert project.read("build/near") == "1\n"
    assert listed(elsewhere) == ["x"]
    assert (elsewhere / "x").read_text() == "1\n"
