"""`mlmake data` on projects that were really built, one of them over a real S3."""

from __future__ import annotations

import re
import sqlite3
import zipfile
from typing import Any

import pytest

from projects import Folder
from servers import S3Server

STEPS = """
    [clean]
    command = "tr a-z A-Z < {inputs.raw} > {outputs.table}"
    inputs = { raw = "raw.txt" }
    outputs = { table = "build/table.txt" }
    [count]
    command = "wc -l < {inputs.table} > {outputs.n}"
    inputs = { table = "@clean" }
    outputs = { n = "build/n.txt" }
"""
_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_DIGEST = re.compile(r"\b[0-9a-f]{12}\b")


@pytest.fixture
def built(project: Folder) -> Folder:
    """Three runs: one, one with other data, and one in which the first comes back out of the cache."""
    project.steps(STEPS)
    for text in ("one\n", "one\ntwo\n", "one\n"):
        project.write({"raw.txt": text})
        project.build()
    return project


def data(project: Folder, *words: str) -> Any:
    return project.json("data", *words)


def lines(project: Folder, *words: str) -> list[str]:
    done = project.cli("data", *words)
    assert done.returncode == 0, done.stderr
    return [_DIGEST.sub("DIGEST", _DATE.sub("DATE", line)) for line in done.stdout.splitlines()]


def test_all_that_was_made_or_used(built: Folder) -> None:
    assert [line.split("  ")[0] for line in lines(built)] == ["data", "build/n.txt", "build/table.txt", "raw.txt"]
    told = {each["text"]: each for each in data(built)}
    table = told["build/table.txt"]
    assert (table["name"], table["store"], table["path"]) == ("table", "project", "build/table.txt")
    assert table["content"] == table["version"]
    assert (table["made"]["step"], table["made"]["run"], table["used"]["run"]) == ("p.clean", 1, 3)
    assert told["raw.txt"]["made"] is None
    assert told["raw.txt"]["name"] == "raw"
    assert told["build/n.txt"]["used"] is None


def test_one_item_both_ways(built: Folder) -> None:
    assert lines(built, "build/table.txt") == [
        "build/table.txt  DIGEST  4 B",
        "  output table of clean, made in run 1, DATE; restored in run 3",
        "  one of 2 versions: --versions lists them",
        "",
        "made from",
        "└─ clean, run 3 (restored)",
        "   └─ raw: raw.txt  DIGEST  4 B",
        "",
        "used by",
        "└─ count, runs 1 and 3",
        "   └─ build/n.txt  DIGEST  2 B",
    ]


def test_one_way_and_a_depth(built: Folder) -> None:
    assert lines(built, "raw.txt", "--down", "--depth", "1")[-1] == "   └─ build/table.txt  DIGEST  4 B …"
    down = data(built, "raw.txt", "--down", "--depth", "1")
    assert [each["step"] for each in down["down"]] == ["p.clean", "p.clean"]
    assert "up" not in down
    up = data(built, "build/n.txt", "--up")
    assert [(each["level"], each["step"], each["run"]) for each in up["up"]] == [(1, "p.count", 3), (2, "p.clean", 3)]
    (read,) = up["up"][0]["inputs"]
    assert [(each["step"], each["run"]) for each in read["made"]] == [("p.clean", 3)]
    assert "down" not in up


def test_versions(built: Folder) -> None:
    new, old = data(built, "build/table.txt", "--versions")
    assert ([each["run"] for each in new["makers"]], [each["run"] for each in old["makers"]]) == ([3, 1], [2])
    assert ([each["run"] for each in new["users"]], [each["run"] for each in old["users"]]) == ([3, 1], [2])
    assert [each["outcome"] for each in new["makers"]] == ["restored", "done"]
    assert "  used by count, run 2, DATE" in lines(built, "build/table.txt", "--versions")


def test_the_versions_of_a_past_run(built: Folder) -> None:
    sizes = {run: data(built, "raw.txt", "--run", run)["size"] for run in ("1", "2", "-1")}
    assert sizes == {"1": 4, "2": 8, "-1": 4}
    assert {each["text"]: each["size"] for each in data(built, "--run", "2")}["build/table.txt"] == 8


