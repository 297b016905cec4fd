"""Facts: each that decides has a name and a value, and nothing else enters."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

from mlmake.errors import StateError
from mlmake.model.reason import Cause, Reason
from mlmake.model.run import Item
from mlmake.state.database import connect, transaction
from mlmake.state.digests import Digests
from mlmake.state.fingerprint import Fingerprint, Fingerprints
from projects import Folder

STEP = """
[pipelines.p]
params = { seed = 7, rate = 0.1, on = true, name = "x", sizes = [1, 2], model = { depth = 8, sub = { a = 1 } } }
[pipelines.p.steps.s]
script = "steps/s.py"
inputs = { table = "data/table.csv" }
outputs = { built = "build/model.bin" }
"""
FILES = {"steps/s.py": "print()\n", "data/table.csv": "1,2\n"}


def digest(text: str | bytes) -> str:
    return xxhash.xxh3_128_hexdigest(text.encode() if isinstance(text, str) else text)


def fingerprints(project: Folder, connection: sqlite3.Connection | None = None) -> Fingerprints:
    connection = connection or connect(project.home, create=False)
    return Fingerprints(project.load(), Digests(connection), connection)


def look(project: Folder, step: str = "p.s", *, pending: tuple[str, ...] = ()) -> Fingerprint:
    found = project.load().steps[step]
    return fingerprints(project).of(found, lambda each: each not in pending)


def facts(project: Folder, step: str = "p.s") -> dict[str, str]:
    return dict(look(project, step).facts)


@pytest.fixture
def one(project: Folder) -> Folder:
    """A project of one step."""
    project.toml(STEP)
    project.write(FILES)
    return project


def with_keys(project: Folder, keys: str, base: str = STEP) -> dict[str, str]:
    project.toml(f"{base}{keys}\n")
    return facts(project)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


# Names and values.


def test_every_fact_by_name_and_value(one: Folder) -> None:
    one.toml(
        STEP
        + """
