"""The software of steps as it is looked at: what was asked for, what a mark says, and what it goes by."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlmake.environments.base import Facts, Ran, Resolved, Tools
from mlmake.home import Home
from mlmake.model.project import Environment
from mlmake.model.step import StepSpec
from mlmake.state import marks
from mlmake.state.database import connect
from mlmake.state.digests import Digests
from mlmake.state.hashing import hash_file
from mlmake.state.ingredients import Found, Ingredients
from mlmake.state.marks import Mark
from mlmake.state.softwares import Softwares, Told
from projects import Folder
from wheels import wheel

VALUE = Resolved("cpython 3.11.7", (("tiny", "1.0"),)).value


@pytest.fixture
def connection(project: Folder) -> Iterator[sqlite3.Connection]:
    connection = connect(Home(str(project.root)), create=True)
    yield connection
    connection.close()


@pytest.fixture
def ingredients(project: Folder, connection: sqlite3.Connection) -> Ingredients:
    return Ingredients(str(project.root), Digests(connection))


def python(**keys: object) -> Environment:
    return Environment(name="ml", **{"python": "3.11", **keys})  # type: ignore[arg-type]


# What it is made from.


def names(found: Found) -> list[str]:
    return sorted(found.contents)


def test_packages_of_an_index_are_no_files(ingredients: Ingredients) -> None:
    found = ingredients.of(python(packages=("numpy==2.0", "own @ git+https://host/own")))
    assert found.contents == {}
    assert found.missing == []


def test_lists_are_followed(project: Folder, ingredients: Ingredients) -> None:
    project.write(
        {
            "req/all.txt": "-r base.txt\n-c ../limits.txt\n./pkgs/tiny.whl\n",
            "req/base.txt": "-r all.txt\nnumpy\n",
            "limits.txt": "numpy<3\n",
            "pkgs/tiny.whl": wheel("tiny", "1.0"),
        }
    )
    found = ingredients.of(python(requirements="./req/all.txt"))
    assert names(found) == [
        "package pkgs/tiny.whl",
        "requirements limits.txt",
        "requirements req/all.txt",
        "requirements req/base.txt",
    ]
    assert found.sources.keys() == {
        str(project.root / name) for name in ("pkgs/tiny.whl", "limits.txt", "req/all.txt", "req/base.txt")
    }


def test_an_edit_is_seen_by_content(project: Folder, ingredients: Ingredients) -> None:
    project.write({"r.txt": "-r one.txt\n", "one.txt": "", "two.txt": ""})
    assert names(ingredients.of(python(requirements="r.txt"))) == ["requirements one.txt", "requirements r.txt"]
    project.write({"r.txt": "-r two.txt\n"})
    assert names(ingredients.of(python(requirements="r.txt"))) == ["requirements r.txt", "requirements two.txt"]


def test_what_is_missing_is_told_and_watched(project: Folder, ingredients: Ingredients) -> None:
    found = ingredients.of(python(requirements="r.txt", packages=("./later.whl",)))
    assert [str(each) for each in found.missing] == ["requirements r.txt is missing"]
    assert found.files == [str(project.root / "r.txt"), str(project.root / "later.whl")]


def test_a_folder_counts_by_its_code(project: Folder, ingredients: Ingredients) -> None:
    code = {"libs/own/own/__init__.py": "", "libs/own/pyproject.toml": "[project]\n", "libs/own/README.md": "x"}
    made = {"libs/own/build/lib/own/__init__.py": "", "libs/own/own.egg-info/x.py": ""}
    project.write({**code, **made})
    assert names(ingredients.of(python(packages=("./libs/own[extra]",)))) == [
        "package libs/own/own/__init__.py",
        "package libs/own/pyproject.toml",
    ]
    assert names(ingredients.of(python(packages=("-e libs/own",)))) == ["package libs/own/pyproject.toml"]


def test_a_list_with_a_password_is_no_text_to_keep(project: Folder, ingredients: Ingredients) -> None:
    project.write({"r.txt": "--index-url https://me:sesame@host/\n-r plain.txt\n", "plain.txt": "numpy\n"})
    found = ingredients.of(python(requirements="r.txt"))
    assert found.sources.keys() == {str(project.root / "r.txt"), str(project.root / "plain.txt")}
    assert found.shown.keys() == {str(project.root / "plain.txt")}


def test_a_conda_file_is_followed_too(project: Folder, ingredients: Ingredients) -> None:
    text = "dependencies:\n  - python=3.12\n  - conda-forge::numpy\n  - pip:\n      - -r req.txt\n"
    project.write({"environment.yml": text, "req.txt": "tiny\n"})
    found = ingredients.of(Environment(name="c", conda="environment.yml"))
    assert names(found) == ["conda environment.yml", "requirements req.txt"]


# Marks, of an environment that only looks like one.


class Fake:
    """A folder that answers as an environment would."""

    def __init__(self, project: Folder, connection: sqlite3.Connection) -> None:
        project.steps(
            '[environments.ml]\npython = "3.11"\n[one]\ncommand = "true"\nenvironment = "ml"\n[two]\ncommand = "true"\n'
        )
        self.project = project.load()
        self.digests = Digests(connection)
        self.softwares = Softwares(self.project, self.digests)
        self.folder = Path(next(iter(self.softwares.folders())))

    def answer(self, interpreter: str = "cpython 3.11.7", **packages: str) -> None:
        """Let its interpreter say this, whatever it is asked."""
        site = self.folder / "lib" / "python3.11" / "site-packages"
        for name, version in packages.items():
            (site / f"{name}-{version}.dist-info").mkdir(parents=True, exist_ok=True)
        program = self.folder / "bin" / "python"
        program.parent.mkdir(exist_ok=True)
        said = json.dumps({"interpreter": interpreter, "packages": packages})
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)

    def mark(self) -> None:
        software = self.softwares.of(self.spec("one"), "local")
        recipe = software.recipe  # type: ignore[attr-defined]
        marks.write(str(self.folder), Mark.taken(recipe, str(self.folder), _TOOLS, _run, _digest_of))

    def spec(self, name: str) -> StepSpec:
        return self.project.steps[f"p.{name}"].spec

    def facts(self) -> Facts:
        self.softwares.look_again()
        return self.softwares.of(self.spec("one"), "local").facts


@pytest.fixture
def fake(project: Folder, connection: sqlite3.Connection) -> Fake:
    return Fake(project, connection)


def test_what_is_not_built_is_not_known(fake: Fake) -> None:
    facts = fake.facts()
    assert facts.values == {"python": "3.11"}
    assert facts.unknown == ("environment ml",)
    assert facts.files == (marks.path_of(str(fake.folder)),), "once it is there, all is looked at again"


def test_what_has_no_mark_is_not_believed(fake: Fake) -> None:
    fake.answer(tiny="1.0")
    assert fake.facts().unknown == ("environment ml",)


def test_a_mark_says_what_is_in_it(fake: Fake) -> None:
    fake.answer(tiny="1.0")
    fake.mark()
    facts = fake.facts()
    assert facts.values == {"python": "3.11", "environment ml": VALUE}
    assert facts.unknown == ()
    assert list(facts.texts.values()) == ["cpython 3.11.7\ntiny 1.0\n"]
    site = fake.folder / "lib" / "python3.11" / "site-packages"
    assert facts.listings == {str(site): ["tiny-1.0.dist-info"]}
    assert {*facts.files} == {marks.path_of(str(fake.folder)), str(fake.folder / "bin" / "python")}


def test_it_is_not_asked_again_while_nothing_changes(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.answer(tiny="1.0")
    fake.mark()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was asked"))
    assert fake.facts() == fake.facts()
    (fake.folder / "lib" / "python3.11" / "site-packages" / "__pycache__").mkdir()
    assert fake.facts().unknown == (), "bytecode is written by every run"


def test_another_name_among_its_packages_makes_us_ask_again(fake: Fake) -> None:
    fake.answer(tiny="1.0")
    fake.mark()
    fake.facts()
    fake.answer(tiny="1.1")
    facts = fake.facts()
    assert facts.values["environment ml"] == Resolved("cpython 3.11.7", (("tiny", "1.1"),)).value
    mark = marks.read(str(fake.folder))
    assert mark
    assert mark.resolved.packages == (("tiny", "1.1"),), "so that nobody has to ask the next time"


def test_another_interpreter_makes_us_ask_again(fake: Fake) -> None:
    fake.answer(tiny="1.0")
    fake.mark()
    fake.answer("cpython 3.11.8", tiny="1.0")
    assert fake.facts().values["environment ml"] == Resolved("cpython 3.11.8", (("tiny", "1.0"),)).value


def test_one_that_cannot_be_asked_is_not_there(fake: Fake) -> None:
    fake.answer(tiny="1.0")
    fake.mark()
    (fake.folder / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    assert fake.facts().unknown == ("environment ml",)
    assert fake.facts().unknown == ("environment ml",)


def test_removal_takes_the_mark_first(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.answer(tiny="1.0")
    fake.mark()

    def dies(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", dies)
    with pytest.raises(KeyboardInterrupt):
        marks.remove(str(fake.folder))
    assert fake.facts().unknown == ("environment ml",)


def test_other_steps_have_the_system(fake: Fake) -> None:
    software = fake.softwares.of(fake.spec("two"), "local")
    assert software.python == sys.executable
    assert list(software.facts.values) == ["environment system"]


# On hosts.


def far(fake: Fake, target: str = "box") -> Facts:
    """What is known of the environment on a host that pipelines.toml does not name."""
    return fake.softwares.of(fake.spec("one"), target).facts


def told(*versions: str) -> Told:
    return Told("/far/e", Resolved("cpython 3.11.7", tuple(("tiny", version) for version in versions)))


def test_a_host_s_environment_is_as_the_host_told(fake: Fake) -> None:
    software = fake.softwares.of(fake.spec("one"), "local")
    key = software.recipe.key  # type: ignore[attr-defined]
    home = fake.softwares._home
    os.makedirs(os.path.dirname(home.target("box")))
    Path(home.target("box")).write_text("cpython 3.11.2")
    assert far(fake).unknown == ("environment ml",)
    assert home.target("box", key) in far(fake).files, "once it is told, all is looked at again"
    fake.softwares.note_environment("box", key, told("1.0"))
    assert far(fake).values["environment ml"] == VALUE
    assert fake.softwares.of(fake.spec("one"), "box").python == "/far/e/bin/python"
    assert far(fake, "local").unknown == ("environment ml",), "here it is not built"
    Path(home.target("box", key)).write_text("{ half")
    fake.softwares.look_again()
    assert far(fake).unknown == ("environment ml",)


def test_a_host_that_the_file_has_no_more_is_still_known(fake: Fake) -> None:
    home = fake.softwares._home
    assert fake.softwares.of(fake.spec("two"), "box").facts == fake.softwares.of(fake.spec("two"), "local").facts
    os.makedirs(os.path.dirname(home.target("box")))
    Path(home.target("box")).write_text("cpython 3.8.1")
    assert fake.softwares.of(fake.spec("two"), "box").facts.values == {"environment system": "cpython 3.8.1"}


_TOOLS = Tools(own=sys.executable)


def _run(argv: object) -> Ran:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # type: ignore[call-overload]
    return Ran(done.returncode, done.stdout)


def _digest_of(path: str) -> str:
    return hash_file(path)[0] if os.path.exists(path) else ""