def test_a_step_a_folder_and_a_place_from_where_the_user_stands(built: Folder) -> None:
    assert [each["text"] for each in data(built, "clean")] == ["build/table.txt", "raw.txt"]
    assert [each["text"] for each in data(built, "p")] == ["build/n.txt", "build/table.txt", "raw.txt"]
    assert [each["text"] for each in data(built, "build/")] == ["build/n.txt", "build/table.txt"]
    assert [each["text"] for each in data(built, "build/t*.txt")] == ["build/table.txt"]
    for words in (["table.txt"], ["../raw.txt"], ["build/n.txt"], [str(built.root / "raw.txt")]):
        assert built.cli("data", *words, cwd=built.root / "build").returncode == 0, words


def test_a_step_that_is_gone(built: Folder) -> None:
    built.steps("""
        [other]
        command = "echo > {outputs.x}"
        outputs = { x = "build/x.txt" }
    """)
    assert [each["text"] for each in data(built, "clean")] == ["build/table.txt", "raw.txt"]
    assert "└─ clean, run 3 (restored)" in lines(built, "build/table.txt")


def test_a_matrix_and_a_datastore_of_this_machine(project: Folder) -> None:
    """A path of the project and one of a datastore are one place."""
    project.head = "[datastores]\nraw = 'in'"
    project.write({"in/a.txt": "a\n"})
    project.steps("""
        [fit]
        command = "cat {inputs.a} > {outputs.s}; echo {matrix.k} >> {outputs.s}"
        matrix = { k = [1, 2] }
        inputs = { a = "raw://a.txt" }
        outputs = { s = "build/s-{matrix.k}" }
        [gather]
        command = "cat {inputs.all} in/a.txt > {outputs.x}"
        inputs = { all = "@fit.s", a = "in/a.txt" }
        outputs = { x = "build/x" }
    """)
    project.build()
    assert [each["name"] for each in data(project, "raw://")] == ["a"]
    assert len(data(project)) == 4
    down = data(project, "in/a.txt")["down"]
    assert {each["step"] for each in down} == {"p.fit[k=1]", "p.fit[k=2]", "p.gather"}
    assert [each["text"] for each in data(project, "fit[k=2]")] == ["build/s-2", "raw://a.txt"]
    assert [each["text"] for each in data(project, "fit")] == ["build/s-1", "build/s-2", "raw://a.txt"]


def test_folders_and_what_is_in_them(project: Folder) -> None:
    project.write({"all/b": "b"})
    project.steps("""
        [unpack]
        command = "echo a > {outputs.x}/aa"
        outputs = { x = "parts/" }
        [first]
        command = "cat {inputs.a} > {outputs.x}"
        inputs = { a = "parts/aa" }
        outputs = { x = "all/a" }
        [pack]
        command = "ls {inputs.all} > {outputs.x}"
        inputs = { all = "all/" }
        outputs = { x = "list" }
    """)
    project.build()
    assert lines(project, "parts/aa")[:2] == [
        "parts/aa  DIGEST  2 B",
        "  in parts/, output x of unpack, made in run 1, DATE",
    ]
    assert lines(project, "all")[1] == "  a folder in which steps write"
    assert [each["step"] for each in data(project, "list")["up"]] == ["p.pack", "p.first", "p.unpack"]
    assert [each["step"] for each in data(project, "parts")["down"]] == ["p.first", "p.pack"]


def test_nothing_ran_yet(project: Folder) -> None:
    project.steps(STEPS)
    done = project.cli("data")
    assert (done.returncode, done.stdout) == (0, "no data yet: no step has run\n")
    assert data(project) == []
    done = project.cli("data", "clean")
    assert done.returncode == 2
    assert "no run has made or used clean yet" in done.stderr


@pytest.mark.parametrize(("word", "near"), [("build/tabel.txt", "build/table.txt"), ("cuont", "count")])
def test_an_unknown_word(built: Folder, word: str, near: str) -> None:
    done = built.cli("data", word)
    assert done.returncode == 2
    assert f"did you mean {near!r}?" in done.stderr


@pytest.mark.parametrize("words", [["--up"], ["build/", "--down"], ["count", "--depth", "1"]])
def test_lineage_is_of_one_item(built: Folder, words: list[str]) -> None:
    done = built.cli("data", *words)
    assert (done.returncode, "name one" in done.stderr) == (2, True)


def test_an_unknown_run(built: Folder) -> None:
    done = built.cli("data", "--run", "9")
    assert (done.returncode, "there is no run 9" in done.stderr) == (2, True)


