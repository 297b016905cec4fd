"""References between steps, paths as in make, globs, datastores, and what comes first."""

from __future__ import annotations

import glob
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import ROOT, read, step

from mlmake.config.owners import Claim, Owners
from mlmake.config.places import SCHEMES, locate
from mlmake.config.references import parse_selector, split_reference
from mlmake.model.data import Datastore, Location
from mlmake.model.globs import matches
from mlmake.model.step import Step

PIPELINE = """
[clean]
script = "clean.py"
outputs = { table = "build/clean.csv", log = "build/clean.log" }
[fit]
script = "fit.py"
matrix = { model = ["tree", "line"], fold = [0, 1] }
inputs = { table = "@clean.table" }
outputs = { fitted = "build/{matrix.model}-{matrix.fold}.pkl" }
[folder]
script = "folder.py"
outputs = { parts = "build/parts/" }
"""


def sources(text: str, name: str = "s", key: str = "x") -> list[tuple[str, tuple[str, ...]]]:
    """What an input of a step holds: path as shown, ids of its producers."""
    found = next(each for each in step(text, name).inputs if each.name == key)
    return [(source.location.text, source.producers) for source in found.sources]


def reading(said: str) -> list[tuple[str, tuple[str, ...]]]:
    """The sources of an input that says `said`, in the pipeline above."""
    return sources(f"{PIPELINE}\n[s]\nscript = 's.py'\ninputs = {{ x = {said} }}")


# References.


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("'@clean.table'", [("build/clean.csv", "p.clean")]),
        ("'@p.clean.log'", [("build/clean.log", "p.clean")]),
        ("'@folder'", [("build/parts/", "p.folder")]),
        ("'@folder.parts'", [("build/parts/", "p.folder")]),
        ("'@fit[model=line,fold=1]'", [("build/line-1.pkl", "p.fit[model=line,fold=1]")]),
        ("'@fit[fold=1,model=line].fitted'", [("build/line-1.pkl", "p.fit[model=line,fold=1]")]),
        ("'@fit[ fold = 1 , model = line ].fitted'", [("build/line-1.pkl", "p.fit[model=line,fold=1]")]),
        ("'@p.fit[model=tree,fold=0].fitted'", [("build/tree-0.pkl", "p.fit[model=tree,fold=0]")]),
        ("['@clean.log', '@clean.table']", [("build/clean.log", "p.clean"), ("build/clean.csv", "p.clean")]),
    ],
)
def test_references(said: str, found: list[tuple[str, str]]) -> None:
    assert reading(said) == [(text, (producer,)) for text, producer in found]


def test_fan_in_keeps_matrix_order() -> None:
    all_four = ["build/tree-0.pkl", "build/tree-1.pkl", "build/line-0.pkl", "build/line-1.pkl"]
    assert [text for text, _ in reading("'@fit.fitted'")] == all_four
    assert [text for text, _ in reading("'@fit'")] == all_four
    assert [text for text, _ in reading("'@fit[fold=1].fitted'")] == ["build/tree-1.pkl", "build/line-1.pkl"]
    assert [text for text, _ in reading("['@fit[model=line].fitted', 'own.csv', '@fit[model=tree].fitted']")] == [
        "build/line-0.pkl",
        "build/line-1.pkl",
        "own.csv",
        "build/tree-0.pkl",
        "build/tree-1.pkl",
    ]


def test_all_combinations_that_are_read_come_first() -> None:
    project = read(f"{PIPELINE}\n[s]\nscript = 's.py'\ninputs = {{ x = '@fit[fold=1].fitted' }}")
    assert project.steps["p.s"].producers == ("p.fit[model=tree,fold=1]", "p.fit[model=line,fold=1]")
    assert project.steps["p.fit[model=tree,fold=1]"].producers == ("p.clean",)


