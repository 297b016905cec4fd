"""A dvc.yaml as a pipelines.toml: what becomes of its keys, and that the result builds and reruns what DVC would."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmake.errors import UsageError
from mlmake.model.project import FILE
from mlmake.services.importing.dvc.commands import joined, needs_bash
from mlmake.services.importing.project import Imported, imported
from projects import Folder


def taken(project: Folder, text: str) -> Imported:
    """The import of a dvc.yaml, written as the project's pipelines.toml."""
    project.write({"dvc.yaml": text})
    done = imported(str(project.root / "dvc.yaml"), str(project.root))
    project.toml(done.text)
    return done


def steps(done: Imported) -> Mapping[str, Any]:
    found: Mapping[str, Any] = tomli.loads(done.text)["pipelines"]["main"]["steps"]
    return found


def notes(done: Imported) -> list[str]:
    return [str(note) for note in done.notes]


STARTED = """
stages:
  prepare:
    cmd: sh src/prepare.sh data/data.xml params.yaml
    deps: [data/data.xml, src/prepare.sh]
    params: [prepare.seed, prepare.split]
    outs: [data/prepared]
  featurize:
    desc: Words as numbers
    cmd: mkdir data/features && cat data/prepared/train.txt > data/features/matrix.txt
    deps: [data/prepared/train.txt]
    params:
    - featurize
    - limits.json: [words]
    outs: [data/features]
  evaluate:
    cmd: >-
      cat data/features/matrix.txt > roc.csv && echo '{"auc": 0.9}' > scores.json
    deps: [data/features]
    metrics:
    - scores.json: {cache: false}
    plots:
    - roc.csv: {x: fpr, y: tpr}
"""
PREPARE = """mkdir data/prepared
cat $1 > data/prepared/train.txt
grep seed $2 >> data/prepared/train.txt
"""
PARAMS = "prepare:\n  seed: 1\n  split: 0.2\nfeaturize: {ngrams: 2}\nunused: 5\n"


@pytest.fixture
def started(project: Folder) -> Folder:
    """The shape of DVC's own example, with shell commands."""
    project.write({"data/data.xml": "<x/>\n", "src/prepare.sh": PREPARE, "params.yaml": PARAMS})
    project.write({"limits.json": '{"words": 10}'})
    taken(project, STARTED)
    return project


def test_a_pipeline_builds_as_it_stands(started: Folder) -> None:
    built = started.build()
    assert {*built.done} == {
        *("prepare-params", "prepare", "featurize-params", "featurize-limits", "featurize", "evaluate"),
    }
    assert started.read("roc.csv") == "<x/>\n  seed: 1\n"
    assert started.build().started == []


CHANGES = [
    ("params.yaml", "unused: 5", "unused: 6", set[str]()),
    ("params.yaml", "split: 0.2", "split: 0.3", {"prepare"}),
    ("params.yaml", "seed: 1", "seed: 2", {"prepare", "featurize", "evaluate"}),
    ("limits.json", "10", "11", {"featurize"}),
    ("src/prepare.sh", "mkdir", "mkdir -p", {"prepare"}),
]


def test_a_change_reruns_what_it_touches(started: Folder) -> None:
    """As DVC would: of a file of parameters only the keys that a stage names count for it."""
    started.build()
    for file, old, new, ran in CHANGES:
        started.write({file: started.read(file).replace(old, new)})
        assert {step for step in started.build().done if not step.endswith(("-params", "-limits"))} == ran, new


def test_the_tables_of_a_stage(started: Folder) -> None:
    made = tomli.loads(started.read(FILE))["pipelines"]["main"]["steps"]
    assert made["prepare-params"] == {
        "kind": "pick",
        "keys": ["prepare.seed", "prepare.split"],
        "inputs": {"file": "params.yaml"},
        "metrics": {"params": "build/params/prepare-params.json"},
    }
    assert made["prepare"] == {
        "command": "sh src/prepare.sh data/data.xml params.yaml",
        "code": ["src/prepare.sh", "!params.yaml"],
        "inputs": {"data": "data/data.xml", "params": "@prepare-params"},
        "outputs": {"prepared": "data/prepared"},
        "in_place": True,
    }
    assert made["featurize"]["description"] == "Words as numbers"
    assert made["evaluate"]["metrics"] == {"scores": "scores.json"}
    assert made["evaluate"]["cache"] == {"scores": False}


