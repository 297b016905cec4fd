"""Every key of pipelines.toml, its default and what it becomes; matrices and their names."""

from __future__ import annotations

from dataclasses import fields

import pytest
from reading import read, step

from mlmake.config import tables
from mlmake.kinds.command import Command
from mlmake.kinds.python import Python
from mlmake.model.data import Datastore
from mlmake.model.project import Compute, Environment
from mlmake.model.resources import Resources
from mlmake.model.step import Step

WHOLE = """
[project]
name = "flights"
default = "train"

[datastores]
raw = "data"
lake = { url = "s3://acme/flights", key = "${env:LAKE_KEY}", secret = "${env:LAKE_SECRET}" }

[environments.ml]
python = "3.11"
packages = ["scikit-learn==1.9.1"]
requirements = "requirements.txt"
variables = ["OMP_NUM_THREADS"]

[environments.box]
image = "python:3.12"

[compute.gpubox]
kind = "ssh"
host = "gpubox"
user = "me"
port = 22
key = "~/.ssh/id"
root = "/scratch/mlmake"
fetch = "always"
cpus = 16
gpus = 2
memory = "64GiB"
resources = { licence = 2 }

[compute.engine]
kind = "docker"
via = "gpubox"
network = false
mounts = ["/data:/data:ro"]

[compute.any]
kind = "pool"
of = ["gpubox", "local"]

[pipelines.train]
description = "Predict arrival delays"
params = { seed = 7, model = { depth = 8, rate = 0.1 } }

[pipelines.train.steps.clean]
script = "steps/clean.py"
inputs = { flights = "raw://flights.csv.gz" }
outputs = { table = "build/clean.parquet" }

[pipelines.train.steps.fit]
script = "steps/fit.py"
args = ["--depth", "{params.model.depth}"]
description = "Fit a model"
tags = ["slow", "gpu"]
matrix = { fold = [0, 1] }
inputs = { table = "@clean.table", more = ["a.csv", "b/"] }
params = ["seed", "model.depth"]
outputs = { model = "build/model-{matrix.fold}.pkl" }
metrics = { scores = "build/scores-{matrix.fold}.json" }
code = ["lib/*.yaml"]
compute = "gpubox"
environment = "ml"
resources = { cpus = 4, gpus = 1, memory = "8GiB", licence = 1 }
retries = 2
timeout = "2h"
in_place = true
reuse = false
version = 3

[pipelines.train.steps.report]
command = "python steps/report.py {inputs.scores} -o {outputs.page}"
inputs = { scores = "@fit.scores" }
outputs = { page = "build/report.html" }
after = ["fit"]
"""


def names(text: str) -> list[str]:
    return [each.name for each in read(text).steps.values()]


def test_a_project_that_says_everything() -> None:
    project = read(WHOLE, root="/work/flights-2")
    assert (project.root, project.name, project.default) == ("/work/flights-2", "flights", "train")
    assert list(project.steps) == ["train.clean", "train.fit[fold=0]", "train.fit[fold=1]", "train.report"]
    assert [each.name for each in project.pipelines["train"].steps] == ["clean", "fit[fold=0]", "fit[fold=1]", "report"]
    assert project.pipelines["train"].description == "Predict arrival delays"
    assert project.pipelines["train"].params == {"seed": 7, "model": {"depth": 8, "rate": 0.1}}
    assert project.owners["/work/flights-2/build/scores-1.json"] == "train.fit[fold=1]"


def test_a_step_that_says_everything() -> None:
    spec = read(WHOLE).steps["train.fit[fold=1]"].spec
    assert spec.kind == Python(script="steps/fit.py", args=("--depth", "{params.model.depth}"))
    assert (spec.name, spec.description, spec.tags) == ("fit", "Fit a model", ("slow", "gpu"))
    assert spec.matrix == {"fold": (0, 1)}
    assert spec.inputs == {"table": ("@clean.table",), "more": ("a.csv", "b/")}
    assert spec.params == {"seed": "seed", "model.depth": "model.depth"}
    assert spec.outputs == {"model": "build/model-{matrix.fold}.pkl"}
    assert spec.metrics == {"scores": "build/scores-{matrix.fold}.json"}
    assert spec.code == ("lib/*.yaml",)
    assert (spec.compute, spec.environment) == ("gpubox", "ml")
    assert spec.resources == Resources(cpus=4, gpus=1, memory=8 * 2**30, named={"licence": 1})
    assert (spec.retries, spec.timeout, spec.in_place, spec.reuse, spec.version) == (2, 7200, True, False, "3")


