"""Runs side by side: `mlmake metrics --runs`, sorted, as CSV and JSON, drawn."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mlmake.cli.chart import chart
from mlmake.cli.figure import draw
from mlmake.errors import UsageError
from mlmake.services.comparison import Comparison, Row
from projects import Folder

FIT = """
    [fit]
    command = '''
    echo '{"loss": {params.rate}, "name": "x", "curve": [3, 2, {params.rate}]}' > {outputs.scores}
    '''
    metrics = { scores = "scores.json" }
    params = ["same"]

    [other]
    command = "echo '{\\"size\\": 1}' > {outputs.other}"
    metrics = { other = "other.json" }
"""


@pytest.fixture
def runs(project: Folder) -> Folder:
    """Three runs with another rate each, and a parameter that stays."""
    project.steps(FIT, rate=0.5, same=1)
    for rate in ("0.5", "0.125", "0.25"):
        project.build(overrides=(f"rate={rate}",))
    return project


def test_runs_as_a_table(runs: Folder) -> None:
    told = runs.cli("metrics", "fit", "--runs", "2..").stdout.splitlines()
    assert [line.split() for line in told] == [
        ["run", "rate", "scores.loss", "scores.name", "scores.curve"],
        ["2", "0.125", "0.125", "x", "0.125", "(of", "3)"],
        ["3", "0.25", "0.25", "x", "0.25", "(of", "3)"],
    ]
    both = runs.cli("metrics", "--runs", "all").stdout.splitlines()
    assert "fit scores.loss" in both[0]
    assert "other other.size" in both[0], "a step that did not run again stands as it was"
    assert [line.split()[-1] for line in both[1:]] == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["--sort", "loss"], [2, 3, 1]),
        (["--sort", "-scores.loss"], [1, 3, 2]),
        (["--sort", "curve"], [2, 3, 1]),
        (["--sort", "-run"], [3, 2, 1]),
        (["--sort", "same"], [1, 2, 3]),
        (["--runs", "-2..", "--sort", "fit scores.loss"], [2, 3]),
        (["--runs", "3,1"], [3, 1]),
    ],
)
def test_which_runs_and_in_which_order(runs: Folder, words: list[str], order: list[int]) -> None:
    found = runs.json("metrics", *words)
    assert isinstance(found, list)
    assert [each["run"] for each in found] == order
    assert {*found[0]["params"]} == {"rate"}


def test_csv_has_the_values_as_they_are(runs: Folder) -> None:
    rows = list(csv.DictReader(io.StringIO(runs.cli("metrics", "fit", "--runs", "all", "--csv").stdout)))
    assert [row["rate"] for row in rows] == ["0.5", "0.125", "0.25"]
    assert rows[1]["scores.curve"] == "[3, 2, 0.125]"
    plain = runs.cli("metrics", "fit", "--csv").stdout.splitlines()
    assert plain[:2] == ["step,metric,value,run", "fit,scores.loss,0.25,3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runs", "9"], "there is no run in '9'"),
        (["--runs", "x"], "'x' is no run"),
        (["--sort", "los"], "did you mean 'loss'?"),
        (["--sort", "rate", "--run", "1"], "--run is for one run"),
        (["-o", "x.jpg"], "a picture ends in .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_compared(runs: Folder, words: list[str], message: str) -> None:
    done = runs.cli("metrics", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_runs_there_is_nothing_to_compare(project: Folder) -> None:
    project.steps(FIT, rate=0.5, same=1)
    assert "no runs yet" in project.cli("metrics", "--plot").stderr


def test_a_plot_in_the_terminal_and_as_a_picture(runs: Folder) -> None:
    told = runs.cli("metrics", "--plot").stdout
    assert "fit scores.loss\n" in told
    assert "run 1 " in told
    assert "fit scores.curve, run 2\n" in told, "a series is a curve of its own"
    assert "scores.name" not in told, "a text is nothing to draw"
    assert runs.cli("metrics", "-o", "m.svg").stdout == "wrote m.svg\n"
    assert runs.read("m.svg").startswith("<?xml")


def test_pictures_of_every_format(tmp_path: Path) -> None:
    panels = {"loss": ("run", {"": [(1.0, 2.0), (2.0, 3.0)]})}
    draw(panels, str(tmp_path / "m.png"))
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="cannot write"):
        draw(panels, str(tmp_path / "no" / "where.svg"))
    with pytest.raises(UsageError, match="41 metrics are too many"):
        draw({str(number): ("run", {}) for number in range(41)}, str(tmp_path / "m.png"))


def test_without_its_extra_a_picture_says_what_to_install(runs: Folder) -> None:
    runs.write({"matplotlib/__init__.py": "raise ImportError('no')"})
    env = {"PYTHONPATH": f"{runs.root}:{':'.join(sys.path)}"}
    assert "mlmake[plot]" in runs.cli("metrics", "-o", "m.svg", env=env).stderr
    assert runs.cli("metrics", "--plot", env=env).returncode == 0


def test_a_chart() -> None:
    assert chart([(1, 0.0), (2, 7.0), (4, 3.5)], "run") == [
        "7 │    •·",
        "  │      ··",
        "  │   ·    ···",
        "  │           ·•",
        "  │  ·",
        "  │ ·",
        "  │",
        "0 │•",
        "  └─────────────",
        "   run 1       4",
    ]
    assert chart([(3, 2.5)], "run")[0] == "2.5 │•"


ODD = """
    [odd]
    script = "odd.py"
    metrics = { m = "odd.json" }
