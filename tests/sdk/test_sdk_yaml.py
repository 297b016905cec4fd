"""Pipelines out of Azure ML's YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlmake.errors import NotYetError, UsageError
from mlmake.sdk import DataPath, Dataset, Datastore, InputPortDef, Module, OutputPortDef, Pipeline
from projects import Folder
from workspaces import ran, workspace

PIPELINE = """
pipeline:
  description: Made of YAML
  parameters:
    rounds: {type: int, default: 3}
    rate: {type: float}
    where: {type: datapath, default: {datastore: workspaceblobstore, path_on_datastore: raw/b.csv}}
  data_references:
    raw: {datastore: workspaceblobstore, path_on_datastore: raw/a.csv}
    away: {datastore: workspacefilestore, path_on_datastore: kept/joined}
    tables: {dataset_name: tables}
  default_compute: local
  steps:
    Move:
      type: DataTransferStep
      source_data_reference: joined
      destination_data_reference: away
    Join:
      type: PythonScriptStep
      name: Join them
      script_name: join.py
      source_directory: ..
      parameters: {ROUNDS: {source: rounds}, DEPTH: 7}
      arguments: [--input, "input:from", --output, "output:made", "parameter:ROUNDS", "parameter:DEPTH", "input:second"]
      inputs:
        from: {source: raw, bind_mode: mount}
        second: {source: where}
        tables: {source: tables}
      outputs:
        made: {destination: joined, datastore: workspaceblobstore}
      version: "2"
    Again:
      type: PythonScriptStep
      script_name: join.py
      source_directory: ..
      arguments: [--input, "input:joined", --output, "output:made"]
      inputs: {joined: {source: joined}}
      outputs: {made: {destination: again}}
      allow_reuse: false
    Count:
      type: ModuleStep
      name: count
      inputs: {text: {source: again}}
      outputs: {made: {destination: counted}}
"""


def filled(place: Folder, text: str = PIPELINE) -> Pipeline:
    pytest.importorskip("ruamel.yaml")
    files = {"data/raw/a.csv": "a", "data/raw/b.csv": "b", "data/t/1.csv": "x\n1\n", "pipes/p.yml": text}
    ws = workspace(place, files)
    store = ws.get_default_datastore()
    if "tables" not in ws.datasets:
        Dataset.Tabular.from_delimited_files((store, "t/*.csv")).register(ws, "tables")
        module = Module.create(ws, "count")
        ports = [InputPortDef("text")], [OutputPortDef("made")]
        module.publish_python_script("join.py", "", *ports, arguments=["--input", ports[0][0], "--output", ports[1][0]])
    return Pipeline.load_yaml(ws, "pipes/p.yml")


def test_a_pipeline_of_every_kind_of_step(place: Folder) -> None:
    pipeline = filled(place)
    assert pipeline.description == "Made of YAML"
    assert [step.name for step in pipeline.steps] == ["Move", "Join them", "Again", "Count"]
    pipeline.submit("e").wait_for_completion(show_output=False)
    assert sorted(ran(place)) == ["Again", "Count", "Join_them 3 7 data/raw/b.csv"]
    assert place.read("files/kept/joined") == "a+3 7 data/raw/b.csv"
    other = DataPath(Datastore.get_default(pipeline.workspace), "raw/a.csv")
    run = pipeline.submit("e", {"rounds": 4, "where": other})
    run.wait_for_completion(show_output=False)
    assert "Join_them 4 7 data/raw/a.csv" in ran(place)
    assert not run.find_step_run("Again")[0].is_reused


def test_the_old_form_of_a_step(place: Folder) -> None:
    text = "pipeline: {steps: {A: {python_script_step: {script_name: join.py, source_directory: ..}}}}"
    assert [step.name for step in filled(place, text).steps] == ["A"]


@pytest.mark.parametrize(
    ("old", "new", "kind", "said"),
    [
        ("pipeline:\n", "pipelines:\n", ValueError, "holds no pipeline"),
        ("type: int", "type: number", ValueError, "parameters.rounds: unknown type 'number'"),
        ("source: raw,", "source: rew,", KeyError, "did you mean 'raw'"),
        ("source: rounds", "source: turns", KeyError, "steps.Join: parameters.ROUNDS: the pipeline has no parameter"),
        ("input:from", "input:form", KeyError, "steps.Join: arguments: input:form is not in the step's inputs"),
        ("script_name: join.py\n      source_directory: ..\n      p", "p", ValueError, "needs script_name"),
        ("type: ModuleStep", "type: HyperDriveStep", NotYetError, "steps.Count: HyperDriveStep is not there yet"),
        ("type: ModuleStep", "type: MagicStep", ValueError, "steps.Count: unknown type 'MagicStep'"),
        ("destination: again", "destination: raw", ValueError, "steps.Again.outputs.made: 'raw' is a source already"),
        ("dataset_name: tables", "sql_query: select", NotYetError, "data_references.tables: data of a database"),
        ("dataset_name: tables", "dataset_name: table", KeyError, "no dataset 'table'"),
        ("steps:", "steps: [", UsageError, "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    place: Folder, old: str, new: str, kind: type[Exception], said: str
) -> None:
    assert old in PIPELINE
    with pytest.raises(kind) as caught:
        filled(place, PIPELINE.replace(old, new, 1))
    error = caught.value
    assert said in f"{getattr(error, 'message', '')} {getattr(error, 'hint', '')}"


def test_a_runconfig_with_a_conda_file(place: Folder, tmp_path: Path) -> None:
    place.write(
        {
            "pipes/fit.runconfig": "environment: {python: {condaDependenciesFile: env.yml}}",
            "pipes/env.yml": "dependencies: [python=3.11]",
        }
    )
    text = "pipeline: {steps: {A: {type: PythonScriptStep, script_name: join.py, source_directory: .., runconfig: R}}}"
    (step,) = filled(place, text.replace("R}", "fit.runconfig}")).project().steps.values()
    assert step.spec.environment == "fit"