def test_one_combination_of_it() -> None:
    fit = read(WHOLE).steps["train.fit[fold=1]"]
    assert (fit.name, fit.group, fit.pipeline, fit.matrix) == ("fit[fold=1]", "fit", "train", {"fold": 1})
    assert [(each.name, each.location.text, each.is_metrics) for each in fit.outputs] == [
        ("model", "build/model-1.pkl", False),
        ("scores", "build/scores-1.json", True),
    ]
    assert [(each.name, each.key, each.value) for each in fit.params] == [
        ("seed", "seed", 7),
        ("model.depth", "model.depth", 8),
    ]
    assert fit.producers == ("train.clean",)


def test_targets_and_environments() -> None:
    project = read(WHOLE)
    offers = Resources(cpus=16, gpus=2, memory=64 * 2**30, named={"licence": 2})
    ssh = {
        "host": "gpubox",
        "user": "me",
        "port": 22,
        "key": "~/.ssh/id",
        "config": "",
        "known_hosts": "",
        "root": "/scratch/mlmake",
        "store_limit": 0,
        "fetch": "always",
    }
    docker = {"host": "", "via": "gpubox", "network": False, "mounts": ("/data:/data:ro",)}
    docker |= {"root": "~/.mlmake", "store_limit": 0}
    assert project.computes == {
        "gpubox": Compute(name="gpubox", kind="ssh", offers=offers, options=ssh),
        "engine": Compute(name="engine", kind="docker", options=docker),
        "any": Compute(name="any", kind="pool", options={"of": ("gpubox", "local")}),
    }
    assert project.environments["ml"] == Environment(
        name="ml",
        python="3.11",
        packages=("scikit-learn==1.9.1",),
        requirements="requirements.txt",
        variables=("OMP_NUM_THREADS",),
    )
    assert [each.base for each in project.environments.values()] == ["python", "image"]


def test_datastores_keep_their_secrets_unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_KEY", "hidden")
    project = read(WHOLE)
    options = {"key": "${env:LAKE_KEY}", "secret": "${env:LAKE_SECRET}"}
    assert project.datastores == {
        "raw": Datastore("raw", "data"),
        "lake": Datastore("lake", "s3://acme/flights", options),
    }
    assert "hidden" not in repr(project)


def test_defaults() -> None:
    project = read("[s]\nscript = 's.py'", root="/work/home-of-it")
    assert (project.name, project.default) == ("home-of-it", "")
    assert project.steps["p.s"] == Step(
        id="p.s",
        name="s",
        pipeline="p",
        spec=project.steps["p.s"].spec,
        matrix={},
        inputs=(),
        outputs=(),
        params=(),
    )
    spec = project.steps["p.s"].spec
    assert spec.kind == Python(script="s.py", args=None)
    assert spec.resources == Resources(cpus=1, memory=0, gpus=0, named={})
    plain = ("description", "tags", "inputs", "outputs", "metrics", "params", "matrix", "code", "after")
    assert not any(getattr(spec, key) for key in (*plain, "retries", "timeout", "in_place", "version"))
    assert (spec.compute, spec.environment, spec.reuse) == ("local", "system", True)


def test_defaults_of_a_target() -> None:
    project = read("[compute.box]\nkind = 'ssh'\nhost = 'b'\n[s]\nscript = 's.py'")
    ssh = {"host": "b", "user": "", "port": 0, "key": "", "config": "", "known_hosts": "", "root": "~/.mlmake"}
    ssh |= {"store_limit": 0, "fetch": "always"}
    assert project.computes["box"] == Compute(name="box", kind="ssh", offers=None, options=ssh)
    assert project.computes.keys() == {"box"}, "'local' needs no table"


def test_the_table_of_this_machine() -> None:
    offers = read("[compute.local]\ncpus = 2\ngpus = 1\n[s]\nscript = 's.py'").computes["local"].offers
    assert offers == Resources(cpus=2, gpus=1)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("script = 'x.py'", Python(script="x.py")),
        ("kind = 'python'\nscript = 'x.py'", Python(script="x.py")),
        ("script = 'x.py'\nargs = []", Python(script="x.py", args=())),
        ("command = 'echo'", Command(command="echo")),
        ("command = ['echo', '']", Command(command=("echo", ""))),
        ("kind = 'command'\ncommand = 'echo'", Command(command="echo")),
    ],
)
def test_kinds(text: str, kind: object) -> None:
    assert step(f"[s]\n{text}").spec.kind == kind


def test_every_key_has_a_line_in_the_reference() -> None:
    every = [tables.ProjectTable, tables.EnvironmentTable, tables.PipelineTable, tables.StepTable]
    for table in [*every, *tables.COMPUTE_TABLES.values()]:
        assert all(each.metadata.get("doc") for each in fields(table)), table


# Matrices.


