"""Runs side by side: `mlmake metrics --runs`, sorted, as CSV and JSON, drawn."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import pytest

from mlmake.cli.chart import chart
from mlmake.cli.figure import draw
from mlmake.errors import UsageError
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
