"""What the words of a command line select."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from mlmake.errors import UsageError
from mlmake.model.step import Step
from mlmake.plan.selection import named, with_upstream
from projects import Folder

TWO = """
[project]
{default}

[datastores]
lake = "lake"

[pipelines.train.steps.clean]
command = "true"
inputs = {{ raw = "data.csv" }}
outputs = {{ table = "build/table.csv", folder = "build/parts/" }}
[pipelines.train.steps.fit]
command = "true"
matrix = {{ fold = [0, 1, 10], model = ["a", "b"], fast = [true, false] }}
inputs = {{ table = "@clean.table" }}
outputs = {{ model = "build/{{matrix.fold}}-{{matrix.model}}-{{matrix.fast}}.pkl" }}
[pipelines.train.steps.report]
command = "true"
inputs = {{ models = "@fit[fold=0].model" }}
outputs = {{ page = "report.html", copy = "lake://report.html" }}
after = ["notify"]
[pipelines.train.steps.notify]
command = "true"

[pipelines.score.steps.fit]
command = "true"
outputs = {{ x = "sub/build/table.csv" }}
[pipelines.score.steps.clean]
command = "true"
inputs = {{ x = "@train.fit.model" }}
outputs = {{ x = "sub/score.csv" }}
"""


@pytest.fixture
def two(project: Folder) -> Folder:
    """Two pipelines that share names of steps."""
    project.toml(TWO.format(default=""))
    return project


def names(steps: Iterable[Step]) -> list[str]:
    return [step.id for step in steps]


def select(project: Folder, *words: str, folder: str = "") -> list[str]:
    return names(named(project.load(), words, str(project.root / folder) if folder else ""))


ALL_FITS = [
    f"train.fit[fold={fold},model={model},fast={fast}]"
    for fold in (0, 1, 10)
    for model in "ab"
    for fast in ("true", "false")
]


def test_nothing_named_is_everything(two: Folder) -> None:
    assert set(select(two)) == set(two.load().steps)


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("score", ["score.fit", "score.clean"]),
        ("notify", ["train.notify"]),
        ("report.html", ["train.report"]),
        ("build/table.csv", ["train.clean"]),
        ("train.fit", ALL_FITS),
    ],
)
def test_nothing_named_is_the_projects_default(two: Folder, default: str, expected: list[str]) -> None:
    two.toml(TWO.format(default=f'default = "{default}"'))
    assert select(two) == expected
    # The default is a word of the file: it means the same wherever the user stands.
    assert select(two, folder="sub") == expected


def test_a_pipeline_selects_its_steps_in_the_order_of_the_file(two: Folder) -> None:
    assert select(two, "score") == ["score.fit", "score.clean"]
    assert select(two, "train") == ["train.clean", *ALL_FITS, "train.report", "train.notify"]


def test_a_step_is_selected_by_its_name(two: Folder) -> None:
    assert select(two, "report") == ["train.report"]
    assert select(two, "train.report") == ["train.report"]
    assert set(select(two, "clean")) == {"train.clean", "score.clean"}
    assert select(two, "score.clean") == ["score.clean"]


def test_a_matrix_is_selected_as_a_whole_or_by_any_of_its_axes(two: Folder) -> None:
    assert select(two, "train.fit") == ALL_FITS
    assert set(select(two, "fit")) == {*ALL_FITS, "score.fit"}
    one = "fit[fold=1,model=b,fast=false]"
    assert select(two, one) == select(two, f"train.{one}") == [f"train.{one}"]
    assert select(two, "fit[fold=1]") == [step for step in ALL_FITS if "fold=1," in step]
    assert select(two, "train.fit[model=a]") == [step for step in ALL_FITS if "model=a" in step]
    assert select(two, "fit[fast=true,fold=10]") == [s for s in ALL_FITS if "fold=10" in s and "fast=true" in s]
    assert select(two, "fit[ fold = 10 , model=a]") == [s for s in ALL_FITS if "fold=10,model=a" in s]


@pytest.mark.parametrize(
    "word",
    [
        "fit[fold=2]",
        "fit[fold=01]",
        "fit[fold=]",
        "fit[fast=True]",
        "fit[depth=1]",
        "fit[fold=0,depth=1]",
        "fit[fold=0,model]",
        "fit[fold=0",
        "fit[]",
        "fit[fold=0]x",
        "score.fit[fold=0]",
        "other.fit[fold=0]",
        "report[fold=0]",
        "[fold=0]",
        "train.",
        "",
        "build/other.pkl",
        "data.csv",
        "../build/table.csv",
    ],
)
def test_what_selects_nothing_is_an_error(two: Folder, word: str) -> None:
    with pytest.raises(UsageError, match="no pipeline, step or output named") as caught:
        select(two, word)
    assert repr(word) in caught.value.message
    assert caught.value.exit_code == 2
    assert "mlmake status" in caught.value.hint


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("trian", "train"),
        ("raport", "report"),
        ("notfy", "notify"),
        ("report.htm", "report.html"),
        ("build/tabel.csv", "build/table.csv"),
        ("fit[fold=1,model=b,fast=flase]", "fit[fold=1,model=b,fast=false]"),
    ],
)
def test_an_unknown_word_is_told_with_the_nearest(two: Folder, word: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(two, word)
    assert caught.value.message.endswith(f"; did you mean {nearest!r}?")


def test_a_word_that_is_near_to_none_has_no_nearest(two: Folder) -> None:
    with pytest.raises(UsageError) as caught:
        select(two, "zzzzzzzzzz")
    assert "did you mean" not in caught.value.message


def test_one_unknown_word_among_known_ones_is_an_error(two: Folder) -> None:
    with pytest.raises(UsageError):
        select(two, "report", "repotr")


def test_an_output_selects_the_step_that_makes_it(two: Folder) -> None:
    assert select(two, "report.html") == ["train.report"]
    assert select(two, "build/1-b-false.pkl") == ["train.fit[fold=1,model=b,fast=false]"]
    assert select(two, "./build/../build//table.csv") == ["train.clean"]
    assert select(two, str(two.root / "build/table.csv")) == ["train.clean"]
    assert select(two, "lake://report.html") == select(two, "lake/report.html") == ["train.report"]


def test_a_folder_selects_the_step_that_makes_it_and_so_does_what_is_in_it(two: Folder) -> None:
    for word in ["build/parts", "build/parts/", "build/parts/1.csv", "build/parts/deep/2.csv"]:
        assert select(two, word) == ["train.clean"]


def test_outputs_are_named_from_where_the_user_stands(two: Folder) -> None:
    assert select(two, "table.csv", folder="build") == ["train.clean"]
    assert select(two, "../report.html", folder="build") == ["train.report"]
    assert select(two, "score.csv", folder="sub") == ["score.clean"]
    assert select(two, "2.csv", folder="build/parts") == ["train.clean"]


def test_outputs_are_named_from_the_root_too_but_where_the_user_stands_goes_first(two: Folder) -> None:
    assert select(two, "report.html", folder="build") == ["train.report"]
    assert select(two, "build/table.csv", folder="sub") == ["score.fit"]
    assert select(two, "build/table.csv", folder="build") == ["train.clean"]


def test_several_words_select_all_without_repeats(two: Folder) -> None:
    assert select(two, "report", "build/table.csv", "report.html", "train.clean") == ["train.report", "train.clean"]


def test_a_pipelines_name_goes_before_a_steps_and_a_steps_before_an_outputs(project: Folder) -> None:
    project.toml("""
        [pipelines.a.steps.b]
        command = "true"
        [pipelines.b.steps.c]
        command = "true"
        [pipelines.b.steps.a]
        command = "true"
        outputs = { x = "c" }
    """)
    assert select(project, "b") == ["b.c", "b.a"]
    assert select(project, "c") == ["b.c"]
    assert select(project, "a") == ["a.b"]
    assert select(project, "./c") == ["b.a"]


def test_all_that_comes_before_is_added_in_order(two: Folder) -> None:
    project = two.load()
    steps = with_upstream(project, named(project, ["report"]))
    fits = [step for step in ALL_FITS if "fold=0" in step]
    assert set(names(steps)) == {"train.clean", *fits, "train.notify", "train.report"}
    order = {step.id: place for place, step in enumerate(steps)}
    assert all(order[above] < order[step.id] for step in steps for above in step.upstream)
    assert names(with_upstream(project, named(project, ["train.clean"]))) == ["train.clean"]
    assert names(with_upstream(project, [])) == []


def test_what_comes_before_is_found_across_pipelines(two: Folder) -> None:
    project = two.load()
    found = set(names(with_upstream(project, named(project, ["score.clean"]))))
    assert found == {"score.clean", *ALL_FITS, "train.clean"}


def test_a_long_chain_is_no_trouble(project: Folder) -> None:
    links = [
        f'[s{n}]\ncommand = "true"\noutputs = {{ x = "o{n}" }}\n' + (f'inputs = {{ x = "@s{n - 1}" }}\n' if n else "")
        for n in range(2000)
    ]
    project.steps("".join(links))
    loaded = project.load()
    assert names(with_upstream(loaded, named(loaded, ["s1999"]))) == [f"p.s{n}" for n in range(2000)]


def test_the_command_line_selects_from_where_it_stands(two: Folder) -> None:
    os.makedirs(two.root / "build")
    two.write({"data.csv": ""})
    result = two.cli("status", "table.csv", cwd=two.root / "build")
    assert (result.returncode, result.stderr) == (0, "")
    assert "train.clean" in result.stdout
    result = two.cli("status", "tabel.csv", cwd=two.root / "build")
    assert result.returncode == 2
    assert "no pipeline, step or output named 'tabel.csv'" in result.stderr
