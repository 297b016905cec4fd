"""Parameters: which of them count for a step, under which name, and `-p key=value`."""

from __future__ import annotations

import datetime

import pytest
from reading import read, step

from mlmake.config.override import convert
from mlmake.errors import ConfigError, UsageError

PARAMS = """
[params]
seed = 7
rate = 0.1
fast = false
name = "tree"
names = ["a", "b"]
day = 2024-01-31
empty = {}
[model]
script = "m.py"
"""


def params(text: str, name: str = "s") -> list[tuple[str, str, object]]:
    """(own name, key, value) of each parameter of a step."""
    return [(each.name, each.key, each.value) for each in step(text, name).params]


def counting(table: str, said: str) -> list[tuple[str, str, object]]:
    """The parameters of a step that says `said`, in a pipeline with the parameters `table`."""
    return params(f"[params]\n{table}\n[s]\nscript = 's.py'\n{said}")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", []),
        ("params = []", []),
        ("params = ['seed']", [("seed", "seed", 7)]),
        ("params = ['model.depth']", [("model.depth", "model.depth", 8)]),
        ("params = ['model']", [("model.depth", "model.depth", 8), ("model.rate", "model.rate", 0.1)]),
        ("params = ['model.depth', 'seed']", [("model.depth", "model.depth", 8), ("seed", "seed", 7)]),
        ("params = ['seed', 'seed']", [("seed", "seed", 7)]),
        ("params = ['model', 'model.rate']", [("model.depth", "model.depth", 8), ("model.rate", "model.rate", 0.1)]),
        ("params = { depth = 'model.depth' }", [("depth", "model.depth", 8)]),
        ("params = { m = 'model' }", [("m.depth", "model.depth", 8), ("m.rate", "model.rate", 0.1)]),
        ("params = { a = 'seed', b = 'seed' }", [("a", "seed", 7), ("b", "seed", 7)]),
        ("params = ['list']", [("list", "list", [1, {"x": 2}])]),
        ("params = ['empty']", []),
    ],
)
def test_which_parameters_count(said: str, found: list[tuple[str, str, object]]) -> None:
    table = "seed = 7\nmodel = { depth = 8, rate = 0.1 }\nlist = [1, { x = 2 }]\nempty = {}"
    assert counting(table, said) == found


def test_values_keep_their_types() -> None:
    table = "a = 1\nb = 1.0\nc = true\nd = 'x'\ne = [1, 2.5]\nf = 2024-01-31\ng = 07:32:00\nh = inf"
    values = [value for _, _, value in counting(table, "params = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']")]
    expected = [1, 1.0, True, "x", [1, 2.5], datetime.date(2024, 1, 31), datetime.time(7, 32), float("inf")]
    assert values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]


def test_keys_may_be_odd_where_dots_can_say_them() -> None:
    table = "w = { 'loss/ce' = 1, 'Dep Time' = 2 }"
    assert counting(table, "params = ['w']") == [
        ("w.loss/ce", "w.loss/ce", 1),
        ("w.Dep Time", "w.Dep Time", 2),
    ]
    assert read(f"[params]\n{table}\n[s]\nscript='s.py'\nparams=['w']", "w.loss/ce=3").steps["p.s"].params[0].value == 3


def test_a_matrix_chooses_parameters() -> None:
    text = """
[params]
models = { tree = { depth = 8 }, line = { alpha = 0.5 } }
[s]
script = "s.py"
matrix = { model = ["tree", "line"] }
params = { options = "models.{matrix.model}" }
[list]
script = "s.py"
matrix = { m = ["tree"] }
params = ["models.{matrix.m}"]
"""
    assert params(text, "s[model=tree]") == [("options.depth", "models.tree.depth", 8)]
    assert params(text, "s[model=line]") == [("options.alpha", "models.line.alpha", 0.5)]
    assert params(text, "list[m=tree]") == [("models.tree.depth", "models.tree.depth", 8)]


def test_a_placeholder_counts_as_named() -> None:
    text = "[params]\nseed = 7\nmodel = { depth = 8 }\n[s]\ncommand = 'x {params.model.depth} {params.model.depth}'"
    assert params(text) == [("model.depth", "model.depth", 8)]
    both = f"{text.replace('x ', 'x {params.seed} ')}\nparams = {{ d = 'model.depth' }}"
    assert params(both) == [("d", "model.depth", 8), ("seed", "seed", 7), ("model.depth", "model.depth", 8)]


def test_a_placeholder_in_args_counts_as_named() -> None:
    text = "[params]\nmodel = { depth = 8 }\n[s]\nscript = 's.py'\nargs = ['-d', '{params.model.depth}']"
    assert params(text) == [("model.depth", "model.depth", 8)]


def test_a_placeholder_goes_by_the_own_name() -> None:
    text = "[params]\nmodel = { depth = 8 }\n[s]\ncommand = 'x {params.m.depth} {params.d}'\n"
    assert params(f"{text}params = {{ m = 'model', d = 'model.depth' }}") == [
        ("m.depth", "model.depth", 8),
        ("d", "model.depth", 8),
    ]


def test_pipelines_have_parameters_of_their_own() -> None:
    project = read("""
[pipelines.a]
params = { x = 1 }
[pipelines.a.steps.s]
script = "s.py"
params = ["x"]
[pipelines.b]
params = { x = "text" }
[pipelines.b.steps.s]
script = "s.py"
params = ["x"]
""")
    assert [each.params[0].value for each in project.steps.values()] == [1, "text"]


