"""Inputs and outputs in a datastore that is not on this machine: a real S3 server."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from mlmake.errors import StoreUnavailable
from mlmake.model.events import Event, StepFetching, StepStarted
from mlmake.model.run import Outcome
from mlmake.stores.base import Progress
from projects import Folder
from servers import Lake, S3Server

STEPS = """
    [clean]
    command = "tr a-z A-Z < {inputs.raw} > {outputs.table}; echo clean >> ../ran"
    inputs = { raw = "lake://raw/words.txt" }
    outputs = { table = "lake://out/table.txt" }
    [count]
    command = "wc -l < {inputs.table} > {outputs.n}; echo count >> ../ran"
    inputs = { table = "@clean" }
    outputs = { n = "build/n.txt" }
"""


def test_a_pipeline_over_a_store(project: Folder, lake: Lake) -> None:
    lake.write({"raw/words.txt": "one\ntwo\n"})
    project.steps(STEPS)
    assert project.build().done == ["clean", "count"]
    assert lake.read("out/table.txt") == "ONE\nTWO\n"
    assert project.read("build/n.txt").strip() == "2"
    assert set(project.states().values()) == {"fresh"}
    assert project.build().started == []


def test_a_new_version_is_noticed_and_equal_results_spare_the_rest(project: Folder, lake: Lake) -> None:
    lake.write({"raw/words.txt": "one\n"})
    project.steps(STEPS)
    project.build()
    lake.write({"raw/words.txt": "ONE\n"})
    assert project.states() == {"clean": "stale", "count": "maybe"}
    built = project.build()
    assert (built.done, built.spared) == (["clean"], ["count"])
    lake.write({"raw/words.txt": "one\n"})
    assert project.build().restored == ["clean"]


def test_an_output_that_is_gone_or_replaced_is_restored(project: Folder, lake: Lake) -> None:
    lake.write({"raw/words.txt": "one\n"})
    project.steps(STEPS)
    project.build()
    lake.fs.rm(f"{lake.url}/out/table.txt")
    assert project.states()["clean"] == "restorable"
    assert project.build().restored == ["clean"]
    lake.write({"out/table.txt": "somebody else's"})
    assert project.build().restored == ["clean"]
    assert lake.read("out/table.txt") == "ONE\n"
    assert project.log("../ran") == ["clean", "count"]


def test_a_missing_input_is_told(project: Folder, lake: Lake) -> None:
    project.steps(STEPS)
    done = project.cli()
    assert done.returncode == 2
    assert "input raw is missing: lake://raw/words.txt" in done.stderr


def test_folders_and_globs(project: Folder, lake: Lake) -> None:
    lake.write({"raw/a.csv": "1\n", "raw/b.csv": "2\n", "raw/in/c.csv": "3\n", "raw/d.txt": "4\n"})
    project.steps("""
        [glob]
        command = "cat {inputs.all} > {outputs.x}"
        inputs = { all = "lake://raw/*.csv" }
        outputs = { x = "build/glob" }
        [folder]
        command = "(cd {inputs.all} && find . -type f | sort) > ../names; cp -r {inputs.all}/. {outputs.x}"
        inputs = { all = "lake://raw/" }
        outputs = { x = "lake://copy/" }
    """)
    assert sorted(project.build().done) == ["folder", "glob"]
    assert project.read("build/glob") == "1\n2\n"
    assert project.log("../names") == ["./a.csv", "./b.csv", "./d.txt", "./in/c.csv"]
    assert lake.keys("copy") == ["a.csv", "b.csv", "d.txt", "in/c.csv"]
    assert project.reasons("folder") == []
    assert project.build().started == []
    lake.write({"raw/e.txt": "5\n"})
    lake.fs.rm(f"{lake.url}/raw/in/c.csv")
    assert project.build().done == ["folder"]
    assert lake.keys("copy") == ["a.csv", "b.csv", "d.txt", "e.txt"]


def test_a_streamed_input_is_handed_over_as_its_url(project: Folder, lake: Lake) -> None:
    lake.write({"raw/words.txt": "one\n"})
    project.steps("""
        [one]
        command = "echo {inputs.raw} > {outputs.x}"
        inputs = { raw = { path = "lake://raw/words.txt", mode = "path" } }
        outputs = { x = "build/x" }
    """)
    project.build()
    assert project.read("build/x") == f"{lake.url}/raw/words.txt\n"
    lake.write({"raw/words.txt": "two\n"})
    assert project.states() == {"one": "stale"}


def test_a_glob_as_one_folder(project: Folder, lake: Lake) -> None:
    lake.write({"raw/a.csv": "1\n", "raw/in/c.csv": "3\n", "raw/d.txt": "4\n"})
    project.steps("""
        [one]
        command = "(cd {inputs.all} && find . | sort && cat a.csv in/c.csv) > {outputs.x}"
        inputs = { all = { path = "lake://raw/**/*.csv", mode = "folder" } }
        outputs = { x = "build/x" }
    """)
    assert project.build().done == ["one"]
    assert project.log("build/x") == [".", "./a.csv", "./in", "./in/c.csv", "1", "3"]
    lake.write({"raw/d.txt": "5\n"})
    assert project.build().started == []
    lake.write({"raw/in/b.csv": "2\n"})
    assert project.build().done == ["one"]
    assert "./in/b.csv" in project.log("build/x")


def test_what_was_fetched_once_is_not_fetched_again(project: Folder, lake: Lake) -> None:
    lake.write({"raw/words.txt": "one\n"})
    project.steps(STEPS)
    project.build()
    inputs = os.path.join(project.home.inputs)
    before = sorted(os.stat(os.path.join(top, name)).st_ino for top, _, names in os.walk(inputs) for name in names)
    project.steps(STEPS.replace("tr a-z A-Z <", "cat <"))
    project.build()
    after = sorted(os.stat(os.path.join(top, name)).st_ino for top, _, names in os.walk(inputs) for name in names)
    assert {*before} <= {*after}


def test_a_changed_copy_of_an_input_is_not_believed(project: Folder, lake: Lake) -> None:
    lake.write({"raw/words.txt": "one\n"})
    project.steps(STEPS)
    project.build()
    for top, _, names in os.walk(project.home.inputs):
        for name in names:
            os.chmod(os.path.join(top, name), 0o644)
            with open(os.path.join(top, name), "w") as file:
                file.write("spoilt\n")
    project.steps(STEPS.replace("tr a-z A-Z <", "cat <"))
    project.build()
    assert lake.read("out/table.txt") == "one\n"


def test_a_missing_variable_is_told_and_no_secret_is_written(
    project: Folder, lake: Lake, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write({"raw/words.txt": "one\n"})
    project.steps(STEPS)
    project.build()
    for top, _, names in os.walk(project.home.folder):
        for name in names:
            with open(os.path.join(top, name), "rb") as file:
                assert s3.SECRET.encode() not in file.read(), name
    monkeypatch.delenv("LAKE_SECRET")
    done = project.cli()
    assert done.returncode == 2
    assert "lake" in done.stderr
    assert "secret" in done.stderr
    assert "LAKE_SECRET" in done.stderr
    assert s3.SECRET not in done.stderr + done.stdout


def test_what_was_fetched_survives_the_upkeep(project: Folder, lake: Lake) -> None:
    lake.write({"raw/words.txt": "one\n"})
    project.steps(STEPS)
    project.build()
    lake.write({"raw/words.txt": "two\n"})
    project.build()
    assert project.cli("cache", "gc", "--runs", "1").returncode == 0
    held = [name for _, _, names in os.walk(project.home.inputs) for name in names]
    assert sorted(held) == ["table.txt", "words.txt"]
    project.steps(STEPS.replace("tr a-z A-Z <", "cat <"))
    assert project.build().done == ["clean", "count"]


def test_a_size_is_kept(project: Folder) -> None:
    project.head = "[cache]\nsize = 150000\nruns = 1"
    for n in range(4):
        project.steps(f"""
            [one]
            command = "seq -w {n}000 {n}999 | head -c 5000 > {{outputs.x}}; truncate -s 50000 {{outputs.x}}"
            outputs = {{ x = "build/x" }}
        """)
        project.build()
    files = [os.path.join(top, name) for top, _, names in os.walk(project.home.cache) for name in names]
    assert sum(map(os.path.getsize, files)) == 150000


def test_what_comes_is_told(project: Folder, lake: Lake) -> None:
    lake.write({"raw/words.txt": "one\n" * 1000})
    project.steps(STEPS)
    assert project.build().of(StepFetching)[0] == StepFetching("p.clean", 0, 4000)
    lake.write({"raw/words.txt": "two\n" * 2000})
    assert "clean fetches 7.8 KiB" in project.cli().stdout.splitlines()


def test_a_folder_with_what_nobody_here_wrote_is_left_alone(project: Folder, lake: Lake) -> None:
    lake.write({"precious/thesis.txt": "years of work"})
    project.steps("""
        [one]
        command = "echo 1 > {outputs.x}/a.txt"
        outputs = { x = "lake://precious/" }
    """)
    built = project.build()
    assert built.failed == ["one"]
    assert "lake://precious/ holds precious/thesis.txt, which no run of this project wrote" in built.message("one")
    assert lake.keys("precious") == ["thesis.txt"]


def test_steps_that_wait_for_the_same_file_fetch_it_once(project: Folder, lake: Lake) -> None:
    lake.write({"raw/words.txt": "one\n" * 100_000, "raw/more.txt": "two\n"})
    project.steps("""
        [part]
        command = "cat {inputs.all}/words.txt {inputs.one} > {outputs.x}"
        inputs = { all = "lake://raw/", one = "lake://raw/words.txt" }
        matrix = { n = [1, 2, 3, 4, 5, 6, 7, 8] }
        outputs = { x = "build/{matrix.n}" }
    """)
    assert len(project.build(jobs=8).done) == 8
    assert {len(project.read(f"build/{n}")) for n in range(1, 9)} == {800_000}
    inodes = {os.stat(os.path.join(top, n)).st_ino for top, _, names in os.walk(project.home.inputs) for n in names}
    assert len(inodes) == 2


def test_a_store_that_goes_away_fails_the_step_and_not_the_build(
    project: Folder, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write({"raw/words.txt": "one\n"})
    project.steps("""
        [first]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/first" }
        [second]
        command = "cat {inputs.a} {inputs.raw} > {outputs.x}"
        inputs = { a = "@first", raw = "lake://raw/words.txt" }
        outputs = { x = "build/second" }
        [third]
        command = "sleep 0.2; cat {inputs.a} > {outputs.x}"
        inputs = { a = "@first" }
        outputs = { x = "build/third" }
    """)

    def away(self: object, key: str) -> None:
        raise StoreUnavailable("datastore lake: out of reach")

    def sink(event: Event) -> None:
        if isinstance(event, StepStarted):
            monkeypatch.setattr("mlmake.stores.store.DriveStore.stat", away)

    built = project.build(sink=sink, keep_going=True)
    assert (built.done, built.failed) == (["first", "third"], ["second"])
    assert built.message("second") == "datastore lake: out of reach"
    monkeypatch.undo()
    assert project.has("build/third")


def test_ctrl_c_ends_what_is_on_its_way(project: Folder, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.write({"raw/words.txt": "one\n"})
    project.steps(STEPS)
    sent = threading.Event()

    def slowly(self: object, source: str, key: str, progress: Progress) -> None:
        sent.set()
        for _ in range(6000):
            progress(1)
            time.sleep(0.01)

    monkeypatch.setattr("mlmake.stores.store.DriveStore.put", slowly)

    def interrupt() -> None:
        sent.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    built = project.build()
    assert built.summary.interrupted
    assert built.ended(Outcome.CANCELLED) == ["clean"]
    assert not lake.has("out/table.txt")