VARIED = """
vars:
- conf.yaml:train
- suffix: v1
stages:
  fit:
    foreach: ${models}
    do:
      cmd: echo ${item} ${train.rate} > model-${item}-${suffix}.txt
      outs: ["model-${item}-${suffix}.txt"]
  build:
    foreach:
      uk: {epochs: 3, note: a b}
      us: {epochs: 10, note: "c  d"}
    do:
      cmd: echo ${key} ${item.epochs} '${item.note}' > country-${key}.txt
      params: ["${key}.rate"]
      outs: ["country-${key}.txt"]
  grid:
    matrix:
      os: [linux, mac]
      python: ["3.9", "3.10"]
    cmd: echo ${item.os} ${item.python} ${key} > grid-${key}.txt
    params: [matrix]
    outs: ["grid-${key}.txt"]
  flags:
    cmd: echo ${train} \\${HOME} ${{suffix}} {inputs.x} > flags.txt
    outs: [flags.txt]
  nested:
    matrix:
      shape: [{size: 1}, {size: 2}]
    cmd: echo ${item.shape.size} > ${key}.txt
    outs: ["${key}.txt"]
"""


@pytest.fixture
def varied(project: Folder) -> Imported:
    project.write({"params.yaml": "models: [cnn, 12]\nuk: {rate: 1}\nus: {rate: 2}\nmatrix: x\n"})
    project.write(
        {"conf.yaml": "train: {rate: 1e-3, title: two words, fast: true, slow: false, on: [1, x y]}\nrest: 1\n"}
    )
    return taken(project, VARIED)


def test_templates_foreach_and_matrix_build(project: Folder, varied: Imported) -> None:
    built = project.build()
    assert built.failed == []
    assert project.read("model-cnn-v1.txt") == "cnn 0.001\n"
    assert project.read("model-12-v1.txt") == "12 0.001\n"
    assert project.read("country-uk.txt") == "uk 3 a b\n"
    assert project.read("grid-mac-3.10.txt") == "mac 3.10 mac-3.10\n"
    assert project.read("shape1.txt") == "2\n"
    home = os.environ["HOME"]
    assert project.read("flags.txt") == f"--rate 0.001 --title two words --fast --on 1 x y {home} v1 {{inputs.x}}\n"
    assert project.build().started == []


def test_values_are_parameters_where_they_can_be(varied: Imported) -> None:
    made = steps(varied)
    assert made["fit"]["command"] == (
        "echo {matrix.item} {params.train.rate} > model-{matrix.item}-{params.suffix}.txt"
    )
    assert made["fit"]["matrix"] == {"item": ["cnn", 12]}
    assert made["fit"]["outputs"] == {"model": "model-{matrix.item}-{params.suffix}.txt"}
    assert made["build-us"]["command"] == "echo us 10 'c  d' > country-us.txt"
    assert made["build-us-params"]["keys"] == ["us.rate"]
    assert made["grid"]["matrix"] == {"os": ["linux", "mac"], "python": ["3.9", "3.10"]}
    assert made["grid"]["inputs"] == {"params": "@grid-params[os={matrix.os},python={matrix.python}]"}
    assert tomli.loads(varied.text)["pipelines"]["main"]["params"] == {"suffix": "v1", "train": {"rate": 0.001}}
    assert "${train.title} is written out: it cannot be a parameter" in notes(varied)


OTHERS = """
artifacts: {m: {path: model.pkl}}
plots: [roc.csv]
metrics: [late.json, nowhere.json]
stages:
  a:
    cmd: ["cd sub && echo 1 > one.txt", "cat one.txt | tee two.txt"]
    wdir: work
    deps:
    - ../outside.txt
    - tool.py
    - https://example.com/data.csv
    outs:
    - two.txt:
        persist: true
        remote: far
        push: false
    - s3://bucket/x.csv
    meta: {who: me}
  late:
    cmd: "echo '{}' > late.json"
    deps: [work/two.txt]
    outs: [late.json]
    metrics: [numbers.yaml]
  cold:
    cmd: "false"
    frozen: true
    params: [x]
    outs: [cold.txt]
  tick:
    cmd: date
  tock:
    cmd: date > tock.txt
    always_changed: true
    outs: [tock.txt]
  my.stage:
    cmd: "[[ a == a ]] && echo b > b.txt"
    outs: [b.txt]
"""


