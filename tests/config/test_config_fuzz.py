"""Whatever stands in a file: a project, or a ConfigError or UsageError in plain lines. Never anything else."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from dataclasses import fields

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from reading import ROOT, steps, toml
from test_language import WHOLE

from mlmake.config import tables
from mlmake.config.load import parse
from mlmake.config.places import locate
from mlmake.config.problems import Wrong, at, show
from mlmake.config.references import parse_selector, split_reference
from mlmake.errors import ConfigError, UsageError
from mlmake.model.data import Datastore
from mlmake.model.globs import matches
from mlmake.model.project import Project
from mlmake.model.resources import parse_duration, parse_size
from mlmake.model.template import fill, placeholders
from mlmake.plan.selection import named, with_upstream

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))

SMALL = steps("""
[params]
seed = 7
model = { depth = 8, rate = 0.1 }
[clean]
script = "c.py"
matrix = { i = [0, 1] }
inputs = { raw = "data/{matrix.i}.csv" }
outputs = { x = "build/{matrix.i}.csv" }
[fit]
command = "fit {inputs.x} --depth {params.model.depth} -o {outputs.m}"
inputs = { x = "@clean[i=0].x", all = "build/*.csv" }
outputs = { m = "build/m" }
after = ["clean"]
timeout = "2h"
resources = { cpus = 2, memory = "1GB" }
""")


def check(content: bytes, *overrides: str) -> Project | None:
    """Read a file as anything could stand in it; what comes out must be one of the agreed things."""
    try:
        project = parse(content, ROOT, overrides)
    except ConfigError as error:
        lines = error.message.split("\n")
        assert len(lines) == len(error.problems) > 0
        wrong = [line[:300] for line in lines if not is_plain(line)]
        assert not wrong
        assert len(set(lines)) == len(lines), "a problem is told once"
        return None
    except UsageError as error:
        assert overrides and error.message.startswith("-p ")
        return None
    sound(project)
    return project


def is_plain(line: str) -> bool:
    """Whether a line of an error is one for people."""
    return line.startswith("pipelines.toml: ") and line.isprintable() and len(line) < 2000


def sound(project: Project) -> None:
    """What every project holds, whatever its file said."""
    seen: set[str] = set()
    for name, step in project.steps.items():
        assert name == step.id == f"{step.pipeline}.{step.name}"
        assert set(step.upstream) <= seen, "each step stands after all that come before it"
        seen.add(name)
        for output in step.outputs:
            assert project.owners[output.location.path] == name
        for each in step.inputs:
            assert {p for source in each.sources for p in source.producers} <= set(step.producers)
    assert sum(len(pipeline.steps) for pipeline in project.pipelines.values()) == len(project.steps)
    assert {step.id for step in with_upstream(project, named(project, ()))} <= seen
    hash(tuple(seen))


# Bytes.


@given(st.binary(max_size=200))
@QUICK
def test_random_bytes(content: bytes) -> None:
    check(content)


@given(st.text(st.sampled_from("[]{}=.,'\"#\n\r\t \\ab1_-:@+\0\ufeffé"), max_size=80))
@QUICK
def test_random_text(content: str) -> None:
    check(content.encode())


@pytest.mark.parametrize("whole", [WHOLE, SMALL], ids=["whole", "small"])
def test_every_beginning_of_a_file(whole: str) -> None:
    content = whole.encode()
    for end in range(0, len(content), 7):
        check(content[:end])


@given(seed=st.integers(0, 2**32), whole=st.sampled_from([WHOLE, SMALL]))
@QUICK
def test_mutated_files(seed: int, whole: str) -> None:
    chance = random.Random(seed)
    content = bytearray(whole.encode())
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(content))
        mutation = chance.randrange(5)
        if mutation == 0:
            content[place] = chance.randrange(256)
        elif mutation == 1:
            content[place:place] = chance.choice([b"\n", b'"', b"[", b"]", b"{", b"}", b"=", b".", b"@", b"0", b"\\"])
        elif mutation == 2:
            del content[place : place + chance.randint(1, 20)]
        elif mutation == 3:
            start = chance.randrange(len(content))
            content[place:place] = content[start : start + chance.randint(1, 60)]
        else:
            lines = bytes(content).split(b"\n")
            chance.shuffle(lines)
            content = bytearray(b"\n".join(lines))
    check(bytes(content))


# Documents of legal keys with anything in them.

OURS = """
a b c s.py build/a.csv build/ build/* ** **/*.csv ../a /a ~ ~/a . .. raw://a raw:// raw:a s3://b/a file:///a
@a @a.o @a.b.c @a[i=0].o @a[i={matrix.i}] @ @. @a[ {matrix.i} {matrix.} {inputs.x} {{inputs.x}} {params.a}
{params.a.b} {env.HOME} {i} {} { } ssh docker pool local system python command 2h 1GB 10 -1 s p train
"""
TEXTS = st.one_of(
    st.sampled_from(OURS.split()),
    st.text(max_size=8),
    st.sampled_from(["", " ", "\0", "\n", "a\0b", "\x1b[31m", "\u2028", "x" * 300, "a/" * 3000, "é", "\U0001f600"]),
)
SCALARS = st.one_of(
    TEXTS,
    st.integers(-3, 100),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.booleans(),
    st.dates(),
    st.datetimes(timezones=st.just(datetime.UTC)).map(lambda moment: moment.replace(fold=0)),
    st.times().map(lambda time: time.replace(fold=0)),
)
KEYS = st.one_of(st.sampled_from(["a", "b", "i", "x", "o", "s", "p", "cpus", "gpus", "memory", "url"]), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
NAMES = st.sampled_from(["a", "b", "c", "s", "fit"])


def table(kind: type, good: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[dict[str, object]]:
    """A table with keys of its own: mostly what they take, sometimes anything; sometimes keys that it does not know."""
    keys = [each.name for each in fields(kind)]
    own = {key: st.one_of(good.get(key, VALUES), VALUES) if key not in good else good[key] for key in keys}
    legal = st.fixed_dictionaries({}, optional=own)
    odd = st.dictionaries(st.one_of(st.sampled_from(keys), KEYS), VALUES, max_size=1)
    return st.builds(lambda one, two: {**one, **two}, legal, st.one_of(st.just({}), st.just({}), odd))


MADE = ["in.csv", "build/a", "build/b/", "build/{matrix.i}", "build/*", "raw://x", "c/{params.a}"]
PATHS = st.sampled_from([*MADE, "@a.o", "@b", "@a[i=0].o"])
GOOD: dict[str, st.SearchStrategy[object]] = {
    "script": st.just("s.py"),
    "kind": st.sampled_from(["python", "command", "x"]),
    "description": TEXTS,
    "tags": st.lists(TEXTS, max_size=2),
    "inputs": st.dictionaries(NAMES, st.one_of(PATHS, st.lists(PATHS, max_size=3)), max_size=3),
    "outputs": st.dictionaries(st.sampled_from(["o", "y"]), st.sampled_from(MADE), max_size=2),
    "metrics": st.dictionaries(st.just("m"), PATHS, max_size=1),
    "params": st.one_of(
        st.lists(st.sampled_from(["a", "b", "b.c", "z", "{matrix.i}"]), max_size=3),
        st.dictionaries(NAMES, st.sampled_from(["a", "b", "b.c"]), max_size=2),
    ),
    "matrix": st.dictionaries(
        st.sampled_from(["i", "j"]), st.lists(st.one_of(st.integers(0, 3), TEXTS), min_size=1, max_size=3), max_size=2
    ),
    "code": st.one_of(PATHS, st.lists(PATHS, max_size=2)),
    "after": st.lists(st.sampled_from(["a", "b", "a[i=0]", "p.c", "q.a", "a[i={matrix.i}]"]), max_size=2),
    "compute": st.sampled_from(["local", "box"]),
    "environment": st.sampled_from(["system", "ml"]),
    "resources": st.dictionaries(st.sampled_from(["cpus", "gpus", "memory", "disk"]), st.integers(0, 9), max_size=3),
    "retries": st.integers(0, 3),
    "timeout": st.sampled_from(["2h", 3, 0.5]),
    "in_place": st.booleans(),
    "reuse": st.booleans(),
    "version": st.one_of(st.integers(), TEXTS),
}
WORDS = st.lists(
    st.one_of(PATHS, TEXTS, st.sampled_from(["{inputs.a}", "{outputs.o}", "{params.b.c}", "{matrix.i}"])), max_size=4
)
RUNS = st.one_of(
    st.just({"script": "s.py"}),
    st.builds(lambda words: {"script": "s.py", "args": words}, WORDS),
    st.builds(lambda words: {"command": " ".join(words)}, WORDS),
    st.builds(lambda words: {"command": words}, WORDS),
    st.just({}),
)
LEGAL_STEPS = st.builds(
    lambda runs, rest: {**rest, **runs},
    RUNS,
    st.fixed_dictionaries({}, optional={key: GOOD[key] for key in GOOD if key not in ("script", "kind")}),
)
ODD_STEPS = st.builds(lambda runs, rest: {**rest, **runs}, RUNS, table(tables.StepTable, GOOD))
STEPS = st.one_of(LEGAL_STEPS, ODD_STEPS, VALUES)
PIPELINES = st.one_of(
    st.fixed_dictionaries(
        {
            "params": st.just({"a": 1, "b": {"c": "x"}, "l": [1]}),
            "steps": st.dictionaries(NAMES, LEGAL_STEPS, min_size=1, max_size=3),
        }
    ),
    table(
        tables.PipelineTable,
        {"params": st.dictionaries(KEYS, VALUES, max_size=3), "steps": st.dictionaries(NAMES, STEPS, max_size=3)},
    ),
    VALUES,
)
DOCUMENTS = st.fixed_dictionaries(
    {"pipelines": st.one_of(st.dictionaries(st.sampled_from(["p", "q"]), PIPELINES, max_size=2), VALUES)},
    optional={
        "project": st.one_of(table(tables.ProjectTable, {"default": TEXTS}), VALUES),
        "datastores": st.one_of(st.dictionaries(KEYS, VALUES, max_size=2), st.just({"raw": "data"}), VALUES),
        "environments": st.one_of(
            st.dictionaries(st.just("ml"), table(tables.EnvironmentTable, {"python": st.just("3")}), max_size=1), VALUES
        ),
        "compute": st.one_of(
            *(
                st.dictionaries(st.just("box"), table(kind, {"kind": st.just(name)}), max_size=1)
                for name, kind in tables.COMPUTE_TABLES.items()
            ),
            VALUES,
        ),
        "other": VALUES,
    },
)


@given(DOCUMENTS)
@settings(QUICK, max_examples=250)
def test_documents_of_legal_keys(document: dict[str, object]) -> None:
    check(toml(document).encode())


@given(st.dictionaries(NAMES, LEGAL_STEPS, min_size=1, max_size=4))
@settings(QUICK, max_examples=200)
def test_documents_of_legal_values(made: dict[str, object]) -> None:
    params = {"a": 1, "b": {"c": "x"}, "l": [1]}
    document = {"datastores": {"raw": "data"}, "pipelines": {"p": {"params": params, "steps": made}}}
    check(toml(document).encode())


@given(VALUES)
@QUICK
def test_the_writer_of_these_tests_writes_toml(value: object) -> None:
    import tomli

    read = tomli.loads(toml({"x": value}))["x"]
    assert repr(read) == repr(value)


# Texts where names, paths, references, placeholders, globs and selectors stand.


def step(**keys: object) -> dict[str, object]:
    """A pipeline of a step with these keys, beside one with outputs."""
    params = {"a": 1, "b": {"c": 2}}
    return {"params": params, "steps": {"a": _MAKER, "s": {"script": "s.py", "matrix": {"i": [0]}, **keys}}}


PLACES: dict[str, Callable[[str], dict[str, object]]] = {
    "name": lambda text: {"steps": {text: {"script": "s.py"}}},
    "script": lambda text: step(script=text),
    "command": lambda text: {"steps": {"s": {"command": text, "inputs": {"x": "a"}, "matrix": {"i": [0]}}}},
    "args": lambda text: step(args=[text]),
    "input": lambda text: step(inputs={"x": text}),
    "input name": lambda text: step(inputs={text: "a"}),
    "output": lambda text: step(outputs={"x": text}),
    "value": lambda text: step(matrix={"i": [text]}, outputs={"x": "b/{matrix.i}"}),
    "axis": lambda text: step(matrix={text: [0]}),
    "after": lambda text: step(after=[text]),
    "params": lambda text: step(params=[text]),
    "own name": lambda text: step(params={text: "a"}),
    "parameter": lambda text: {"params": {text: {"b": 1}}, "steps": {"s": {"script": "s.py", "params": [text]}}},
    "timeout": lambda text: step(timeout=text),
    "memory": lambda text: step(resources={"memory": text}),
    "code": lambda text: step(code=text),
    "compute": lambda text: step(compute=text),
}
_MAKER: dict[str, object] = {"script": "a.py", "matrix": {"i": [0, 1]}, "outputs": {"o": "build/{matrix.i}.csv"}}
SIGNS = st.text(st.sampled_from("ab019/.*?[]{}@=,:-_~ +'\"\\$\n\0é"), max_size=12)
OUR_PIECES = "@a .o [i= 0] {matrix.i} {params.a} build/ ** * :// raw .. / a 2 GiB h"
PIECES = st.lists(st.sampled_from(OUR_PIECES.split()), max_size=5).map("".join)
ANYTHING = st.one_of(SIGNS, PIECES, st.text(max_size=12))


@given(text=ANYTHING, place=st.sampled_from(sorted(PLACES)))
@settings(QUICK, max_examples=400)
@example(text="a[b/c]d", place="input")
@example(text="[[]", place="input")
@example(text="a[]/*", place="input")
@example(text="{matrix.i}{matrix.i}", place="after")
def test_texts_in_every_place(text: str, place: str) -> None:
    check(toml({"pipelines": {"p": PLACES[place](text)}}).encode())


@given(text=ANYTHING)
@settings(QUICK, max_examples=300)
def test_small_languages(text: str) -> None:
    stores = {"raw": Datastore("raw", "data"), "lake": Datastore("lake", "s3://b")}
    for function in (
        lambda: locate(text, ROOT, stores, globs=True),
        lambda: locate(f"raw://{text}", ROOT, stores, globs=True),
        lambda: locate(f"lake://{text}", ROOT, stores, globs=True),
        lambda: locate(f"s3://{text}", ROOT, stores),
        lambda: split_reference(text),
        lambda: parse_selector(text),
        lambda: parse_size(text),
        lambda: parse_duration(text),
    ):
        try:
            function()
        except Wrong as wrong:
            assert wrong.what.isprintable()
        except ValueError as error:
            assert str(error).startswith("expected a ")
    assert isinstance(matches("a/b/c", text), bool)
    assert show(text).isprintable() and at(text, text).isprintable()
    assert isinstance(fill(text, lambda *_: None), str)
    assert all(each.space for each in placeholders([text]))


@given(text=ANYTHING, key=st.sampled_from(["seed", "model", "model.depth", "a", ""]))
@QUICK
def test_overrides(text: str, key: str) -> None:
    check(SMALL.encode(), f"{key}={text}")
    check(SMALL.encode(), text)


@given(text=ANYTHING)
@QUICK
def test_words_at_the_command_line(text: str) -> None:
    project = parse(SMALL.encode(), ROOT)
    try:
        assert named(project, [text])
    except UsageError as error:
        assert error.message


@pytest.mark.parametrize("length", [20_000])
@pytest.mark.parametrize("place", sorted(PLACES))
def test_long_texts_take_no_longer_than_their_length(place: str, length: int) -> None:
    for piece in ("a", "[", "{", "@", "{matrix.", "a.", "*", "**/", "[i=", "{{", "1h", "1.", "a::", "://", "../", " "):
        check(toml({"pipelines": {"p": PLACES[place]((piece * length)[:length])}}).encode())