# -p key=value

FILE = """
[params]
seed = 7
rate = 0.1
fast = false
name = "tree"
names = ["a", "b"]
day = 2024-01-31
model = { depth = 8, deep = { er = 1 } }
[s]
script = "s.py"
params = ["seed", "rate", "fast", "name", "names", "day", "model"]
"""


def overridden(*texts: str) -> dict[str, object]:
    return {each.name: each.value for each in read(FILE, *texts).steps["p.s"].params}


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("seed=8", "seed", 8),
        ("seed=-8", "seed", -8),
        ("seed=1_000", "seed", 1000),
        ("seed= 8", "seed", 8),
        ("rate=3", "rate", 3.0),
        ("rate=1e-3", "rate", 0.001),
        ("rate=inf", "rate", float("inf")),
        ("fast=true", "fast", True),
        ("fast=False", "fast", False),
        ("name=line", "name", "line"),
        ("name=3", "name", "3"),
        ("name=", "name", ""),
        ("name=a=b", "name", "a=b"),
        ("name='q'", "name", "'q'"),
        ("name=[1]", "name", "[1]"),
        ("names=['c']", "names", ["c"]),
        ("names=[]", "names", []),
        ("names=[1, 2.5]", "names", [1, 2.5]),
        ("day=2024-02-01", "day", datetime.date(2024, 2, 1)),
        ("model.depth=9", "model.depth", 9),
        ("model.deep.er=2", "model.deep.er", 2),
        ("model.deep={ er = 5 }", "model.deep.er", 5),
    ],
)
def test_overrides_are_typed_as_in_the_file(text: str, key: str, value: object) -> None:
    found = overridden(text)
    assert found[key] == value
    assert type(found[key]) is type(value)
    assert {name: each for name, each in found.items() if name != key} == {
        name: each for name, each in overridden().items() if name != key
    }


def test_several_overrides_and_the_last_of_one_key() -> None:
    found = overridden("seed=1", "model.depth=2", "seed=3")
    assert (found["seed"], found["model.depth"]) == (3, 2)


def test_an_override_reaches_every_pipeline_that_has_the_key() -> None:
    text = "".join(
        f"[pipelines.{name}]\nparams = {{ {key} = {value} }}\nsteps.s = {{ script = 's.py', params = ['{key}'] }}\n"
        for name, key, value in (("a", "x", "1"), ("b", "x", "'t'"), ("c", "y", "1"))
    )
    values = [each.params[0].value for each in read(text, "x=5").steps.values()]
    assert values == [5, "5", 1]


def test_an_override_fills_paths_too() -> None:
    text = "[params]\nout = 'a'\n[s]\nscript = 's.py'\noutputs = { o = '{params.out}/x' }"
    assert read(text, "out=b").steps["p.s"].outputs[0].location.text == "b/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "-p seed: expected key=value"),
        ("", "-p : expected key=value"),
        ("=3", "-p =3: unknown parameter ''"),
        ("sede=3", "-p sede=3: unknown parameter 'sede'; did you mean 'seed'?"),
        ("model.dept=3", "-p model.dept=3: unknown parameter 'model.dept'; did you mean 'model.depth'?"),
        ("zzz=3", "-p zzz=3: unknown parameter 'zzz'"),
        ("seed=1.5", "-p seed=1.5: expected a whole number, as in the file (7)"),
        ("seed=true", "-p seed=true: expected a whole number, as in the file (7)"),
        ("seed=", "-p seed=: expected a whole number, as in the file (7)"),
        ("rate=fast", "-p rate=fast: expected a number, as in the file (0.1)"),
        ("fast=yes", "-p fast=yes: expected true or false, as in the file (false)"),
        ("fast=1", "-p fast=1: expected true or false, as in the file (false)"),
        ("names=a", "-p names=a: expected a TOML value such as the file's ['a', 'b']"),
        ("names={}", "-p names={}: expected a TOML value such as the file's ['a', 'b']"),
        ("day=tomorrow", "-p day=tomorrow: expected a TOML value such as the file's 2024-01-31"),
        ("model=3", "-p model=3: expected a TOML value such as the file's { depth = 8, deep = { er = 1 } }"),
        (f"seed={'9' * 5000}", f"-p seed={'9' * 52}...: expected a whole number, as in the file (7)"),
        (f"names={'[' * 5000}", f"-p names={'[' * 51}...: expected a TOML value such as the file's ['a', 'b']"),
    ],
)
def test_overrides_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(FILE, text)
    assert caught.value.message == message
    if "unknown" in message:
        keys = "seed, rate, fast, name, names, day, model, model.depth, model.deep, model.deep.er"
        assert caught.value.hint == f"known: {keys}"


def test_an_override_of_a_file_without_parameters() -> None:
    with pytest.raises(UsageError) as caught:
        read("[s]\nscript = 's.py'", "x=1")
    assert caught.value.hint == "known: none: no pipeline has params"


def test_a_wrong_file_is_told_before_a_wrong_override() -> None:
    with pytest.raises(ConfigError):
        read("[s]\nscipt = 's.py'", "x=1")


def test_convert_names_what_was_said() -> None:
    assert convert("2", 1, "-p x=2") == 2
    with pytest.raises(UsageError, match="-p x=y: expected a whole number"):
        convert("y", 1, "-p x=y")
