"""Steps of kind `pick`: keys out of a file of parameters."""

from __future__ import annotations

import json

import pytest

from mlmake.errors import ConfigError, UsageError
from mlmake.services.importing.reading import read
from mlmake.services.pick import pick
from projects import Folder

FILES = {
    "p.yaml": "model: {rate: 1e-3, sizes: [3, 4]}\non: true\n",
    "p.json": '{"model": {"rate": 0.001, "sizes": [3, 4]}, "on": true}',
    "p.toml": "on = true\n[model]\nrate = 0.001\nsizes = [3, 4]\n",
    "p.py": "on: bool = True\nimport os\nelse_ = os.name\nclass model:\n    rate = 0.001\n    sizes = [3, 4]\n",
}


@pytest.mark.parametrize("name", FILES)
def test_keys_of_every_format(project: Folder, name: str) -> None:
    project.write(FILES)
    keys = ("model.rate", "model.sizes.1", "on")
    assert pick(str(project.root / name), keys) == {"model.rate": 0.001, "model.sizes.1": 4, "on": True}
    for missing in ("none", "model.none", "model.sizes.7", "on.deeper"):
        with pytest.raises(UsageError, match=f"has no '{missing}'"):
            pick(str(project.root / name), [missing])


def test_a_step_runs_again_only_for_the_keys_it_names(project: Folder) -> None:
    project.write({"p.yaml": "a: 1\nb: 2\n"})
    project.steps("""
        [picked]
        kind = "pick"
        keys = ["a"]
        inputs = { file = "p.yaml" }
        metrics = { params = "build/a.json" }

        [use]
        command = "cat p.yaml"
        code = "!p.yaml"
        inputs = { params = "@picked" }
    """)
    assert project.build().done == ["picked", "use"]
    assert json.loads(project.read("build/a.json")) == {"a": 1}
    project.write({"p.yaml": "a: 1\nb: 3\n"})
    built = project.build()
    assert (built.done, built.spared) == (["picked"], ["use"])
    project.write({"p.yaml": "b: 3\n"})
    assert project.build().failed == ["picked"]
    assert "has no 'a'" in project.cli("logs", "picked").stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('inputs = { x = "p.yaml", y = "q.yaml" }', "inputs: a pick has exactly one input, a file"),
        ('inputs = { x = "folder/" }', "inputs: a pick has exactly one input, a file"),
        ('outputs = { x = "a", y = "b" }', "outputs: a pick has exactly one output"),
        ("keys = []", "keys: name one or more keys"),
        ('compute = "far"', "compute: a pick runs on this machine"),
    ],
)
def test_what_is_no_pick(project: Folder, change: str, message: str) -> None:
    table = {
        "kind": 'kind = "pick"',
        "keys": 'keys = ["a"]',
        "inputs": 'inputs = { file = "p.yaml" }',
        "outputs": 'outputs = { x = "a.json" }',
    }
    table[change.partition(" ")[0]] = change
    lines = "\n".join(table.values())
    project.toml(f'[compute.far]\nkind = "ssh"\nhost = "far"\n[pipelines.p.steps.a]\n{lines}\n')
    with pytest.raises(ConfigError) as raised:
        project.load()
    assert message in str(raised.value)


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.toml", "a = "), ("a.py", "a ="), ("a.yaml", "a: [")])
def test_a_file_that_cannot_be_read(project: Folder, name: str, text: str) -> None:
    project.write({name: text})
    with pytest.raises(UsageError, match=f"{name} cannot be read: "):
        read(str(project.root / name))
