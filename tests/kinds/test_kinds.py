"""Command lines: flags, placeholders, quoting as a real shell understands it, and the variables of a step."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmake.config.load import parse
from mlmake.engine.request import call_for, environment_for, job_for, variables
from mlmake.environments.system import System
from mlmake.kinds.command import Command
from mlmake.kinds.pick import Pick
from mlmake.kinds.python import Python
from mlmake.kinds.transfer import Transfer
from mlmake.model.data import Location, Scalar, Value
from mlmake.model.step import Code
from mlmake.model.template import Call, Placeholder, as_text, as_words, fill, meant, placeholders
from mlmake.registry import KINDS


def call(
    inputs: Mapping[str, tuple[str, ...]] | None = None,
    outputs: Mapping[str, str] | None = None,
    params: Mapping[str, Value] | None = None,
    matrix: Mapping[str, Scalar] | None = None,
    env: Mapping[str, str] | None = None,
) -> Call:
    return Call(
        python="py", inputs=inputs or {}, outputs=outputs or {}, params=params or {}, matrix=matrix or {}, env=env or {}
    )


def ran(command: str, filled: Call) -> str:
    """What a command prints, run as its kind says."""
    argv = Command(command=command).argv(filled)
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


# Python.


def flags(filled: Call) -> list[str]:
    argv = Python(script="s.py").argv(filled)
    assert argv[:3] == ("py", "-u", "s.py")
    return list(argv[3:])


def test_a_flag_for_everything_that_is_declared() -> None:
    filled = call(
        inputs={"table": ("a.csv",), "scores": ("1", "2", "3"), "none": ()},
        outputs={"page": "out/p.html"},
        params={"seed": 7, "model.depth": 8, "model.rate": 0.1, "names": ["a", "b"], "fast": True, "empty": []},
        matrix={"fold": 0, "kind": "a b"},
    )
    assert flags(filled) == [
        *("--table", "a.csv", "--scores", "1", "2", "3", "--none"),
        *("--page", "out/p.html"),
        *("--seed", "7", "--model-depth", "8", "--model-rate", "0.1", "--names", "a", "b", "--fast", "true", "--empty"),
        *("--fold", "0", "--kind", "a b"),
    ]


def test_no_flags_where_nothing_is_declared() -> None:
    assert flags(call()) == []


def test_args_instead_of_flags() -> None:
    filled = call(inputs={"x": ("1", "2")}, outputs={"o": "out"}, params={"p": [3, 4]}, env={"HOME": "/h"})
    args = ("{inputs.x}", "-o={outputs.o}", "{inputs.x} and", "{params.p}", "{env.HOME}")
    argv = Python(script="s.py", args=(*args, "{{inputs.x}}", "{x}", "$HOME")).argv(filled)
    assert argv[3:] == ("1", "2", "-o=out", "1 2 and", "3", "4", "/h", "{inputs.x}", "{x}", "$HOME")
    assert Python(script="s.py", args=()).argv(filled) == ("py", "-u", "s.py")


def test_no_args_and_empty_args_are_not_the_same_fact() -> None:
    assert Python(script="s.py").words() != Python(script="s.py", args=()).words()


def test_code_of_a_script() -> None:
    assert Python(script="steps/s.py", args=("other.py",)).code() == Code(scripts=("steps/s.py",))


# Commands.


def test_text_runs_in_a_shell_and_a_list_does_not() -> None:
    filled = call(inputs={"x": ("a b", "c")})
    assert Command(command="cat {inputs.x} | wc").argv(filled) == ("/bin/sh", "-c", "cat 'a b' c | wc")
    assert Command(command=("cat", "{inputs.x}", "|")).argv(filled) == ("cat", "a b", "c", "|")


@pytest.mark.parametrize(
    "word",
    [
        "a b",
        "it's",
        'say "hi"',
        "two\nlines",
        "$HOME",
        "`id`",
        "*",
        "a;b|c&d",
        "\\n",
        "",
        "--x",
        "#",
        "~",
        "ä€😀",
        "\t",
    ],
)
def test_every_value_reaches_a_command_as_it_is(word: str) -> None:
    filled = call(
        inputs={"x": (word, "second")},
        outputs={"o": word},
        params={"p": word, "l": [word, word]},
        matrix={"m": word},
        env={"E": word},
    )
    printed = ran(r"printf '<%s>' {inputs.x} {outputs.o} {params.p} {params.l} {matrix.m} {env.E}", filled)
    assert printed == f"<{word}><second>" + f"<{word}>" * 6


@given(words=st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])), max_size=4))
@settings(max_examples=25, deadline=None)
def test_every_text_reaches_a_command_as_it_is(words: list[str]) -> None:
    printed = ran("for word in {inputs.x}; do printf '%s\\001' \"$word\"; done", call(inputs={"x": tuple(words)}))
    wanted = "".join(f"{word}\1" for word in words)
    assert printed == wanted.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("x=1; echo ${x}", "1\n"),
        ("echo 'a b' | awk '{print $2}'", "b\n"),
        ("echo a.b | awk -F. '{ print $1 }'", "a\n"),
        ("f() { echo in; }; f", "in\n"),
        ('echo \'{"a": {"b": 1}}\'', '{"a": {"b": 1}}\n'),
        ("echo '{{inputs.x}}'", "{inputs.x}\n"),
        ("echo '{{input.x}}'", "{input.x}\n"),
        ("echo '{{other.x}}' '{other.x}' '{event.x}' '{inputs}' '{inputs.}' '{ inputs.x }'", None),
        ("echo '{\"n\": {params.n}}'", '{"n": 3}\n'),
    ],
)
def test_other_braces_are_left_alone(command: str, printed: str | None) -> None:
    filled = call(inputs={"x": ("X",)}, params={"n": 3})
    expected = "{{other.x}} {other.x} {event.x} {inputs} {inputs.} { inputs.x }\n"
    assert ran(command, filled) == (expected if printed is None else printed)


def test_files_that_a_command_names() -> None:
    command = Command(command="python steps/a.py <in.txt >{outputs.o} && sh -c 'b.sh;c.sh' --cfg=d.yaml {inputs.e}")
    mentioned = command.code().mentioned
    assert {"steps/a.py", "in.txt", "b.sh", "c.sh", "d.yaml"} <= set(mentioned)
    assert not any("{" in word for word in mentioned)
    assert Command(command=("python", "my script.py")).code().mentioned == ("python", "my script.py")
    assert command.code().scripts == ()


# What both have in common.


def test_placeholders_are_found_in_order() -> None:
    texts = ["{inputs.a} {{inputs.b}} {other.c}", "no", "{params.d.e}{matrix.f-g}"]
    assert placeholders(texts) == [
        Placeholder("inputs", "a"),
        Placeholder("other", "c"),
        Placeholder("params", "d.e"),
        Placeholder("matrix", "f-g"),
    ]


@given(st.text(st.sampled_from("{}.ainputs x$'\"\n")))
@settings(max_examples=300, deadline=None)
def test_filling_changes_placeholders_only(text: str) -> None:
    assert fill(text, lambda space, name: f"{{{space}.{name}}}").replace("{", "").replace("}", "") == text.replace(
        "{", ""
    ).replace("}", "")


@pytest.mark.parametrize(
    ("space", "wanted"),
    [
        ("inputs", "inputs"),
        ("input", "inputs"),
        ("ouputs", "outputs"),
        ("outptus", "outputs"),
        ("param", "params"),
        ("matrx", "matrix"),
        ("metrics", "outputs"),
        ("env", "env"),
        ("event", ""),
        ("even", ""),
        ("print", ""),
        ("input_file", ""),
        ("x", ""),
    ],
)
def test_slips_for_a_namespace(space: str, wanted: str) -> None:
    assert meant(space) == wanted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (True, "true"),
        (False, "false"),
        ("True", "True"),
        ({"a": [True, "ü"]}, '{"a": [true, "ü"]}'),
    ],
)
def test_values_as_text(value: Value, text: str) -> None:
    assert as_text(value) == text


def test_lists_as_words() -> None:
    assert as_words([1, "a b", True, [1, 2]]) == ("1", "a b", "true", "[1, 2]")
    assert as_words("a b") == ("a b",)
    assert as_words([]) == ()


MADE: Mapping[str, Any] = {
    "python": Python(script="s.py"),
    "command": Command(command="c"),
    "transfer": Transfer(),
    "pick": Pick(keys=("seed",)),
}


@pytest.mark.parametrize("name", list(KINDS.table))
def test_kinds_keep_their_contract(name: str) -> None:
    made = MADE[name]
    assert type(made) is KINDS.load(name)
    assert is_dataclass(type(made))
    assert (made.name, made.version) == (name, 1)
    for each in fields(made):
        with pytest.raises(FrozenInstanceError):
            setattr(made, each.name, "other")
    filled = replace(call(inputs={"i": ("i",)}, outputs={"x": "x"}), targets={"x": Location("x", "/project/x")})
    assert made.argv(filled) == made.argv(filled)


# The environment of a step.


def test_variables() -> None:
    filled = call(
        inputs={"table": ("a.csv",), "all-scores": ("1", "2 3"), "größe": ("g",)},
        outputs={"page": "out/"},
        params={"model.depth": 8, "names": ["a", "ü"], "fast": False, "t": {"x": 1}},
        matrix={"fold": 0},
    )
    assert variables(filled) == {
        "MLMAKE_INPUT_TABLE": "a.csv",
        "MLMAKE_INPUT_ALL_SCORES": "1\n2 3",
        "MLMAKE_INPUT_GR_SSE": "g",
        "MLMAKE_OUTPUT_PAGE": "out/",
        "MLMAKE_PARAM_MODEL_DEPTH": "8",
        "MLMAKE_PARAM_NAMES": '["a", "\\u00fc"]',
        "MLMAKE_PARAM_FAST": "false",
        "MLMAKE_PARAM_T": '{"x": 1}',
        "MLMAKE_MATRIX_FOLD": "0",
    }


def test_a_job_from_the_file_to_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMAKE_PARAM_OLD", "from a build around this one")
    project = parse(
        b"""
[pipelines.p.params]
model = { depth = 8 }
[pipelines.p.steps.s]
script = "s.py"
matrix = { fold = [0] }
inputs = { scores = "in.csv" }
params = { depth = "model.depth" }
outputs = { o = "out/" }
""",
        "/project",
    )
    step = project.steps["p.s[fold=0]"]
    inputs = {"scores": ("/project/in.csv", "/else/b.csv")}
    filled = call_for(step, inputs, {"o": "/project/stage/o"}, "/project", System().python)
    job = job_for(project, step, filled, environment_for(project, System()), 1, "log")
    flags = ("--scores", "in.csv", "/else/b.csv", "--o", "stage/o/", "--depth", "8", "--fold", "0")
    assert job.argv[2:] == ("s.py", *flags)
    assert job.folder == "/project"
    ours = {name: value for name, value in job.env.items() if name.startswith("MLMAKE_")}
    assert ours == {
        "MLMAKE_INPUT_SCORES": "in.csv\n/else/b.csv",
        "MLMAKE_OUTPUT_O": "stage/o/",
        "MLMAKE_PARAM_DEPTH": "8",
        "MLMAKE_MATRIX_FOLD": "0",
    }