def test_one_to_one() -> None:
    text = f"""{PIPELINE}
[s]
script = "s.py"
matrix = {{ fold = [0, 1], model = ["line", "tree"] }}
inputs = {{ x = "@fit[model={{matrix.model}},fold={{matrix.fold}}].fitted" }}
"""
    for fold in (0, 1):
        for model in ("line", "tree"):
            found = sources(text, f"s[fold={fold},model={model}]")
            assert found == [(f"build/{model}-{fold}.pkl", (f"p.fit[model={model},fold={fold}]",))]


def test_references_by_parameter() -> None:
    text = f"{PIPELINE}\n[params]\nbest = 'line'\n[s]\nscript='s.py'\ninputs.x = '@fit[model={{params.best}}].fitted'"
    assert [path for path, _ in sources(text)] == ["build/line-0.pkl", "build/line-1.pkl"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("[0.1, 0.5]", "0.1"),
        ("[true, false]", "true"),
        ("['a b', 'c']", "a b"),
        ("['v1.2/x', 'c']", "v1.2/x"),
        ("[1e20, 1]", "1e+20"),
    ],
)
def test_references_to_values_of_each_type(values: str, said: str) -> None:
    text = f"""
[a]
script = "a.py"
matrix = {{ v = {values} }}
outputs = {{ o = "out/{{matrix.v}}/x" }}
[s]
script = "s.py"
inputs = {{ x = "@a[v={said}].o" }}
"""
    assert sources(text) == [(f"out/{said}/x", (f"p.a[v={said}]",))]


def test_references_across_pipelines() -> None:
    project = read("""
[pipelines.one.steps.make]
script = "x.py"
matrix = { i = [0, 1] }
outputs = { o = "one-{matrix.i}" }
[pipelines.two.steps.take]
script = "x.py"
inputs = { a = "@one.make.o", b = "@one.make[i=1].o", c = "one-0" }
after = ["one.make"]
""")
    take = project.steps["two.take"]
    assert [[source.location.text for source in each.sources] for each in take.inputs] == [
        ["one-0", "one-1"],
        ["one-1"],
        ["one-0"],
    ]
    assert take.producers == ("one.make[i=0]", "one.make[i=1]")
    assert list(project.steps)[-1] == "two.take"


def test_metrics_are_outputs() -> None:
    text = "[a]\nscript='a.py'\nmetrics = { m = 'm.json' }\n[s]\nscript='s.py'\ninputs = { x = '@a', y = '@a.m' }"
    assert sources(text) == sources(text, key="y") == [("m.json", ("p.a",))]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("@a", ("a", "")),
        ("@a.b", ("a", "b")),
        ("@p.a.b", ("p.a", "b")),
        ("@a[x=1]", ("a[x=1]", "")),
        ("@a[x=1.5].b", ("a[x=1.5]", "b")),
        ("@p.a[x=1.5].b", ("p.a[x=1.5]", "b")),
    ],
)
def test_a_reference_is_a_step_and_an_output(text: str, parts: tuple[str, str]) -> None:
    assert split_reference(text) == parts


def test_a_selector_is_a_pipeline_a_step_and_values() -> None:
    assert parse_selector("a") == ("", "a", {})
    assert parse_selector("p.a[x=1, y=b=c]") == ("p", "a", {"x": "1", "y": "b=c"})
    assert parse_selector("a[x=1,x=1]") == ("", "a", {"x": "1"})


# Order without data.


def test_after() -> None:
    project = read("""
[a]
script = "a.py"
matrix = { i = [0, 1] }
outputs = { o = "{matrix.i}" }
[b]
script = "b.py"
matrix = { i = [0, 1] }
after = ["a[i={matrix.i}]", "c"]
[c]
script = "c.py"
after = ["a", "p.a", "a[i=1]"]
[d]
script = "d.py"
inputs = { x = "@a[i=0].o" }
after = ["a"]
""")
    after = {each.name: each.after for each in project.steps.values()}
    assert after["b[i=1]"] == ("p.a[i=1]", "p.c")
    assert after["c"] == ("p.a[i=0]", "p.a[i=1]")
    assert after["d"] == ("p.a[i=1]",), "what hands over data is no mere order"
    assert project.steps["p.d"].upstream == ("p.a[i=0]", "p.a[i=1]")


