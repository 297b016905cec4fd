"""A watch on real files: what wakes it, what does not, and that nothing is missed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mlmake.services.watch.options import Key
from projects import Folder, until
from watching import watching

STEPS = """
    [clean]
    script = "steps/clean.py"
    inputs = { raw = "data/*.csv" }
    outputs = { table = "build/table" }
    [fit]
    command = "cat {inputs.table} $(find {inputs.extra} -type f) > {outputs.model}"
    inputs = { table = "@clean", extra = "extra/" }
    outputs = { model = "build/model" }
    [page]
    command = "cat page.txt > {outputs.html}"
    inputs = { page = "page.txt" }
    outputs = { html = "build/page.html" }
"""
CLEAN = """
import argparse
import shared
parser = argparse.ArgumentParser()
parser.add_argument("--raw", nargs="*")
parser.add_argument("--table")
args = parser.parse_args()
open(args.table, "w").write(shared.WORD + "".join(open(path).read() for path in args.raw))
"""


@pytest.fixture
def three(project: Folder) -> Folder:
    project.steps(STEPS)
    project.write(
        {
            "steps/clean.py": CLEAN,
            "steps/shared.py": "WORD = 'a'\n",
            "data/1.csv": "1",
            "extra/deep/x": "x",
            "page.txt": "p",
        }
    )
    return project


def test_what_changes_is_built_and_nothing_else(three: Folder) -> None:
    with watching(three) as watch:
        assert watch.started() == ["clean", "fit", "page"]
        three.write({"data/2.csv": "2"})
        assert watch.until_built(2).why == ["data/2.csv"]
        assert watch.started() == ["clean", "fit"]
        three.write({"extra/deep/deeper/y": "y"})
        watch.until_built(3)
        assert watch.started() == ["fit"]
        three.write({"steps/shared.py": "import other\nWORD = other.WORD\n", "steps/other.py": "WORD = 'b'\n"})
        assert watch.until_built(4).why == ["steps/shared.py", "steps/other.py"]
        assert watch.started() == ["clean", "fit"]
        three.write({"steps/other.py": "WORD = 'c'\n"})
        watch.until_built(5)
        assert watch.started() == ["clean", "fit"], "what is imported since is watched since"
        three.steps(STEPS.replace("cat page.txt >", "cat page.txt page.txt >"))
        watch.until_built(6)
        assert watch.started() == ["page"], "pipelines.toml is watched"
        os.unlink(three.root / "build/page.html")
        watch.until_built(7)
        assert three.read("build/page.html") == "pp", "outputs are watched"
        assert three.read("build/table") == "c12"
    assert three.cli("status", "--check").returncode == 0


def test_what_does_not_matter_wakes_nobody(three: Folder) -> None:
    with watching(three) as watch:
        for name in ("data/.1.csv.swp", "data/1.csv~", "extra/.x.swp", "extra/deep/4913", "notes.txt", "data/1.txt"):
            three.write({name: "?"})
        os.utime(three.root / "page.txt")
        os.unlink(three.root / "extra/.x.swp")
        os.unlink(three.root / "extra/deep/4913")
        three.write({"page.txt": "q"})
        assert watch.until_built(2).why == ["page.txt"]
        assert watch.started() == ["page"]


def test_outputs_logs_and_state_wake_nobody(project: Folder) -> None:
    project.write({"in": "1"})
    project.steps("""
        [a]
        command = "mkdir -p {outputs.d}/e; cat in > {outputs.d}/e/f; cp in ../notes; echo told"
        inputs = { x = "in" }
        outputs = { d = "build/d/" }
        [b]
        command = "cat {inputs.d}/e/f > {outputs.y}"
        inputs = { d = "@a" }
        outputs = { y = "y" }
    """)
    with watching(project) as watch:
        for count in (2, 3, 4):
            project.write({"in": str(count)})
            watch.until_built(count)
        assert project.read("y") == "4"


def test_a_burst_is_one_build_once_it_is_over(project: Folder) -> None:
    (project.root / "in").mkdir()
    project.steps("""
        [all]
        command = "cat in/* | wc -c > {outputs.n}"
        inputs = { x = "in/*" }
        outputs = { n = "n" }
    """)
    project.write({"in/0": "x"})
    with watching(project, settle=0.3) as watch:
        for number in range(2_500):
            with open(project.root / f"in/{number}", "w") as file:  # made, written, written and closed: four events
                for text in ("a", "b"):
                    file.write(text)
                    file.flush()
        watch.until_built(2)
        assert project.read("n").split() == ["5000"]


def test_a_file_that_is_still_written_is_not_taken(project: Folder) -> None:
    project.write({"in": ""})
    project.steps("""
        [count]
        command = "wc -c < {inputs.x} > {outputs.n}"
        inputs = { x = "in" }
        outputs = { n = "n" }
    """)
    with watching(project, settle=0.2) as watch, open(project.root / "in", "a") as file:
        for _ in range(20):
            file.write("x")
            file.flush()
            time.sleep(0.03)
        watch.until_built(2)
        assert project.read("n").split() == ["20"]


def test_folders_that_go_and_come_again(three: Folder) -> None:
    data = three.root / "data"
    with watching(three) as watch:
        shutil.rmtree(data)
        assert watch.until_built(2).stale == ["clean", "fit"]
        three.write({"data/1.csv": "again"})
        watch.until_built(3)
        assert three.read("build/table") == "aagain"
        data.rename(three.root / "away")
        watch.until_built(4)
        three.write({"away/1.csv": "not here"})
        (three.root / "away").rename(data)
        watch.until_built(5)
        assert three.read("build/table") == "anot here"
        three.write({"data/1.csv": "and on"})
        watch.until_built(6)
        assert three.read("build/table") == "aand on"


def test_files_that_are_replaced_by_rename(three: Folder) -> None:
    with watching(three) as watch:
        for count, text in enumerate("qrs", 2):
            three.write({"page.new": text})
            (three.root / "page.new").rename(three.root / "page.txt")
            watch.until_built(count)
            assert three.read("build/page.html") == text


def test_links(project: Folder, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/x").write_text(name)
    (tmp_path / "file").write_text("file")
    (project.root / "folder").symlink_to(tmp_path / "one")
    (project.root / "tree").mkdir()
    (project.root / "tree/inner").symlink_to(tmp_path / "one/deep")
    (project.root / "link").symlink_to(tmp_path / "file")
    project.steps("""
        [all]
        command = "cat folder/deep/x link tree/inner/x > {outputs.y}"
        inputs = { a = "folder/deep/x", b = "link", c = "tree/" }
        outputs = { y = "y" }
    """)
    with watching(project) as watch:
        assert project.read("y") == "onefileone"
        (tmp_path / "file").write_text("edited")
        watch.until_built(2)
        assert project.read("y") == "oneeditedone"
        (tmp_path / "one/deep/x").write_text("1")
        watch.until_built(3)
        assert project.read("y") == "1edited1"
        os.unlink(project.root / "folder")
        (project.root / "folder").symlink_to(tmp_path / "two")
        watch.until_built(4)
        assert project.read("y") == "twoedited1"
        (tmp_path / "two/deep/x").write_text("2")
        watch.until_built(5)
        assert project.read("y") == "2edited1"
        (tmp_path / "other").write_text("other")
        (project.root / "new").symlink_to(tmp_path / "other")
        (project.root / "new").rename(project.root / "link")
        watch.until_built(6)
        assert project.read("y") == "2other1"
        (tmp_path / "other").write_text("last")
        watch.until_built(7)
        assert project.read("y") == "2last1"


def test_a_broken_file_is_told_once_and_the_last_good_one_used(three: Folder) -> None:
    good = three.read("pipelines.toml")
    with watching(three) as watch:
        three.toml(good.replace('script = "steps/clean.py"', 'scirpt = "steps/clean.py"'))
        until(lambda: watch.face.problems)
        three.write({"data/1.csv": "2"})
        watch.until_built(2)
        assert watch.started() == ["clean", "fit"]
        three.write({"page.txt": "q"})
        watch.until_built(3)
        assert len(watch.face.problems) == 1
        assert "did you mean 'script'" in watch.face.problems[0]
        three.toml(good.replace("cat page.txt", "cat page.txt page.txt"))
        watch.until_built(4)
        assert three.read("build/page.html") == "qq"
        assert len(watch.face.problems) == 1


def test_a_failed_step_waits_for_a_change_of_its_own(three: Folder) -> None:
    with watching(three) as watch:
        three.write({"steps/clean.py": "oh no"})
        failed = watch.until_built(2)
        assert failed.summary is not None
        assert (failed.summary.failed, failed.stale) == (1, ["clean", "fit"])
        three.write({"page.txt": "q"})
        watch.until_built(3)
        assert watch.started() == ["page"]
        three.write({"extra/more": "!"})
        watch.rest()
        assert len(watch.rebuilds) == 3, "what comes after a failed step waits with it"
        watch.press(Key.REBUILD)
        watch.until_built(4)
        assert watch.started() == ["clean"], "a key tries it again"
        three.write({"steps/clean.py": f"{CLEAN}# mended"})
        watch.until_built(5)
        assert watch.started() == ["clean", "fit"]
    assert three.cli("status", "--check").returncode == 0


def test_a_failed_step_is_tried_again_when_a_step_before_it_writes_something_else(project: Folder) -> None:
    project.write({"in": "1", "other": "1"})
    project.steps("""
        [a]
        command = "head -c 1 in > {outputs.x}; cat other"
        inputs = { i = "in", o = "other" }
        outputs = { x = "x" }
        [b]
        command = "grep 2 {inputs.x} > {outputs.y}"
        inputs = { x = "@a" }
        outputs = { y = "y" }
    """)
    with watching(project) as watch:
        assert watch.rebuilds[0].stale == ["b"]
        project.write({"other": "2"})
        watch.until_built(2)
        assert watch.started() == ["a"], "a wrote the same, so b would fail as it did"
        project.write({"in": "2"})
        watch.until_built(3)
        assert watch.started() == ["a", "b"]
        assert watch.rebuilds[-1].stale == []


def test_a_step_that_cannot_start_waits_too(project: Folder) -> None:
    project.write({"tool": "#!/bin/sh\ncp other $1\n", "other": "1"})
    project.steps("""
        [a]
        command = ["./tool", "{outputs.x}"]
        outputs = { x = "x" }
        [b]
        command = "cat {inputs.o} > {outputs.y}"
        inputs = { o = "other" }
        outputs = { y = "y" }
    """)
    with watching(project) as watch:
        assert watch.rebuilds[0].stale == ["a"]
        assert watch.rebuilds[0].summary is not None
        assert watch.rebuilds[0].summary.failed == 1
        project.write({"other": "2"})
        watch.until_built(2)
        assert watch.started() == ["b"]
        assert watch.rebuilds[1].summary is not None
        assert watch.rebuilds[1].summary.failed == 0
        (project.root / "tool").chmod(0o755)
        project.write({"tool": "#!/bin/sh\ncp other $1 # mended\n"})
        watch.until_built(3)
        assert watch.started() == ["a"]


def test_a_change_while_it_builds_is_built_after(project: Folder) -> None:
    project.write({"in": "1"})
    project.steps("""
        [slow]
        command = "cat in > {outputs.x}; touch ../running; while [ -e ../hold ]; do sleep 0.02; done"
        inputs = { x = "in" }
        outputs = { x = "x" }
    """)
    with watching(project) as watch:
        project.write({"../hold": "", "in": "2"})
        os.unlink(project.root / "../running")
        until(lambda: project.has("../running"))
        project.write({"in": "3"})
        os.unlink(project.root / "../hold")
        watch.until_built(3)
        assert project.read("x") == "3"


def running(project: Folder) -> Iterator[str]:
    """The command lines of what steps run."""
    for process in project.processes():
        with suppress(psutil.Error):
            yield " ".join(process.cmdline())


def test_restart_ends_what_has_become_pointless_and_that_alone(project: Folder) -> None:
    project.write({"a.in": "1", "b.in": "1"})
    project.steps("""
        [a]
        command = "cat a.in > {outputs.x}; touch ../a.runs; while [ -e ../hold ]; do sleep 0.02; done"
        inputs = { x = "a.in" }
        outputs = { x = "a" }
        [b]
        command = "cat b.in > {outputs.x}; touch ../b.runs; while [ -e ../hold ]; do sleep 0.02; done"
        inputs = { x = "b.in" }
        outputs = { x = "b" }
    """)
    with watching(project, restarts=True) as watch:
        project.write({"../hold": ""})
        os.unlink(project.root / "../a.runs")
        os.unlink(project.root / "../b.runs")
        project.write({"a.in": "2", "b.in": "2"})
        until(lambda: project.has("../a.runs") and project.has("../b.runs"))
        os.unlink(project.root / "../a.runs")
        project.write({"a.in": "3"})
        until(lambda: not any("a.in" in words for words in running(project)), "the end of a")
        assert not project.has("../a.runs")
        os.unlink(project.root / "../hold")
        watch.until_built(3)
        assert watch.rebuilds[1].summary is not None
        assert (watch.rebuilds[1].summary.cancelled, watch.rebuilds[1].summary.ran) == (1, 1)
        assert watch.started() == ["a"]
        assert (project.read("a"), project.read("b")) == ("3", "2")


def test_restart_ends_what_the_file_says_otherwise(project: Folder) -> None:
    project.write({"in": "1"})
    text = """
        [a]
        command = "echo A > {outputs.x}; touch ../a.runs; while [ -e ../hold ]; do sleep 0.02; done"
        inputs = { x = "in" }
        outputs = { x = "a" }
        [b]
        command = "echo B > {outputs.x}; touch ../b.runs; while [ -e ../hold ]; do sleep 0.02; done"
        inputs = { x = "in" }
        outputs = { x = "b" }
    """
    project.steps(text)
    with watching(project, restarts=True) as watch:
        project.write({"../hold": ""})
        os.unlink(project.root / "../a.runs")
        os.unlink(project.root / "../b.runs")
        project.write({"in": "2"})
        until(lambda: project.has("../a.runs") and project.has("../b.runs"))
        project.toml("[pipelines")  # broken: nothing ends
        project.steps(text.replace("echo A", "echo other").replace("[b]", "[b]\n        tags = ['x']"))
        until(lambda: not any("echo A" in words for words in running(project)), "the end of a")
        assert any("echo B" in words for words in running(project)), "tags mean nothing"
        os.unlink(project.root / "../hold")
        watch.until_built(3)
        assert watch.rebuilds[1].summary is not None
        assert (watch.rebuilds[1].summary.cancelled, watch.rebuilds[1].summary.ran) == (1, 1)
        assert watch.started() == ["a"]
        assert project.read("a") == "other\n"


def test_a_step_that_changes_what_it_reads_does_not_run_for_ever(project: Folder) -> None:
    project.write({"in": "1", "other": "1"})
    project.steps("""
        [odd]
        command = "echo x >> in; echo run >> ../log; cat in > {outputs.x}"
        inputs = { x = "in" }
        outputs = { x = "x" }
        [even]
        command = "cat other > {outputs.y}"
        inputs = { o = "other" }
        outputs = { y = "y" }
    """)
    with watching(project) as watch:
        runs = len(project.log("../log"))
        assert 2 <= runs <= 4
        project.write({"other": "2"})
        until(lambda: project.read("y") == "2")
        watch.rest()
        assert len(project.log("../log")) <= runs + 4


def test_looking_instead_of_listening(three: Folder) -> None:
    with watching(three, only_looks=True, poll=0.05) as watch:
        three.write({"data/2.csv": "2"})
        watch.until_built(2)
        assert watch.started() == ["clean", "fit"]
        three.write({"extra/deep/deeper/y": "y"})
        watch.until_built(3)
        shutil.rmtree(three.root / "data")
        watch.until_built(4)
        three.write({"data/1.csv": "again"})
        watch.until_built(5)
        assert watch.started() == ["clean", "fit"]
        assert three.read("build/table") == "aagain"


def test_folders_are_as_few_as_they_can_be(project: Folder) -> None:
    steps = [
        f'[s{n}]\ncommand = "cp {{inputs.x}} {{outputs.y}}"\ninputs = {{ x = "in/{n}" }}\noutputs = {{ y = "out/{n}" }}'
        for n in range(50)
    ]
    project.write({f"in/{n}": str(n) for n in range(50)})
    project.steps("\n".join(steps))
    with watching(project) as watch:
        assert watch.face.watched is not None
        assert watch.face.watched[0] == 50
        assert watch.face.watched[2] == 3, "the root, in and out"
        project.write({"in/7": "seven"})
        assert watch.until_built(2).started == ["s7"]


def test_pausing(three: Folder) -> None:
    with watching(three) as watch:
        watch.press(Key.PAUSE)
        three.write({"page.txt": "q"})
        until(lambda: watch.watch._quiet.due is not None)
        time.sleep(0.2)
        assert len(watch.rebuilds) == 1
        watch.press(Key.PAUSE)
        watch.until_built(2)
        watch.press(Key.QUIT)
        until(lambda: watch.has_ended)
        assert watch.end() == 0


def test_what_is_read_no_more_is_watched_no_more(three: Folder) -> None:
    (three.root / "data/round").symlink_to("round")
    with watching(three) as watch:
        three.steps(STEPS.replace('extra = "extra/"', 'extra = "page.txt"'))
        watch.until_built(2)
        shutil.rmtree(three.root / "extra")
        three.write({"data/2.csv": "2"})
        watch.until_built(3)
        os.unlink(three.root / "data/2.csv")
        watch.until_built(4)
        head, root = watch.selection.post.look.head, str(three.root)
        assert all(path.startswith(root) for path in head["files"] if path)
        assert all(folder.startswith(root) for folder in watch.selection.post.interest.folders)
