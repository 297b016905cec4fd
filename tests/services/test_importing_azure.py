"""The YAML of an Azure ML pipeline as a pipelines.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmake.errors import UsageError
from mlmake.services.importing.project import Imported, imported
from projects import Folder

PIPELINE = """
pipeline:
  name: Sample Pipeline
  description: Made of YAML
  parameters:
    Iterations: {type: int, default: 40}
    Rate: {type: float}
    Word: {type: string}
    Where:
      type: datapath
      default: {datastore: blobs, path_on_datastore: raw/b.csv}
  data_references:
    raw: {datastore: blobs, path_on_datastore: raw/data.csv}
    archive: {datastore: cold, path_on_datastore: kept}
    titanic: {dataset_name: titanic}
  default_compute: cpu-cluster
  steps:
    Train:
      type: PythonScriptStep
      name: Train a model
      script_name: train.py
      source_directory: src
      parameters:
        NUM: {source: Iterations}
        DEPTH: 7
      runconfig: train.runconfig
      runconfig_parameters: {NodeCount: {source: Iterations}}
      arguments: [--in, "input:prep", --where, "input:where", --out, "output:model", --n, "parameter:NUM"]
      inputs:
        prep: {source: prepared, bind_mode: download}
        where: {source: Where}
      outputs:
        model: {destination: model_data, datastore: blobs, bind_mode: mount}
      allow_reuse: false
      version: 3
    Prepare:
      python_script_step:
        script_name: prepare.py
        source_directory: src
        compute: gpu
        arguments: [--in, "input:raw", --out, "output:table"]
        inputs: {raw: {source: raw, path_on_compute: /mnt/x}}
        outputs: {table: {destination: prepared}}
    Keep:
      type: DataTransferStep
      source_data_reference: raw
      destination_data_reference: archive
      compute: factory
    Score:
      type: ParallelRunStep
      parallel_run_config: score.yml
      inputs: {data: {source: titanic}}
      outputs: {scores: {destination: scores}}
    Report:
      type: PythonScriptStep
      script_name: report.py
      inputs: {m: {source: model_data}, s: {source: scores}}