def test_what_has_no_counterpart_is_told_and_stands_in_the_file(project: Folder) -> None:
    project.write({"data.xml.dvc": "", "work/tool.py": "", "params.yaml": "x: 1"})
    done = taken(project, OTHERS)
    told = notes(done)
    for words in (
        "artifacts: there is no registry of models",
        "plots: mlmake draws metrics over runs",
        "metrics: nowhere.json is no output of a stage",
        "a: outs: two.txt: remote: has no counterpart",
        "a: outs: two.txt: push: has no counterpart",
        "a: outs: two.txt: persist: mlmake sets the old output aside",
        "a: outs: s3://bucket/x.csv lies in a store",
        "a: meta: has no counterpart",
        "late: metrics: numbers.yaml is no JSON",
        "cold: frozen: it is not run",
        "my-stage: dvc.yaml calls it 'my.stage'",
    ):
        assert any(note.startswith(words) for note in told), (words, told)
    comments = " ".join(line.removeprefix("#").strip() for line in done.text.splitlines() if line.startswith("#"))
    assert all(note.what in comments for note in done.notes)


def test_stages_of_every_shape(project: Folder) -> None:
    project.write({"work/tool.py": "", "params.yaml": "x: 1"})
    done = taken(project, OTHERS)
    made = steps(done)
    assert done.problems == ()
    assert made["a"]["command"] == "cd work && (\ncd sub && echo 1 > one.txt\n) &&\ncat one.txt | tee two.txt"
    assert made["a"]["code"] == "work/tool.py"
    assert made["a"]["inputs"]["outside"] == "outside.txt"
    assert made["a"]["inputs"]["data"] == {"path": "https://example.com/data.csv", "mode": "path"}
    assert made["late"]["metrics"] == {"late": "late.json"}, "named as metrics at the top of the file"
    assert "cold" not in made
    assert '# command = "false"' in done.text
    assert made["tick"] == {"command": "date", "reuse": False}
    assert made["tock"]["reuse"] is False
    assert made["my-stage"]["command"] == ["bash", "-c", "[[ a == a ]] && echo b > b.txt"]


UPWARDS = """
stages:
  a:
    cmd: cat ../../up.txt in.txt > out.txt
    deps: [../../up.txt, in.txt]
    outs: [out.txt]
"""


def test_metrics_inside_an_output_folder_are_remembered(project: Folder) -> None:
    """As `dvclive` writes them: a folder is the output, a file in it the metrics."""
    command = """mkdir eval && echo '{"auc": 0.5}' > eval/metrics.json"""
    done = taken(project, f"stages: {{a: {{cmd: {json.dumps(command)}, outs: [eval]}}}}\nmetrics: [eval/metrics.json]")
    assert project.build().done == ["a", "eval-metrics"]
    assert project.json("metrics") == {"main.eval-metrics": {"metrics": {"auc": 0.5}}}
    assert notes(done) == ["eval-metrics: the file lies in an output; copied, its numbers are remembered"]


def test_a_file_in_a_folder_of_its_own(project: Folder) -> None:
    """Paths go by the folder of the dvc.yaml; what lies outside of the project gets a datastore."""
    project.write(
        {
            "sub/dvc.yaml": UPWARDS,
            "sub/in.txt": "in\n",
            "../up.txt": "up\n",
        }
    )
    done = imported(str(project.root / "sub" / "dvc.yaml"), str(project.root))
    project.toml(done.text)
    made = steps(done)["a"]
    assert made["outputs"] == {"out": "sub/out.txt"}
    assert made["inputs"]["in"] == "sub/in.txt"
    (store,) = tomli.loads(done.text)["datastores"]
    assert made["inputs"]["up"] == f"{store}://up.txt"
    assert project.build().done == ["a"]
    assert project.read("sub/out.txt") == "up\nin\n"


@pytest.mark.parametrize(
    ("commands", "folder", "line"),
    [
        (["a", "b"], ".", "a && b"),
        (["a | b > c"], ".", "a | b > c"),
        (["a || b"], "x y", "cd 'x y' || exit\na || b"),
        (["a", "b; c"], ".", "a &&\n(\nb; c\n)"),
        (["export A=1", "echo $A"], ".", "(\nexport A=1\n) &&\necho $A"),
    ],
)
def test_commands_run_one_after_the_other(commands: list[str], folder: str, line: str) -> None:
    assert joined(commands, folder) == line