args = ["{params.seed}", "--fold", "{matrix.fold}", "{env.COLOUR}"]
params = { depth = "model.depth" }
matrix = { fold = [0], kind = ["a"] }
version = 3
in_place = true
code = "steps/more.txt"
metrics = { scores = "build/scores.json" }
"""
    )
    one.write({"steps/s.py": "import helper\n", "steps/helper.py": "", "steps/more.txt": "more"})
    os.environ["COLOUR"] = "blue"
    assert facts(one, "p.s[fold=0,kind=a]") == {
        "kind": "python 1 (script, args[])",
        "args": '["steps/s.py", "{params.seed}", "--fold", "{matrix.fold}", "{env.COLOUR}"]',
        "names": '{"depth": "model.depth"}',
        "environment system": f"cpython {platform.python_version()}",
        "version": "3",
        "in_place": "true",
        "code steps/s.py": digest("import helper\n"),
        "code steps/helper.py": digest(""),
        "code steps/more.txt": digest("more"),
        "env COLOUR": digest("blue"),
        "input table": digest(f"data/table.csv\0{digest('1,2' + chr(10))}\0"),
        "param model.depth": "8",
        "param seed": "7",
        "matrix fold": "0",
        "matrix kind": '"a"',
        "output built": "build/model.bin",
        "output scores": "build/scores.json",
    }


def test_a_plain_step_has_few_facts(one: Folder) -> None:
    found = look(one)
    assert list(found.facts) == ["kind", "args", "environment system", "code steps/s.py", "input table", "output built"]
    assert found.inputs == {"table": (Item("data/table.csv", digest("1,2\n"), 4),)}
    assert found.paths == {"table": (f"{one.root}/data/table.csv",)}
    assert found.code == {f"{one.root}/steps/s.py": digest("print()\n")}
    assert (found.missing, found.pending, found.waiting) == ((), (), ())


@pytest.mark.parametrize(
    "keys",
    [
        'description = "something"',
        'tags = ["a", "b"]',
        "retries = 3",
        'timeout = "2h"',
        "resources = { cpus = 1, memory = 1000 }",
        'compute = "local"',
        'compute = "box"',
        'after = ["other"]',
        "reuse = false",
        "version = ''",
        "in_place = false",
        "params = []",
        "code = []",
    ],
)
def test_what_does_not_decide_does_not_enter(one: Folder, keys: str) -> None:
    before = facts(one)
    other = '\n[compute.box]\nkind = "ssh"\nhost = "h"\n[pipelines.p.steps.other]\ncommand = "true"\n'
    assert with_keys(one, keys + other) == before


def test_names_of_pipelines_and_steps_do_not_enter(one: Folder) -> None:
    before = facts(one)
    one.toml(STEP.replace("steps.s]", "steps.other]").replace("pipelines.p", "pipelines.q"))
    assert facts(one, "q.other") == before


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("version = 1", {"version"}),
        ('version = "1.10"', {"version"}),
        ("in_place = true", {"in_place"}),
        ('params = ["seed"]', {"param seed"}),
        ('params = { s = "seed" }', {"param seed", "names"}),
        ('args = ["{inputs.table}"]', {"args", "kind"}),
        ('metrics = { m = "build/m.json" }', {"output m"}),
        ('code = "data/table.csv"', {"code data/table.csv"}),
    ],
)
def test_what_decides_enters_under_its_name(one: Folder, keys: str, expected: set[str]) -> None:
    assert changed(facts(one), with_keys(one, keys)) == expected


def test_an_output_that_moves_is_another_fact(one: Folder) -> None:
    before = facts(one)
    one.toml(STEP.replace("build/model.bin", "build/other.bin"))
    assert changed(before, facts(one)) == {"output built"}
    one.toml(STEP.replace("built =", "other ="))
    assert changed(before, facts(one)) == {"output built", "output other"}
    one.toml(STEP.replace("build/model.bin", "build/model.bin/"))
    assert changed(before, facts(one)) == {"output built"}


def test_the_same_words_can_be_another_command_line(project: Folder) -> None:
    found = []
    for keys in [
        'command = "tool"',
        'command = ["tool"]',
        'command = ["tool", "a=b"]\nparams = ["b"]',
        'command = ["tool"]\nparams = { a = "b" }',
        'script = "tool"',
        'script = "tool"\nargs = []',
        'script = "tool"\nargs = ["--flags"]',
        'script = "tool"\nargs = ["--flags", "a=b"]\nparams = ["b"]',
        'script = "tool"\nargs = ["--flags"]\nparams = { a = "b" }',
    ]:
        project.toml(f"[pipelines.p]\nparams = {{ b = 1 }}\n[pipelines.p.steps.s]\n{keys}\n")
        project.write({"tool": "x"})
        found.append(json.dumps(facts(project)))
    assert len(set(found)) == len(found)


# Parameters.


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("seed = 7", "seed = 8", False),
        ("seed = 7", "seed = 7.0", False),
        ("seed = 7", 'seed = "7"', False),
        ("seed = 7", "seed = 0x7", True),
        ("rate = 0.1", "rate = 0.2", True),
        ("depth = 8", "depth = 9", False),
        ("depth = 8", "depth = 8, more = 1", False),
        ("a = 1", "a = 2", False),
        ("sizes = [1, 2]", "sizes = [2, 1]", True),
        ('name = "x"', "new = 1", True),
    ],
)
def test_only_the_named_parameters_count(one: Folder, old: str, new: str, is_same: bool) -> None:
    before = with_keys(one, 'params = ["seed", "model"]')
    after = with_keys(one, 'params = ["seed", "model"]', STEP.replace(old, new))
    assert (after == before) is is_same


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", "7"), ("rate", "0.1"), ("on", "true"), ("name", '"x"'), ("sizes", "[1, 2]"), ("model.sub.a", "1")],
)
def test_a_parameter_has_the_value_of_the_file(one: Folder, key: str, value: str) -> None:
    assert with_keys(one, f'params = ["{key}"]')[f"param {key}"] == value


def test_a_table_of_parameters_is_a_fact_a_leaf(one: Folder) -> None:
    found = with_keys(one, 'params = ["model"]')
    assert {name for name in found if name.startswith("param")} == {"param model.depth", "param model.sub.a"}


def test_two_parameters_that_swap_their_names_are_noticed(one: Folder) -> None:
    before = with_keys(one, 'params = { x = "seed", y = "rate" }')
    after = with_keys(one, 'params = { x = "rate", y = "seed" }')
    assert changed(before, after) == {"names"}


def test_a_parameter_that_a_command_names_counts(project: Folder) -> None:
    text = '[pipelines.p]\nparams = {{ a = {a}, b = 1 }}\n[pipelines.p.steps.s]\ncommand = "echo {{params.a}}"\n'
    project.toml(text.format(a=1))
    before = facts(project)
    project.toml(text.format(a=2))
    assert changed(before, facts(project)) == {"param a"}


# Code.


def test_a_change_in_any_imported_file_is_a_fact_of_its_own(one: Folder) -> None:
    one.write(
        {
            "steps/s.py": "import a\nfrom lib import b\n",
            "steps/a.py": "import deep\n",
            "src/lib/__init__.py": "",
            "src/lib/b.py": "from . import c\n",
            "src/lib/c.py": "",
            "src/lib/unused.py": "",
            "deep.py": "",
            "unused.py": "",
        }
    )
    before = facts(one)
    code = ["steps/s.py", "steps/a.py", "src/lib/__init__.py", "src/lib/b.py", "src/lib/c.py", "deep.py"]
    assert [name for name in before if name.startswith("code ")] == [
        "code steps/s.py",
        *sorted(f"code {path}" for path in code[1:]),
    ]
    for path in [*code, "src/lib/unused.py", "unused.py"]:
        one.write({path: one.read(path) + "# edited\n"})
        after = facts(one)
        assert changed(before, after) == ({f"code {path}"} if path in code else set())
        before = after


def test_a_new_file_that_stands_before_an_imported_one_takes_its_place(one: Folder) -> None:
    one.write({"steps/s.py": "import a\n", "a.py": "1"})
    before = facts(one)
    one.write({"src/a.py": "1"})
    assert changed(before, facts(one)) == {"code a.py", "code src/a.py"}


def test_an_import_that_comes_or_goes_changes_the_closure(one: Folder) -> None:
    one.write({"steps/a.py": "", "steps/b.py": ""})
    plain = facts(one)
    one.write({"steps/s.py": "import a\n"})
    assert changed(plain, facts(one)) == {"code steps/s.py", "code steps/a.py"}
    one.write({"steps/a.py": "import b\n"})
    assert "code steps/b.py" in facts(one)


def test_imports_are_remembered_by_content(one: Folder) -> None:
    one.write({"steps/s.py": "import a\n", "steps/a.py": ""})
    connection = connect(one.home, create=True)
    step = one.load().steps["p.s"]
    first = fingerprints(one, connection)
    expected = first.of(step).facts
    with transaction(connection):
        first.save()
    assert dict(connection.execute("SELECT digest, names FROM imports")) == {
        digest("import a\n"): '["a"]',
        digest(""): "[]",
    }
    connection.execute("UPDATE imports SET names = '[]' WHERE names != '[]'")
    assert set(expected) - set(fingerprints(one, connection).of(step).facts) == {"code steps/a.py"}
    connection.execute("UPDATE imports SET names = 'odd'")
    with pytest.raises(StateError, match="damaged"):
        fingerprints(one, connection)


def test_imports_belong_to_the_text_that_they_were_read_from(one: Folder) -> None:
    # An editor may save between the moment when a file is hashed and the moment when its imports are read.
    one.write({"steps/s.py": "import a\n", "steps/a.py": "", "steps/b.py": ""})
    connection = connect(one.home, create=True)
    digests = Digests(connection)
    first = Fingerprints(one.load(), digests, connection)
    plain = digests.of

    def of(path: str) -> object:
        found = plain(path)
        if path.endswith("s.py"):
            one.write({"steps/s.py": "import b\n"})
        return found

    digests.of = of  # type: ignore[method-assign, assignment]
    first.of(one.load().steps["p.s"])
    digests.of = plain  # type: ignore[method-assign]
    with transaction(connection):
        first.save()
    one.write({"steps/s.py": "import a\n"})
    assert "code steps/a.py" in fingerprints(one, connection).of(one.load().steps["p.s"]).facts


def test_a_look_again_sees_new_code(one: Folder) -> None:
    one.write({"steps/s.py": "import a\n"})
    step = one.load().steps["p.s"]
    looker = fingerprints(one)
    assert "code steps/a.py" not in looker.of(step).facts
    one.write({"steps/a.py": ""})
    assert "code steps/a.py" not in looker.of(step).facts
    looker.look_again()
    assert "code steps/a.py" in looker.of(step).facts


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('"conf/*.yaml"', ["conf/a.yaml", "conf/b.yaml"]),
        ('["conf/b.yaml", "conf/a.yaml"]', ["conf/b.yaml", "conf/a.yaml"]),
        ('"conf/**/*.yaml"', ["conf/a.yaml", "conf/b.yaml", "conf/deep/c.yaml"]),
        ('"conf"', ["conf/a.yaml", "conf/b.yaml", "conf/deep/c.yaml", "conf/plugin.py", "extra.py"]),
        ('"conf/"', ["conf/a.yaml", "conf/b.yaml", "conf/deep/c.yaml", "conf/plugin.py", "extra.py"]),
        ('"./conf//a.yaml"', ["conf/a.yaml"]),
        ('"conf/plug*.py"', ["conf/plugin.py", "extra.py"]),
        ('"conf/*.none"', []),
    ],
)
def test_globs_of_code_that_no_import_shows(one: Folder, code: str, expected: list[str]) -> None:
    one.write(
        {
            "conf/a.yaml": "a",
            "conf/b.yaml": "b",
            "conf/deep/c.yaml": "c",
            "conf/plugin.py": "import extra",
            "conf/__pycache__/plugin.pyc": "bytes",
            "extra.py": "",
        }
    )
    found = with_keys(one, f"code = {code}")
    assert [name.removeprefix("code ") for name in found if name.startswith("code ")][1:] == expected


def test_new_files_that_a_code_glob_matches_are_noticed(one: Folder) -> None:
    one.write({"conf/a.yaml": "a"})
    before = with_keys(one, 'code = "conf/*.yaml"')
    one.write({"conf/b.yaml": "b"})
    assert changed(before, facts(one)) == {"code conf/b.yaml"}


def test_a_named_code_file_must_be_there(one: Folder) -> None:
    with_keys(one, 'code = "steps/hleper.txt"')
    assert look(one).missing == (Reason(cause=Cause.SCRIPT_MISSING, subject="steps/hleper.txt"),)


def test_a_missing_script_is_told(one: Folder) -> None:
    (one.root / "steps/s.py").unlink()
    found = look(one)
    assert found.missing == (Reason(cause=Cause.SCRIPT_MISSING, subject="steps/s.py"),)
    assert "code steps/s.py" not in found.facts


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python steps/s.py {inputs.table}", ["steps/s.py", "steps/helper.py"]),
        ("python ./steps//s.py", ["steps/s.py", "steps/helper.py"]),
        ("sh run.sh && python steps/s.py | sort", ["run.sh", "steps/s.py", "steps/helper.py"]),
        ("(cd . ; sh run.sh)", ["run.sh"]),
        ("cat data/table.csv run.sh", ["run.sh"]),
        ("tool --config=conf.yaml --quoted='run.sh'", ["conf.yaml", "run.sh"]),
        ("cat <run.sh", ["run.sh"]),
        ("echo steps missing.sh /etc/passwd ../x -run.sh", []),
        ("cat build/made.txt build/folder/part.txt", []),
        ("cat {outputs.built}", []),
    ],
)
def test_files_that_a_command_mentions_are_its_code(one: Folder, command: str, expected: list[str]) -> None:
    one.write(
        {
            "steps/s.py": "import helper",
            "steps/helper.py": "",
            "run.sh": "",
            "conf.yaml": "",
            "build/made.txt": "",
            "build/folder/part.txt": "",
            "-run.sh": "",
            "../x": "",
        }
    )
    made = '\n[pipelines.p.steps.made]\ncommand = "true"\noutputs = { x = "build/made.txt", y = "build/folder" }\n'
    one.toml(STEP.replace('script = "steps/s.py"', f"command = {json.dumps(command)}") + made)
    found = facts(one)
    assert [name.removeprefix("code ") for name in found if name.startswith("code ")] == expected
    one.toml(STEP.replace('script = "steps/s.py"', f"command = {json.dumps(command.split())}") + made)
    if "|" not in command and "=" not in command and "<" not in command and "(" not in command:
        assert [name.removeprefix("code ") for name in facts(one) if name.startswith("code ")] == expected


def test_a_file_that_a_command_mentions_may_be_no_code(one: Folder) -> None:
    one.write({"run.sh": "", "conf.yaml": ""})
    command = 'command = "sh run.sh conf.yaml"\ncode = ["!./conf.yaml", "run.sh"]'
    one.toml(STEP.replace('script = "steps/s.py"', command))
    assert [name for name in facts(one) if name.startswith("code ")] == ["code run.sh"]


def test_a_script_of_a_command_that_appears_later_is_noticed(one: Folder) -> None:
    one.toml(STEP.replace('script = "steps/s.py"', 'command = "sh run.sh"'))
    before = facts(one)
    one.write({"run.sh": ""})
    assert changed(before, facts(one)) == {"code run.sh"}


# The environment's variables.


def test_a_variable_that_a_command_names_counts(one: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", "fast")
    monkeypatch.setenv("OTHER", "1")
    before = with_keys(one, 'args = ["{env.MODE}", "{env.MODE}"]')
    monkeypatch.setenv("OTHER", "2")
    assert facts(one) == before
    monkeypatch.setenv("MODE", "slow")
    assert changed(before, facts(one)) == {"env MODE"}
    monkeypatch.setenv("MODE", "")
    assert facts(one)["env MODE"] == digest("")
    monkeypatch.delenv("MODE")
    assert look(one).missing == (Reason(cause=Cause.VARIABLE_MISSING, subject="MODE"),)


def test_a_variables_value_is_not_written(one: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hush-hush")
    assert "hush-hush" not in str(with_keys(one, 'args = ["{env.TOKEN}"]'))


def test_a_variable_that_is_no_unicode_counts(one: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", os.fsdecode(b"\xff"))
    assert with_keys(one, 'args = ["{env.MODE}"]')["env MODE"] == digest(b"\xff")


# Inputs.


def inputs_of(project: Folder) -> list[str]:
    return [item.text for item in look(project).inputs["table"]]


def with_input(project: Folder, table: str) -> dict[str, str]:
    project.toml(STEP.replace('"data/table.csv"', table))
    return facts(project)


def test_an_edited_input_changes_its_fact_alone(one: Folder) -> None:
    before = facts(one)
    one.write({"data/table.csv": "9"})
    assert changed(before, facts(one)) == {"input table"}


def test_a_renamed_input_changes_its_fact_although_the_content_is_the_same(one: Folder) -> None:
    before = facts(one)
    (one.root / "data/table.csv").rename(one.root / "data/other.csv")
    assert changed(before, with_input(one, '"data/other.csv"')) == {"input table"}


def test_the_order_of_a_list_of_inputs_counts(one: Folder) -> None:
    one.write({"data/b.csv": "b"})
    before = with_input(one, '["data/table.csv", "data/b.csv"]')
    assert inputs_of(one) == ["data/table.csv", "data/b.csv"]
    assert changed(before, with_input(one, '["data/b.csv", "data/table.csv"]')) == {"input table"}
    assert inputs_of(one) == ["data/b.csv", "data/table.csv"]


def test_contents_that_swap_their_files_are_noticed(one: Folder) -> None:
    one.write({"data/a.csv": "a", "data/b.csv": "b"})
    before = with_input(one, '["data/a.csv", "data/b.csv"]')
    one.write({"data/a.csv": "b", "data/b.csv": "a"})
    assert changed(before, facts(one)) == {"input table"}


def test_a_glob_gives_its_matches_in_the_order_of_their_names(one: Folder) -> None:
    one.write({f"data/{name}": name for name in ["b.csv", "B.csv", "10.csv", "9.csv", "x.txt", ".hidden.csv"]})
    before = with_input(one, '"data/*.csv"')
    assert inputs_of(one) == ["data/10.csv", "data/9.csv", "data/B.csv", "data/b.csv", "data/table.csv"]
    one.write({"data/c.csv": ""})
    assert changed(before, facts(one)) == {"input table"}
    assert inputs_of(one)[-2] == "data/c.csv"
    (one.root / "data/c.csv").unlink()
    assert facts(one) == before


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("data/**/*.csv", ["data/a/b/y.csv", "data/a/x.csv", "data/table.csv"]),
        ("data/*/*.csv", ["data/a/x.csv"]),
        ("*/table.csv", ["data/table.csv"]),
        ("data/t?ble.csv", ["data/table.csv"]),
        ("data/[st]able.csv", ["data/table.csv"]),
        ("data/*", ["data/a", "data/table.csv"]),
        ("data/*/", ["data/a"]),
        ("data/a/", ["data/a/"]),
        ("./data//a/../table.csv", ["data/table.csv"]),
    ],
)
def test_globs_and_folders(one: Folder, glob: str, expected: list[str]) -> None:
    one.write({"data/a/x.csv": "x", "data/a/b/y.csv": "y"})
    with_input(one, json.dumps(glob))
    assert inputs_of(one) == expected
    assert [os.path.relpath(path, one.root) for path in look(one).paths["table"]] == [
        text.rstrip("/") for text in expected
    ]


def test_a_glob_without_a_match_is_a_missing_input(one: Folder) -> None:
    with_input(one, '["data/*.none", "data/table.csv", "gone.csv"]')
    assert look(one).missing == (
        Reason(cause=Cause.INPUT_MISSING, subject="table", new="data/*.none"),
        Reason(cause=Cause.INPUT_MISSING, subject="table", new="gone.csv"),
    )


def test_a_folder_counts_with_all_that_is_in_it(one: Folder) -> None:
    one.write({"data/in/a": "a", "data/in/deep/b": "b"})
    before = with_input(one, '"data/in/"')
    assert look(one).inputs["table"][0].size == 2
    one.write({"data/in/deep/c": ""})
    assert changed(before, facts(one)) == {"input table"}
    (one.root / "data/in/deep/c").unlink()
    assert facts(one) == before


def test_a_datastores_path_counts_by_its_portable_name(one: Folder) -> None:
    text = STEP.replace('"data/table.csv"', '"raw://table.csv"')
    one.toml(f'[datastores]\nraw = "data"\n{text}')
    before = facts(one)
    one.write({"elsewhere/table.csv": "1,2\n"})
    one.toml(f'[datastores]\nraw = "elsewhere"\n{text}')
    assert facts(one) == before
    assert look(one).paths["table"] == (f"{one.root}/elsewhere/table.csv",)


def test_names_that_are_no_unicode_can_be_inputs(one: Folder) -> None:
    (one.root / os.fsdecode(b"data/\xff.csv")).write_text("x")
    before = with_input(one, '"data/*.csv"')
    assert len(inputs_of(one)) == 2
    (one.root / os.fsdecode(b"data/\xff.csv")).rename(one.root / os.fsdecode(b"data/\xfe.csv"))
    assert changed(before, facts(one)) == {"input table"}


CHAIN = """
    [make]
    command = "true"
    matrix = { n = [2, 10, 1] }
    outputs = { x = "build/{matrix.n}.txt", y = "build/{matrix.n}.log" }
    [gather]
    command = "true"
    inputs = { all = "@make.x", one = "@make[n=2].y", file = "a.txt" }
    [globbed]
    command = "true"
    inputs = { all = "build/*.txt" }
