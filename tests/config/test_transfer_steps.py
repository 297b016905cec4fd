"""Kind `transfer`: what it says in the file, what is wrong in it, and its command line."""

from __future__ import annotations

import sys

import pytest
from reading import read, told

from mlmake.engine.request import call_for
from mlmake.environments.system import System
from mlmake.kinds.transfer import Transfer
from mlmake.model.step import Step
from mlmake.state.declared import declared_facts

STORES = """
[datastores]
lake = { url = "s3://acme/flights", secret = "${env:LAKE_SECRET}" }
raw = "/data"
"""
OUT = "pipelines.p.steps.s.outputs"


def text(source: str, target: str, rest: str = "") -> str:
    told = source if source.startswith("[") else f"'{source}'"
    return f"{STORES}\n[s]\nkind = 'transfer'\ninputs = {{ a = {told} }}\noutputs = {{ b = '{target}' }}\n{rest}"


def step(source: str, target: str) -> Step:
    return read(text(source, target)).steps["p.s"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("lake://a.csv", "a.csv"),
        ("a.csv", "lake://b.csv"),
        ("lake://in/", "raw/"),
        ("lake://", "raw://copy/"),
        ("lake://in/*.csv", "lake://in/csv/"),
        ("lake://a.csv", "raw/"),
        ("['lake://a.csv', 'raw://b/', 'c.csv']", "out/"),
        ("s3://other/x/", "lake://x/"),
        ("file:///a/b", "b"),
        ("lake://in/", "lake://in-two/"),
    ],
)
def test_what_it_can_be(source: str, target: str) -> None:
    made = step(source, target)
    assert made.spec.kind == Transfer()
    assert all(each.is_streamed for each in made.inputs)
    assert not made.spec.caches("b")


@pytest.mark.parametrize(
    ("source", "target", "problem"),
    [
        ("lake://in/", "raw", "a folder cannot go to the file 'raw': name a folder: 'raw/'"),
        ("lake://in/*.csv", "raw", "a glob cannot go to the file 'raw': name a folder: 'raw/'"),
        ("['a', 'b']", "lake://c", "several files cannot go to the file 'lake://c': name a folder: 'lake://c/'"),
        (
            "lake://in/*/",
            "raw/",
            "the glob 'lake://in/*/' is for folders, and a transfer takes files: leave its last / out",
        ),
    ],
)
def test_what_cannot_go_there(source: str, target: str, problem: str) -> None:
    assert told(text(source, target))[0].startswith(f"{OUT}.b: {problem}")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("lake://a", "lake://a"),
        ("lake://in/a", "lake://in/"),
        ("lake://in/a/*.csv", "lake://in/"),
        ("lake://in/", "lake://in/b/"),
        ("lake://in/**/*.csv", "lake://in/b/"),
        ("s3://acme/flights/a", "lake://"),
        ("raw://a", "file:///data/a"),
    ],
)
def test_a_target_is_no_part_of_its_source(source: str, target: str) -> None:
    found = told(text(source, target))
    assert found == [
        f"pipelines.p.steps.s.inputs.a: '{source}' is what s makes itself: a step cannot read its own output"
    ]


@pytest.mark.parametrize(
    ("table", "problems"),
    [
        (
            "",
            [
                "pipelines.p.steps.s.inputs: a transfer has exactly one input, not 0: it may be a list of paths",
                f"{OUT}: a transfer has exactly one output, not 0, and no metrics",
            ],
        ),
        (
            "inputs = { a = 'a', b = 'b' }\noutputs = { c = 'c' }",
            ["pipelines.p.steps.s.inputs: a transfer has exactly one input, not 2: it may be a list of paths"],
        ),
        (
            "inputs = { a = 'a' }\nmetrics = { c = 'c' }",
            [f"{OUT}: a transfer has exactly one output, not 1, and no metrics"],
        ),
        (
            "inputs = { a = 'a' }\noutputs = { c = 'c' }\nin_place = true",
            [
                "pipelines.p.steps.s.in_place: a transfer cannot be in_place: it puts each file into its place when "
                "that is whole"
            ],
        ),
        (
            "inputs = { a = 'a' }\noutputs = { c = 'c' }\nscript = 's.py'",
            ["pipelines.p.steps.s: unknown key 'script'"],
        ),
        (
            "inputs = { a = 'a' }\noutputs = { c = 'c' }\nspeed = 9",
            ["pipelines.p.steps.s: unknown key 'speed'"],
        ),
    ],
)
def test_what_is_no_transfer(table: str, problems: list[str]) -> None:
    found = told(f"[s]\nkind = 'transfer'\n{table}")
    assert len(found) == len(problems)
    for line, problem in zip(found, problems, strict=True):
        assert line.startswith(problem)


def test_outputs_of_other_steps() -> None:
    made = read("""
[fit]
command = 'x > {outputs.m}'
matrix = { fold = [0, 1] }
outputs = { m = 'm-{matrix.fold}' }
[s]
kind = 'transfer'
inputs = { a = '@fit' }
outputs = { b = 's3://acme/models/' }
""").steps["p.s"]
    assert made.producers == ("p.fit[fold=0]", "p.fit[fold=1]")


def test_the_command_line_names_places_and_no_secret() -> None:
    made = step("['lake://in/*.csv', 'x.csv']", "lake://out/")
    call = call_for(
        made,
        {"a": ("s3://acme/flights/in/1.csv",)},
        {"b": "/project/.mlmake/staging/s/out"},
        "/project",
        System().python,
    )
    assert made.spec.kind.argv(call) == (
        *(sys.executable, "-E", "-P", "-m", "mlmake.services.transfer"),
        *("--glob=lake://in/*.csv", "--source=x.csv", "--target=lake://out/", "--to=.mlmake/staging/s/out"),
    )


def test_the_python_that_does_it_is_no_fact() -> None:
    assert set(declared_facts(step("a", "b").spec)) == {"kind", "args"}