def test_the_last_axis_is_the_fastest() -> None:
    text = "[s]\nscript = 's.py'\nmatrix = { model = ['tree', 'line'], fold = [0, 1, 2] }"
    assert names(text) == [
        "s[model=tree,fold=0]",
        "s[model=tree,fold=1]",
        "s[model=tree,fold=2]",
        "s[model=line,fold=0]",
        "s[model=line,fold=1]",
        "s[model=line,fold=2]",
    ]


def test_axes_stand_in_the_order_of_the_file() -> None:
    assert names("[s]\nscript = 's.py'\nmatrix.b = [1]\nmatrix.a = [2]\nmatrix.c = [3]") == ["s[b=1,a=2,c=3]"]


def test_values_of_each_type() -> None:
    text = "[s]\nscript = 's.py'\nmatrix = { x = ['a b', -1, 0.5, 1e20, true, false, 'ä.b/c', 'q?'] }"
    assert names(text) == [
        "s[x=a b]",
        "s[x=-1]",
        "s[x=0.5]",
        "s[x=1e+20]",
        "s[x=true]",
        "s[x=false]",
        "s[x=ä.b/c]",
        "s[x=q?]",
    ]
    values = [each.matrix["x"] for each in read(text).steps.values()]
    assert values == ["a b", -1, 0.5, 1e20, True, False, "ä.b/c", "q?"]
    assert [type(value) for value in values] == [str, int, float, float, bool, bool, str, str]


def test_an_axis_of_one_value() -> None:
    assert names("[s]\nscript = 's.py'\nmatrix = { x = [1] }") == ["s[x=1]"]


def test_steps_of_two_pipelines_may_share_a_name() -> None:
    project = read("[pipelines.a.steps.s]\nscript = 'x.py'\n[pipelines.b.steps.s]\nscript = 'x.py'")
    assert list(project.steps) == ["a.s", "b.s"]
    assert project.shown("a.s") == "a.s"


def test_names_may_be_of_any_script() -> None:
    project = read("[pipelines.'größe'.steps.'шаг-1_a']\nscript = 'x.py'\noutputs = { '値' = 'x' }")
    assert list(project.steps) == ["größe.шаг-1_a"]


def test_steps_stand_after_what_they_need() -> None:
    text = "[c]\nscript='x'\nafter=['b']\n[a]\nscript='x'\n[b]\nscript='x'\nafter=['a']\n[d]\nscript='x'"
    assert names(text) == ["a", "b", "c", "d"]
    assert [each.name for each in read(text).pipelines["p"].steps] == ["c", "a", "b", "d"], "as in the file"


# Numbers with units.


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("'1024'", 1024),
        ("'1 B'", 1),
        ("'500MB'", 500_000_000),
        ("'500 mb'", 500_000_000),
        ("'1k'", 1000),
        ("'1.5GiB'", 3 * 2**29),
        ("'8Gi'", 2**33),
        ("'2TiB'", 2**41),
        ("'64gib'", 2**36),
        ("1.0", 1),
    ],
)
def test_sizes(said: str, size: int) -> None:
    assert step(f"[s]\nscript = 's.py'\nresources = {{ memory = {said} }}").spec.resources.memory == size


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        ("'90s'", 90),
        ("'2h'", 7200),
        ("'1h30m'", 5400),
        ("'1h 30m 5s'", 5405),
        ("'1.5d'", 129600),
        ("'250ms'", 0.25),
        ("' 2m '", 120),
    ],
)
def test_durations(said: str, seconds: float) -> None:
    assert step(f"[s]\nscript = 's.py'\ntimeout = {said}").spec.timeout == seconds


@pytest.mark.parametrize(("said", "kept"), [("1", "1"), ("1.0", "1.0"), ("'v2'", "v2"), ("''", "")])
def test_a_version_is_kept_as_text(said: str, kept: str) -> None:
    assert step(f"[s]\nscript = 's.py'\nversion = {said}").spec.version == kept


def test_named_resources_may_be_called_like_ours() -> None:
    said = "resources = { cpu_hours = 2, gpu_0 = 1, memory_bus = 0.5 }"
    assert step(f"[s]\nscript = 's.py'\n{said}").spec.resources.named == {"cpu_hours": 2, "gpu_0": 1, "memory_bus": 0.5}


# Nothing of a project is executed, and what is not used may be anything.


@pytest.mark.parametrize(
    "text",
    [
        "[s]\nscript = 's.py'\n# a comment\r\n\r\n",
        "\ufeff[pipelines.p.steps.s]\nscript = 's.py'",
        "[pipelines.p.steps.s]\r\nscript = 's.py'\r\ndescription = '''two\r\nlines'''\r\n",
        "pipelines = { p = { steps = { s = { script = 's.py' } } } }",
        "pipelines.p.steps.s.script = 's.py'",
    ],
)
def test_ways_of_writing_it(text: str) -> None:
    assert list(read(text).steps) == ["p.s"]