"""
WRITES_ODD = """
import json, sys
values = {"nan": float("nan"), "far": float("-inf"), "huge": 10**400, "wide": 1e308, "two\\nlines": 1}
json.dump({**values, "curve": [1.0, float("nan"), 3.0], "$x^ $": 2.5}, open(sys.argv[2], "w"))
"""


@pytest.fixture
def odd(project: Folder) -> Folder:
    """A run with numbers that are none, and names that are hard to draw."""
    project.steps(ODD)
    project.write({"odd.py": WRITES_ODD})
    project.build()
    return project


@pytest.mark.parametrize("words", ["metrics", "metrics --runs all", "show", "diff 1 1"])
def test_json_is_valid_whatever_a_metric_holds(odd: Folder, words: str) -> None:
    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = odd.cli(*words.split(), "--json").stdout
    json.loads(text, parse_constant=refused)
    assert ('"nan": null' in text) is (words in ("metrics", "show"))


def test_what_is_no_number_is_not_drawn(odd: Folder) -> None:
    told = odd.cli("metrics", "--plot")
    assert told.returncode == 0, told.stderr
    drawn = [line for line in told.stdout.splitlines() if line.startswith("m.")]
    assert drawn == ["m.two\\nlines", "m.curve, run 1", "m.$x^ $"]
    assert odd.cli("metrics", "-o", "m.png").returncode == 0


def test_a_name_of_two_lines_stays_in_one(odd: Folder) -> None:
    listed = odd.cli("metrics").stdout.splitlines()
    assert len(listed) == 1 + 7
    assert any("m.two\\nlines" in line for line in listed)
    assert len(odd.cli("metrics", "--runs", "all").stdout.splitlines()) == 2


@pytest.mark.parametrize("sort", ["loss", "-loss"])
def test_what_is_no_number_comes_last(sort: str) -> None:
    nobody: Any = None
    losses = [float("nan"), 2.0, 10**400, None, 1]
    rows = [
        Row(subject=nobody, run=number, params={}, metrics={} if loss is None else {"loss": loss})
        for number, loss in enumerate(losses)
    ]
    found = [row.run for row in Comparison.of(rows).by(sort).rows]
    assert found == [*([4, 1, 2] if sort == "loss" else [2, 1, 4]), 0, 3]