def test_a_step_may_be_named_as_the_command_is(project: Folder) -> None:
    project.steps('[data]\ncommand = "echo > {outputs.x}"\noutputs = { x = "x" }')
    for _ in range(2):
        assert project.cli("build", "data").returncode == 0
    assert project.cli("data").stdout.startswith("data  version")


def test_the_shell_completes_items_and_steps(built: Folder) -> None:
    def completed(word: str) -> str:
        env = {"_MLMAKE_COMPLETE": "bash_complete", "COMP_WORDS": f"mlmake data {word}", "COMP_CWORD": "2"}
        return built.cli(env=env).stdout

    assert "build/table.txt" in completed("build/t")
    assert "raw.txt" not in completed("build/t")
    assert "count" in completed("cou")


def test_a_damaged_history_is_told(built: Folder) -> None:
    with sqlite3.connect(built.home.database) as connection:
        connection.execute("UPDATE step_runs SET inputs = 'spoilt'")
    connection.close()
    done = built.cli("data")
    assert (done.returncode, "is damaged" in done.stderr) == (2, True)


def test_show_tells_the_data_of_each_step(built: Folder) -> None:
    told = built.cli("show", "1", "--data").stdout
    assert re.search(r"input raw +raw\.txt +[0-9a-f]{12} +4 B\n", told)
    assert re.search(r"output table +build/table\.txt +[0-9a-f]{12} +4 B\n", told)
    shown: Any = built.json("show", "1")
    assert shown["step_runs"][0]["inputs"]["raw"][0]["text"] == "raw.txt"


# A datastore that is not on this machine.


def test_a_real_store(project: Folder, s3: S3Server) -> None:
    import s3fs

    url = s3.bucket()
    files: Any = s3fs.S3FileSystem(**s3.options, skip_instance_cache=True)
    project.head = f"[datastores.lake]\nurl = '{url}/top'\nendpoint_url = '{s3.endpoint}'\nkey = '{s3.KEY}'\n"
    project.head += "secret = '${env:LAKE_SECRET}'"
    project.steps(STEPS.replace('"raw.txt"', '"lake://raw.txt"').replace('"build/table.txt"', '"lake://out/table.txt"'))
    env = {"LAKE_SECRET": s3.SECRET}
    for text in (b"one\n", b"one\ntwo\n"):
        files.pipe_file(f"{url}/top/raw.txt", text)
        done = project.cli("--quiet", env=env)
        assert done.returncode == 0, done.stderr
    raw, table = data(project, "lake://")[::-1]
    assert (raw["store"], raw["path"], raw["made"]) == ("lake", "raw.txt", None)
    assert raw["version"].startswith("etag ")
    assert re.fullmatch("[0-9a-f]{32}", raw["content"])
    assert raw["content"] not in raw["version"]
    assert (table["made"]["step"], table["made"]["run"], table["used"]["run"]) == ("p.clean", 2, 2)
    assert len(data(project, "lake://raw.txt", "--versions")) == 2
    assert [each["step"] for each in data(project, "build/n.txt", "--up")["up"]] == ["p.count", "p.clean"]
    assert any(line.startswith("  content ") for line in lines(project, "lake://raw.txt"))
    assert "content" in lines(project)[0]
    why = project.cli("why", "count", env=env).stdout
    assert "input table is told by the store's etag" in why
    why = project.cli("why", "clean", env=env).stdout
    assert "input raw is told by the store's etag" in why
    notes: Any = project.cli("why", "clean", "--json", env=env).stdout
    assert "told by the store's etag" in notes


def test_inputs_that_are_told_by_size_and_time_say_so(project: Folder) -> None:
    """As a store without checksums stands a zip file, seen through fsspec."""
    archive = project.root / "words.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "a\n")
        file.writestr("b.txt", "b\n")
    project.steps(f"""
        [datastores]
        pack = "zip://::file://{archive}"
        [one]
        command = "cat {{inputs.a}} {{inputs.b}} > {{outputs.x}}"
        inputs = {{ a = "pack://a.txt", b = "pack://b.txt" }}
        outputs = {{ x = "x" }}
    """)
    assert project.cli("--quiet").returncode == 0
    told = project.cli("why", "one").stdout
    assert "inputs a, b are told by size and time only: this store has no checksum" in told