"""
PREPARE = """import os, sys
source, target = sys.argv[2], sys.argv[4]
os.makedirs(target)
open(os.path.join(target, "x"), "w").write(open(source).read())
"""
TRAIN = """import os, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
table = open(os.path.join(words["--in"], "x")).read().strip()
open(words["--out"], "w").write(" ".join([table, words["--n"], os.environ["MLMAKE_PARAM_DEPTH"]]))
"""


def taken(project: Folder, text: str) -> Imported:
    project.write({"pipeline.yml": text})
    done = imported(str(project.root / "pipeline.yml"), str(project.root))
    project.toml(done.text)
    return done


@pytest.fixture
def sample(project: Folder) -> Imported:
    project.write(
        {
            "src/prepare.py": PREPARE,
            "src/train.py": TRAIN,
            "report.py": "",
            "train.runconfig": "nodeCount: 2\nenvironment: {docker: {enabled: true}}\n",
            "data/blobs/raw/data.csv": "a\n",
            "data/blobs/raw/b.csv": "b\n",
        }
    )
    return taken(project, PIPELINE)


def steps(done: Imported) -> Mapping[str, Any]:
    (pipeline,) = tomli.loads(done.text)["pipelines"].values()
    found: Mapping[str, Any] = pipeline["steps"]
    return found


def test_it_builds(project: Folder, sample: Imported) -> None:
    assert sample.problems == ()
    built = project.build("Train", "Keep")
    assert {*built.done} == {"Prepare", "Train", "Keep"}
    assert project.read("build/Train/model") == "a 40 7"
    assert project.read("data/cold/kept/data.csv") == "a\n"
    assert project.build("Train", "Keep").started == ["Train"], "allow_reuse is false"


def test_its_tables(sample: Imported) -> None:
    document = tomli.loads(sample.text)
    assert document["datastores"] == {"blobs": "data/blobs", "cold": "data/cold", "datasets": "data/datasets"}
    assert document["compute"] == {"cpu-cluster": {"kind": "local"}, "gpu": {"kind": "local"}}
    pipeline = document["pipelines"]["Sample-Pipeline"]
    assert pipeline["description"] == "Made of YAML"
    assert pipeline["params"] == {"Iterations": 40, "Rate": 0.0, "Word": "", "Train": {"DEPTH": 7}}
    assert steps(sample)["Train"] == {
        "description": "Train a model",
        "script": "src/train.py",
        "args": [
            *("--in", "{inputs.prep}", "--where", "{inputs.where}"),
            *("--out", "{outputs.model}", "--n", "{params.NUM}"),
        ],
        "inputs": {"prep": "@Prepare.table", "where": "blobs://raw/b.csv"},
        "outputs": {"model": "build/Train/model"},
        "params": {"NUM": "Iterations", "DEPTH": "Train.DEPTH"},
        "version": "3",
        "reuse": False,
        "compute": "cpu-cluster",
    }
    assert steps(sample)["Prepare"]["compute"] == "gpu"
    assert steps(sample)["Keep"] == {
        "kind": "transfer",
        "inputs": {"source": "blobs://raw/data.csv"},
        "outputs": {"target": "cold://kept/"},
    }


def test_what_has_no_counterpart_is_told(sample: Imported) -> None:
    told = [str(note) for note in sample.notes]
    for words in (
        "parameters.Word has no default",
        "parameters.Where: a path is no parameter",
        "datastore 'blobs' is the folder data/blobs",
        "data_references.titanic: dataset 'titanic' is the folder datasets://titanic/",
        "compute 'cpu-cluster' is this machine until",
        "scripts run in the project's root",
        "Train: runconfig_parameters",
        "Train: runconfig train.runconfig: nodeCount: has no counterpart",
        "Train: runconfig train.runconfig: environment.docker: has no counterpart",
        "Train: outputs.model is kept in the project, not in datastore 'blobs'",
        "Train: parameters.DEPTH: the script finds it in MLMAKE_PARAM_DEPTH",
        "Prepare: inputs.raw.path_on_compute: has no counterpart",
        "Keep: compute: a transfer is made by this machine",
        "Score: a ParallelRunStep has no counterpart",
        "Score: its output scores is expected at build/Score/scores",
    ):
        assert any(note.startswith(words) for note in told), (words, told)
    assert '# parallel_run_config = "score.yml"' in sample.text
    assert steps(sample)["Report"]["inputs"] == {"m": "@Train.model", "s": "build/Score/scores"}


def test_a_conda_file_becomes_an_environment(project: Folder) -> None:
    project.write({"conda.yml": "dependencies: [python]\n", "a.py": ""})
    project.write({"run.runconfig": "environment: {python: {condaDependenciesFile: conda.yml}}\n"})
    step = "{type: PythonScriptStep, script_name: a.py, runconfig: run.runconfig}"
    done = taken(project, f"pipeline: {{steps: {{a: {step}}}}}")
    assert tomli.loads(done.text)["environments"] == {"run": {"conda": "conda.yml"}}
    assert steps(done)["a"]["environment"] == "run"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("pipeline: []", "pipeline: expected a table", ""),
        ("pipeline: {}", "the pipeline has no steps", ""),
        ("Schedule: {}", "is a schedule, not a pipeline", ""),
        ("pipeline: {steps: {a: {x: 1}}}", "steps.a: it has no type", "PythonScriptStep"),
        ("pipeline: {steps: {a: {type: PythonScriptStep}}}", "steps.a: a PythonScriptStep needs script_name", ""),
        (
            "pipeline: {data_references: {raw: {datastore: d}}, steps: {a: {type: PythonScriptStep, script_name: s,"
            " inputs: {x: {source: rew}}}}}",
            "steps.a: inputs.x: 'rew' is no data reference",
            "did you mean 'raw'?",
        ),
        (
            "pipeline: {steps: {a: {type: PythonScriptStep, script_name: s, arguments: ['input:x']}}}",
            "steps.a: arguments: input:x is not in inputs",
            "",
        ),
        ("pipeline: {parameters: {a: {type: date}}, steps: {a: {type: X}}}", "parameters.a: unknown type 'date'", ""),
    ],
)
def test_a_file_that_cannot_be_imported_says_why(project: Folder, text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        taken(project, text)
    assert message in raised.value.message
    assert hint in raised.value.hint


WORDS = st.sampled_from(["", "a", "../x", "input:x", "int", "raw", "{inputs.x}"])
NASTY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "source", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = ("name", "script_name", "arguments", "inputs", "outputs", "parameters", "runconfig", "version", "hash_paths")


@settings(max_examples=60, deadline=None)
@given(step=st.dictionaries(st.sampled_from(KEYS), NASTY, max_size=5), top=NASTY)
def test_nothing_breaks_it(tmp_path_factory: pytest.TempPathFactory, step: dict[str, Any], top: Any) -> None:
    """Any file gives a text or an error that tells why not."""
    root = tmp_path_factory.getbasetemp() / "any-azure"
    root.mkdir(exist_ok=True)
    steps = {"a": {"type": "PythonScriptStep", "script_name": "s.py", **step}, "b": {"type": "Other", "x": top}}
    pipeline = {"parameters": top, "data_references": {"raw": top}, "default_compute": top, "steps": steps}
    (root / "any.yml").write_text(json.dumps({"pipeline": pipeline}))
    try:
        done = imported(str(root / "any.yml"), str(root))
    except UsageError as error:
        assert error.message
    else:
        tomli.loads(done.text)


def test_a_step_may_have_the_name_of_a_parameter(project: Folder) -> None:
    project.write(
        {
            "p.yml": """
            pipeline:
              parameters: {fit: {type: int, default: 3}}
              steps:
                fit:
                  type: PythonScriptStep
                  script_name: x.py
                  parameters: {n: 5, p: {source: fit}}
                  arguments: ["parameter:n", "parameter:p"]
        """
        }
    )
    made = tomli.loads(imported(str(project.root / "p.yml"), str(project.root)).text)["pipelines"]["p"]
    assert made["params"] == {"fit": 3, "fit-2": {"n": 5}}
    assert made["steps"]["fit"]["params"] == {"n": "fit-2.n", "p": "fit"}


def test_each_step_keeps_its_own_software(project: Folder) -> None:
    run = "environment: {{python: {{condaDependenciesFile: {0}/conda.yml}}}}"
    step = "{{type: PythonScriptStep, script_name: x.py, runconfig: {0}/run.yml}}"
    project.write({f"{folder}/run.yml": run.format(folder) for folder in "ab"})
    project.write({f"{folder}/conda.yml": "dependencies: [python=3.11]" for folder in "ab"})
    project.write({"p.yml": f"pipeline: {{steps: {{one: {step.format('a')}, two: {step.format('b')}}}}}"})
    made = tomli.loads(imported(str(project.root / "p.yml"), str(project.root)).text)
    used = [made["environments"][each["environment"]]["conda"] for each in made["pipelines"]["p"]["steps"].values()]
    assert used == ["a/conda.yml", "b/conda.yml"]


@pytest.mark.parametrize(
    ("top", "step", "message"),
    [
        ('parameters: {"a b": {type: int}, "a-b": {type: int}}', "", "parameters.a-b: 'a-b' is a parameter already"),
        (
            "data_references: {x: {datastore: d, path_on_datastore: x}}",
            "inputs: {i: {source: x}}, side_inputs: {i: {source: x}}",
            "steps.s: inputs: two of them have the name 'i'",
        ),
    ],
)
def test_two_of_one_name_are_told(project: Folder, top: str, step: str, message: str) -> None:
    project.write(
        {"p.yml": f"pipeline:\n  {top}\n  steps: {{s: {{type: PythonScriptStep, script_name: x.py, {step}}}}}"}
    )
    with pytest.raises(UsageError, match=message):
        imported(str(project.root / "p.yml"), str(project.root))