# Paths as in make.


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("build/clean.csv", ("p.clean",)),
        ("./build//x/../clean.csv", ("p.clean",)),
        ("build/parts", ("p.folder",)),
        ("build/parts/", ("p.folder",)),
        ("build/parts/1.csv", ("p.folder",)),
        ("build/parts/deep/1.csv", ("p.folder",)),
        ("build/parts-of-it", ()),
        ("build/clean", ()),
        ("other.csv", ()),
        ("build/", "all"),
        ("build", "all"),
        ("build/*", "all"),
        ("**", "all"),
        ("build/**", "all"),
        ("**/*.pkl", "fit"),
        ("build/*.pkl", "fit"),
        ("build/*-[0-9].pkl", "fit"),
        ("build/**/*.pkl", "all but clean"),
        ("build/tree-?.pkl", ("p.fit[model=tree,fold=0]", "p.fit[model=tree,fold=1]")),
        ("build/[tx]ree-0.pkl", ("p.fit[model=tree,fold=0]",)),
        ("build/clean.*", ("p.clean",)),
        ("build/parts/*.csv", ("p.folder",)),
        ("build/parts/**/*.csv", ("p.folder",)),
        ("build/p*/*.csv", ("p.folder",)),
        ("*/parts/a/b", ("p.folder",)),
        ("build/?/clean.csv", ()),
        ("build?clean.csv", ()),
        ("build[!a]clean.csv", ()),
        ("*.csv", ()),
    ],
)
def test_a_path_that_a_step_makes_is_its_output(said: str, found: str | tuple[str, ...]) -> None:
    fits = tuple(f"p.fit[model={model},fold={fold}]" for model in ("line", "tree") for fold in (0, 1))
    wanted = {
        "all": {"p.clean", *fits, "p.folder"},
        "all but clean": {*fits, "p.folder"},
        "fit": {*fits, "p.folder"} if said.startswith("**") else {*fits},
    }
    ((_, producers),) = reading(f"'{said}'")
    assert set(producers) == (wanted[found] if isinstance(found, str) else set(found))


def test_a_path_that_a_step_of_another_pipeline_makes() -> None:
    project = read("""
[pipelines.two.steps.s]
script = "s.py"
inputs = { x = "one.csv" }
[pipelines.one.steps.a]
script = "a.py"
outputs = { o = "./one.csv" }
""")
    assert project.steps["two.s"].producers == ("one.a",)
    assert list(project.steps) == ["one.a", "two.s"]


def test_brackets_in_the_name_of_an_output() -> None:
    text = """
[a]
script = "a.py"
matrix = { i = [0, 1] }
outputs = { o = "build/a[i={matrix.i}].csv" }
[s]
script = "s.py"
matrix = { i = [0, 1] }
inputs = { x = "build/a[i={matrix.i}].csv", y = "build/a[ab].csv" }
"""
    assert sources(text, "s[i=1]") == [("build/a[i=1].csv", ("p.a[i=1]",))]
    location = step(text, "s[i=1]").inputs[0].sources[0].location
    assert (location.path, location.pattern) == (f"{ROOT}/build/a[i=1].csv", "")
    pattern = step(text, "s[i=1]").inputs[1].sources[0].location
    assert (pattern.path, pattern.pattern) == (f"{ROOT}/build", "a[ab].csv")


def test_order_of_paths_in_an_input() -> None:
    assert [text for text, _ in reading("['z.csv', 'a.csv', 'z.csv', 'm/*.csv']")] == [
        "z.csv",
        "a.csv",
        "z.csv",
        "m/*.csv",
    ]