@pytest.mark.parametrize(("command", "wanted"), [("set -o pipefail", True), ("cat <(ls)", True), ("a && b", False)])
def test_commands_for_bash(command: str, wanted: bool) -> None:
    assert needs_bash(command) is wanted


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("stages: {}", "dvc.yaml has no stages", ""),
        ("- a", "holds no table", "a dvc.yaml has `stages`"),
        ("jobs: {}", "is no pipeline that can be imported", "a dvc.yaml has `stages`"),
        ("stages: [", "cannot be read: line", ""),
        ("stages: {a: x}", "stage 'a': the stage: expected a table, got 'x'", ""),
        ("stages: {a: {deps: [x]}}", "stage 'a': cmd: expected a command", ""),
        ("stages: {a: {cmd: x, deps: y}}", "stage 'a': deps: expected a list, got 'y'", ""),
        ("stages: {a: {cmd: 'echo ${rte}'}}", "stage 'a': ${rte}: there is no 'rte'", "did you mean 'rate'?"),
        ("stages: {a: {cmd: 'echo ${list}'}}", "stage 'a': ${list} is a list", ""),
        ("stages: {a: {foreach: '${rate}', do: {cmd: x}}}", "stage 'a': foreach: expected a list or a table", ""),
        ("stages: {a: {matrix: {x: 1}, cmd: x}}", "stage 'a': matrix: expected a table of lists", ""),
        ("{vars: [none.yaml], stages: {a: {cmd: x}}}", "none.yaml: No such file", ""),
        ("{vars: ['params.yaml:none'], stages: {a: {cmd: x}}}", "vars: params.yaml has no 'none'", ""),
    ],
)
def test_a_file_that_cannot_be_imported_says_why(project: Folder, text: str, message: str, hint: str) -> None:
    project.write({"params.yaml": "rate: 1\nlist: [1]\n"})
    with pytest.raises(UsageError) as raised:
        taken(project, text)
    assert message in raised.value.message
    assert hint in raised.value.hint


WORDS = st.sampled_from(["", "a", "../x", "${rate}", "${", "/", "a b", "'''\n"])
NASTY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "cmd", "outs", "x.y"]), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = ("cmd", "wdir", "deps", "outs", "params", "metrics", "plots", "foreach", "do", "matrix", "vars", "frozen")


@settings(max_examples=60, deadline=None)
@given(stage=st.dictionaries(st.sampled_from(KEYS), NASTY, max_size=5), top=NASTY)
def test_nothing_breaks_it(tmp_path_factory: pytest.TempPathFactory, stage: dict[str, Any], top: Any) -> None:
    """Any file gives a text or an error that tells why not."""
    root = tmp_path_factory.getbasetemp() / "any-dvc"
    root.mkdir(exist_ok=True)
    (root / "params.yaml").write_text("rate: 1\n")
    document = {"stages": {"a": {"cmd": "x", **stage}, "b c": {"cmd": "y", "outs": ["o"]}}, "vars": top, "metrics": top}
    (root / "dvc.yaml").write_text(json.dumps(document))
    try:
        done = imported(str(root / "dvc.yaml"), str(root))
    except UsageError as error:
        assert error.message
    else:
        tomli.loads(done.text)


def test_no_stage_is_dropped_in_silence(project: Folder) -> None:
    done = taken(
        project,
        """
        stages:
          none: {foreach: [], do: {cmd: echo}}
          some: {foreach: [a, b], frozen: true, do: {cmd: "echo ${item}"}}
        """,
    )
    assert [*steps(done)] == ["some"]
    assert notes(done) == [
        "stage none: foreach: it is empty, so there is no step of it",
        "stage some: frozen: has no counterpart",
    ]
    assert all(f"# note: {note}" in done.text for note in notes(done))


def test_only_the_stage_whose_command_has_a_parameter_is_told_of_it(project: Folder) -> None:
    project.write({"params.yaml": "{seed: 1, fit: {rate: 2}}"})
    done = taken(
        project,
        """
        stages:
          before: {cmd: cat params.yaml, params: [seed]}
          both: {cmd: "echo ${seed} ${fit.rate}", params: [seed, fit]}
          behind: {cmd: cat params.yaml, params: [seed]}
        """,
    )
    assert [note for note in notes(done) if "the command has it" in note] == [
        "both: params: seed, fit: the command has it from pipelines.toml, the script from params.yaml"
    ]


@pytest.mark.parametrize("loop", ["deps: &a [*a]", "matrix: &a {x: [*a]}"])
def test_a_file_that_holds_itself_is_told(project: Folder, loop: str) -> None:
    with pytest.raises(UsageError, match="nested too deep"):
        taken(project, f"stages:\n  s:\n    cmd: echo ${{x}}\n    {loop}\n")