"""


def test_a_fan_in_stands_in_the_order_of_the_matrix(project: Folder) -> None:
    project.steps(CHAIN)
    project.write({f"build/{n}.{end}": "" for n in (1, 2, 10) for end in ("txt", "log")} | {"a.txt": ""})
    found = look(project, "p.gather")
    assert [item.text for item in found.inputs["all"]] == ["build/2.txt", "build/10.txt", "build/1.txt"]
    assert [item.text for item in look(project, "p.globbed").inputs["all"]] == [
        "build/1.txt",
        "build/10.txt",
        "build/2.txt",
    ]


def test_inputs_whose_maker_is_not_final_are_left_out(project: Folder) -> None:
    project.steps(CHAIN)
    project.write({"a.txt": ""})
    found = look(project, "p.gather", pending=("p.make[n=2]",))
    assert found.pending == ("p.make[n=2]",)
    assert found.waiting == ("all", "one")
    assert [name for name in found.facts if name.startswith("input ")] == ["input file"]
    assert found.missing == ()
    found = look(project, "p.gather", pending=("p.make[n=1]", "p.make[n=10]"))
    assert (found.pending, found.waiting) == (("p.make[n=10]", "p.make[n=1]"), ("all",))
    assert [reason.subject for reason in found.missing] == ["one"]
    found = look(project, "p.globbed", pending=("p.make[n=10]",))
    assert (found.pending, found.waiting, found.missing) == (("p.make[n=10]",), ("all",), ())


# Together with the ledger.


def test_a_fact_that_changes_reruns_and_the_same_value_again_does_not(one: Folder) -> None:
    one.write({"steps/s.py": "import sys, helper\nopen(sys.argv[4], 'w').write('x')\n", "steps/helper.py": ""})
    one.build()
    edits: list[Callable[[], None]] = [
        lambda: one.write({"steps/helper.py": "# comment\n"}),
        lambda: one.write({"data/table.csv": "9"}),
        lambda: one.toml(STEP + 'version = "2"\n'),
        lambda: one.toml(STEP.replace("build/model.bin", "build/other.bin")),
        lambda: one.toml(STEP + 'params = ["seed"]\n'),
        lambda: one.toml(STEP + "in_place = true\n"),
    ]
    for edit in edits:
        edit()
        assert one.build().done == ["s"]
        assert one.build().done == []
    edit = edits[-2]
    edit()
    one.build()
    one.toml(STEP.replace("rate = 0.1", "rate = 0.9") + 'params = ["seed"]\n')
    assert one.build().done == []
    one.toml(STEP.replace("seed = 7", "seed = 8") + 'params = ["seed"]\n')
    assert one.reasons("s") == ["param seed changed: 7 -> 8"]
    one.toml(STEP + 'params = ["seed"]\n')
    assert one.build().done == []


def test_specs_that_are_alike_are_looked_at_once_each(project: Folder) -> None:
    # Facts that all combinations of a matrix share are found once; equal specs of other steps are not mixed up.
    project.steps("""
        [a]
        command = "sh {matrix.n}.sh; sh run.sh"
        matrix = { n = [1, 2] }
        [b]
        command = "sh run.sh"
    """)
    project.write({"run.sh": "run"})
    loaded = project.load()
    looker = fingerprints(project)
    found = {step.id: looker.of(step).facts for step in loaded.steps.values()}
    assert found["p.a[n=1]"]["args"] != found["p.b"]["args"]
    assert found["p.a[n=1]"]["matrix n"] == "1"
    assert found["p.a[n=2]"]["matrix n"] == "2"
    other = replace(loaded.steps["p.b"], spec=replace(loaded.steps["p.b"].spec, version="2"))
    assert looker.of(other).facts["version"] == "2"


def test_facts_do_not_depend_on_where_the_project_stands(one: Folder, tmp_path: Path) -> None:
    before = facts(one)
    one.root.rename(tmp_path / "moved")
    assert facts(Folder(tmp_path / "moved")) == before