_NAMES = st.sampled_from(["a", "b", "ab", "a.csv", ".hid", "x1"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_PARTS = st.sampled_from(
    ["*", "**", "?", "a", "ab", "*.csv", "a*", "[ab]", "[!a]", ".*", "*b", "x[0-9]", "[.*]", "a**"]
)
_GLOBS = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)


@given(paths=st.sets(_PATHS, max_size=6), pattern=_GLOBS)
@settings(max_examples=300, deadline=None)
def test_outputs_match_a_glob_as_files_do(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str], pattern: str
) -> None:
    root = tmp_path_factory.mktemp("globs")
    files = [path for path in paths if not any(other.startswith(f"{path}/") for other in paths)]
    for path in files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    globbed = glob.glob(pattern, root_dir=root, recursive=True)
    found = {os.path.normpath(path) for path in globbed if not path.endswith("/")}  # `a/**` gives `a/` for a file too
    assert {path for path in files if matches(path, pattern)} == found & set(files)


def test_many_stars_do_not_take_long() -> None:
    path = "/".join("ab" * 30)
    assert not matches(path, "/".join(["**"] * 40 + ["*a*"] * 20 + ["nothing"]))
    assert not matches("a" * 200, "*a" * 50 + "b")


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_producers_by_looking_at_each_output(data: st.DataObject) -> None:
    paths = data.draw(st.lists(_PATHS, max_size=8, unique=True))
    owners = Owners()
    maker = step("[s]\nscript = 's.py'")
    for path in paths:
        owners.claim(Claim(_called(maker, path), Location(path, f"{ROOT}/{path}"), ""))
    asked = data.draw(_PATHS)
    found = set(owners.producers(Location(asked, f"{ROOT}/{asked}")))
    above = [path for path in paths if asked == path or asked.startswith(f"{path}/")]
    below = {path for path in paths if path.startswith(f"{asked}/")}
    assert found == ({max(above, key=len)} if above else below)


def _called(maker: Step, name: str) -> Step:
    return replace(maker, id=name)


# Places.


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("a.csv", Location("a.csv", "/project/a.csv")),
        ("./a//b/../c.csv", Location("a/c.csv", "/project/a/c.csv")),
        ("a/", Location("a/", "/project/a", is_folder=True)),
        (".", Location("./", "/project", is_folder=True)),
        ("a b.csv", Location("a b.csv", "/project/a b.csv")),
        ("..a/b", Location("..a/b", "/project/..a/b")),
        ("12:30.csv", Location("12:30.csv", "/project/12:30.csv")),
        ("raw://x.csv", Location("raw://x.csv", "/project/data/x.csv")),
        ("raw://./b/../x.csv", Location("raw://x.csv", "/project/data/x.csv")),
        ("raw://x/", Location("raw://x/", "/project/data/x", is_folder=True)),
        ("raw://", Location("raw://", "/project/data", is_folder=True)),
        ("far://x.csv", Location("far://x.csv", "/mnt/far/x.csv")),
        ("up://x.csv", Location("up://x.csv", "/shared/x.csv")),
        ("url://x.csv", Location("url://x.csv", "/srv/x.csv")),
        ("1st://x.csv", Location("1st://x.csv", "/project/first/x.csv")),
        ("daten-größe://x", Location("daten-größe://x", "/project/d/x")),
        ("lake://x.csv", Location("lake://x.csv", "s3://acme/base/x.csv", is_remote=True)),
        ("lake://a/../x/", Location("lake://x/", "s3://acme/base/x", is_folder=True, is_remote=True)),
        ("lake://", Location("lake://", "s3://acme/base", is_folder=True, is_remote=True)),
        ("s3://b/x.csv", Location("s3://b/x.csv", "s3://b/x.csv", is_remote=True)),
        ("s3://b/x/", Location("s3://b/x/", "s3://b/x", is_folder=True, is_remote=True)),
        ("simplecache::s3://b/x", Location("simplecache::s3://b/x", "simplecache::s3://b/x", is_remote=True)),
        ("zip://a::s3://b/x.zip", Location("zip://a::s3://b/x.zip", "zip://a::s3://b/x.zip", is_remote=True)),
        ("https://x.org/a?b=1", Location("https://x.org/a?b=1", "https://x.org/a?b=1", is_remote=True)),
        ("file:///mnt/x.csv", Location("file:///mnt/x.csv", "/mnt/x.csv")),
        ("local:///mnt/x/", Location("file:///mnt/x/", "/mnt/x", is_folder=True)),
    ],
)
def test_places(text: str, location: Location) -> None:
    assert locate(text, "/project", _stores(), globs=True) == location


@pytest.mark.parametrize(
    ("text", "path", "pattern"),
    [
        ("*.csv", "/project", "*.csv"),
        ("data/*.csv", "/project/data", "*.csv"),
        ("data/2*/x/*.csv", "/project/data", "2*/x/*.csv"),
        ("data/**/x?", "/project/data", "**/x?"),
        ("data/[ab].csv", "/project/data", "[ab].csv"),
        ("data/*/", "/project/data", "*"),
        ("raw://a/*", "/project/data/a", "*"),
        ("raw://*", "/project/data", "*"),
        ("lake://a/*", "s3://acme/base/a", "*"),
        ("lake://*", "s3://acme/base", "*"),
        ("s3://b/a/*.csv", "s3://b/a", "*.csv"),
        ("file:///mnt/*.csv", "/mnt", "*.csv"),
        ("a[b", "/project/a[b", ""),
        ("a[]b", "/project/a[]b", ""),
        ("a[b/c]d", "/project/a[b/c]d", ""),
    ],
)
def test_globs(text: str, path: str, pattern: str) -> None:
    location = locate(text, "/project", _stores(), globs=True)
    assert (location.path, location.pattern) == (path, pattern)
    assert location.text.rstrip("/") == text.rstrip("/")


def _stores() -> dict[str, Datastore]:
    return dict(
        read("""
[datastores]
raw = "data"
far = "/mnt/far/"
up = "../shared"
url = "file:///srv"
1st = "./first"
"daten-größe" = "d"
lake = "s3://acme/base/"
[s]
script = "s.py"
""").datastores
    )


def test_a_home_folder_is_a_datastore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = "[datastores]\nmine = '~/data'\n[s]\nscript = 's.py'\ninputs = { x = 'mine://a' }"
    assert step(text).inputs[0].sources[0].location.path == "/home/me/data/a"


def test_one_place_under_two_names_has_one_producer() -> None:
    text = """
[datastores]
here = "build"
lake = "s3://acme/"
[a]
script = "a.py"
outputs = { o = "build/x.csv", u = "s3://acme/d/", f = "file:///project/f" }
[s]
script = "s.py"
inputs = { x = ["here://x.csv", "here://", "lake://d/1.csv", "lake://d", "s3://acme/*/x", "f"] }
"""
    assert [producers for _, producers in sources(text)] == [("p.a",)] * 6


def test_every_scheme_of_fsspec_is_known() -> None:
    fsspec = pytest.importorskip("fsspec")
    assert set(fsspec.available_protocols()) <= SCHEMES


def test_paths_need_no_files(tmp_path: Path) -> None:
    project = read("[s]\nscript = 'no/such.py'\ninputs = { x = 'no/such.csv' }", root=str(tmp_path))
    assert project.steps["p.s"].inputs[0].sources[0].location.path == f"{tmp_path}/no/such.csv"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        ("{ o = 'build/{matrix.i}.csv' }", "build/7.csv"),
        ("{ o = 'build/{matrix.i}/{matrix.i}/' }", "build/7/7/"),
        ("{ o = '{params.out}/{matrix.i}' }", "there/7"),
        ("{ o = '{params.deep.out}-{matrix.i}' }", "true-7"),
        ("{ o = '{{matrix.i}}-{matrix.i}' }", "{matrix.i}-7"),
        ("{ o = '{a.b}{}{x}-{matrix.i}' }", "{a.b}{}{x}-7"),
    ],
)
def test_placeholders_in_paths(outputs: str, found: str) -> None:
    text = f"""
[params]
out = "there"
deep = {{ out = true }}
[s]
script = "s.py"
matrix = {{ i = [7] }}
outputs = {outputs}
"""
    assert step(text, "s[i=7]").outputs[0].location.text == found
