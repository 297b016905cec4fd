"""How environments are made: pure recipes, told from what pipelines.toml says and from what a host has."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlmake.environments import probe
from mlmake.environments.base import Recipe, Resolved, Tools
from mlmake.environments.conda import Conda
from mlmake.environments.requirements import named_by, named_in
from mlmake.environments.venv import Venv
from mlmake.errors import SoftwareError
from mlmake.model.project import Environment
from mlmake.registry import ENVIRONMENTS

UV = Tools(own="/usr/bin/python3", python="/opt/python3.11", pythons=("3.11.7",), uv="/bin/uv")
PIP = Tools(own="/usr/bin/python3", python="/opt/python3.11", pythons=("3.11.7",))
NONE = Tools(own="/usr/bin/python3", pythons=("3.12.1", "3.10.2"))


def venv(**keys: object) -> Venv:
    contents = keys.pop("contents", {})
    return Venv.of(Environment(name="ml", **{"python": "3.11", **keys}), contents)  # type: ignore[arg-type]


# A virtual environment.


def test_uv_makes_it_where_that_is_present() -> None:
    recipe = venv(packages=("numpy==2.0", "-e libs/own"), requirements="req.txt")
    assert recipe.commands("/e", UV) == (
        ("/bin/uv", "venv", "--python", "/opt/python3.11", "/e"),
        ("/bin/uv", "pip", "install", "--python", "/e/bin/python", "numpy==2.0", "-e", "libs/own", "-r", "req.txt"),
    )


def test_else_venv_and_pip_make_it() -> None:
    assert venv(packages=("numpy",)).commands("/e", PIP) == (
        ("/opt/python3.11", "-m", "venv", "/e"),
        ("/e/bin/python", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "numpy"),
    )


def test_without_packages_nothing_is_installed() -> None:
    assert venv().commands("/e", PIP) == (("/opt/python3.11", "-m", "venv", "/e"),)


def test_uv_may_find_a_python_that_we_do_not() -> None:
    tools = Tools(own="python3", uv="/bin/uv")
    assert venv(python="3.9").commands("/e", tools) == (("/bin/uv", "venv", "--python", "3.9", "/e"),)


@pytest.mark.parametrize("host", ["this machine", "gpubox"])
def test_a_python_that_is_not_there_is_an_error_that_names_those_that_are(host: str) -> None:
    with pytest.raises(SoftwareError) as caught:
        venv(python="3.9").commands("/e", replace(NONE, host=host))
    assert caught.value.message == f"no Python 3.9 on {host}; found 3.12.1, 3.10.2"
    assert "uv" in caught.value.hint


@pytest.mark.parametrize("version", ["3.7", "3.6.15", "2"])
def test_an_old_python_is_refused(version: str) -> None:
    with pytest.raises(SoftwareError, match="too old"):
        venv(python=version).commands("/e", UV)


def test_variables_are_those_of_an_activated_one() -> None:
    inherited = {"PATH": "/usr/bin", "PYTHONHOME": "/x"}
    told = venv().variables("/e", inherited)
    assert told["PATH"] == "/e/bin:/usr/bin"
    assert told["VIRTUAL_ENV"] == "/e"
    assert told["PYTHONHOME"] is None


# What decides it.


def test_the_key_is_that_of_all_that_decides() -> None:
    base = venv(packages=("numpy",), contents={"requirements r.txt": "1"})
    others = [
        venv(python="3.12", packages=("numpy",), contents={"requirements r.txt": "1"}),
        venv(packages=("numpy==2",), contents={"requirements r.txt": "1"}),
        venv(packages=("numpy",), contents={"requirements r.txt": "2"}),
        venv(packages=("numpy",), contents={"requirements s.txt": "1"}),
        venv(packages=("numpy",)),
    ]
    assert len({each.key for each in (base, *others)}) == 6
    assert base.key == venv(packages=("numpy",), contents={"requirements r.txt": "1"}).key
    assert len(base.key) == 20, "the first line of a script has room for 127 characters"


def test_names_and_variables_do_not_enter() -> None:
    one = Environment(name="a", python="3.11", variables=("X",), secrets=("Y",))
    other = Environment(name="b", python="3.11")
    assert Venv.of(one, {}) == Venv.of(other, {})


def test_every_base_of_the_table_is_a_recipe() -> None:
    environment = Environment(name="e", python="3.11", conda="environment.yml")
    for base in ENVIRONMENTS.table:
        recipe: Recipe = ENVIRONMENTS.load(base).of(environment, {"conda environment.yml": "1"})
        assert recipe.base == base
        assert recipe.python("/e") == "/e/bin/python"
        assert recipe.key
        hash(recipe.traces)


# conda. No conda was ever run with these: they follow its documentation.


def conda(file: str = "environment.yml") -> Conda:
    return Conda.of(Environment(name="c", conda=file), {f"conda {file}": "1"})


def test_micromamba_takes_a_file_of_any_kind() -> None:
    yes = ("env", "CONDA_ALWAYS_YES=true", "MAMBA_ALWAYS_YES=true")
    tools = Tools(own="python3", conda="/bin/micromamba")
    expected = (*yes, "/bin/micromamba", "create", "--prefix", "/e", "--file", "environment.yml")
    assert conda().commands("/e", tools) == (expected,)


@pytest.mark.parametrize("program", ["conda", "mamba"])
@pytest.mark.parametrize(
    ("file", "words"), [("environment.yml", ("env", "create")), ("linux-64.txt", ("create",))], ids=str
)
def test_conda_knows_two_kinds_of_files(program: str, file: str, words: tuple[str, ...]) -> None:
    (command,) = conda(file).commands("/e", Tools(own="python3", conda=f"/opt/{program}"))
    assert command[3:] == (f"/opt/{program}", *words, "--prefix", "/e", "--file", file)


def test_no_conda_is_an_error() -> None:
    with pytest.raises(SoftwareError, match="no micromamba, mamba or conda"):
        conda().commands("/e", UV)


def test_variables_of_a_conda_environment() -> None:
    told = conda().variables("/e", {"PATH": "/usr/bin"})
    assert told["PATH"] == "/e/bin:/usr/bin"
    assert told["CONDA_PREFIX"] == "/e"
    assert told["VIRTUAL_ENV"] is None


def test_a_conda_environment_is_asked_by_another_python() -> None:
    """It may have none."""
    assert conda().probe("/e", UV)[0] == UV.own
    assert venv().probe("/e", UV)[0] == "/e/bin/python"


def test_conda_packages_are_read_from_their_folder(tmp_path: Path) -> None:
    metas = [("python", "3.12.1"), ("r-base", "4.4.0"), ("numpy", "2.0.0")]
    (tmp_path / "conda-meta").mkdir()
    for name, version in metas:
        text = json.dumps({"name": name, "version": version})
        (tmp_path / "conda-meta" / f"{name}-{version}-0.json").write_text(text)
    (tmp_path / "conda-meta" / "history").write_text("")
    site = tmp_path / "lib" / "python3.12" / "site-packages" / "own-1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    said = subprocess.check_output(probe.resolved(sys.executable, str(tmp_path)), text=True)
    packages = (("numpy", "2.0.0"), ("own", "1.0"), ("r-base", "4.4.0"))
    assert Resolved.read(said) == Resolved("cpython 3.12.1", packages)


# What was installed.


def test_packages_are_told_by_canonical_names_and_commits(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    for folder, name, more in (
        ("Scikit_Learn-1.4.dist-info", "Scikit_Learn", ""),
        ("own-1.0.dist-info", "own", json.dumps({"url": "u", "vcs_info": {"commit_id": "0123456789abcdef"}})),
        ("pip-23.0.dist-info", "pip", ""),
        ("broken-1.0.dist-info", "", ""),
    ):
        (site / folder).mkdir(parents=True)
        version = folder.split("-")[1].removesuffix(".dist")
        if name:
            (site / folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if more:
            (site / folder / "direct_url.json").write_text(more)
    said = subprocess.check_output(probe.resolved(sys.executable, str(tmp_path)), text=True)
    assert Resolved.read(said).packages == (("own", "1.0 0123456789ab"), ("scikit-learn", "1.4"))


def test_the_fact_is_short_whatever_the_number() -> None:
    few = Resolved("cpython 3.11.7", (("a", "1"),))
    many = Resolved("cpython 3.11.7", tuple((f"package-{n}", "1.0") for n in range(300)))
    assert few.value.startswith("cpython 3.11.7, 1 package ")
    assert many.value.startswith("cpython 3.11.7, 300 packages ")
    assert len(many.value) < 70
    assert many.text.splitlines()[:2] == ["cpython 3.11.7", "package-0 1.0"]


def test_another_interpreter_or_version_is_another_fact() -> None:
    texts = {
        Resolved(interpreter, packages).value
        for interpreter in ("cpython 3.11.7", "cpython 3.11.8")
        for packages in ((("a", "1"),), (("a", "2"),), (("b", "1"),))
    }
    assert len(texts) == 6


@pytest.mark.parametrize("said", ["", "Traceback", "{}", "[]", '{"interpreter": "x", "packages": 3}'])
def test_what_is_no_list_of_packages_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="no list of packages"):
        Resolved.read(said)


def test_words_before_the_list_do_no_harm() -> None:
    said = 'warning: x\n{"interpreter": "cpython 3.11.7", "packages": {"b": "2", "a": "1"}}\n'
    assert Resolved.read(said) == Resolved("cpython 3.11.7", (("a", "1"), ("b", "2")))


# What a host has.


def asked(version: str, **env: str) -> Tools:
    argv = probe.look_for(sys.executable, version)
    said = subprocess.check_output(argv, text=True, env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere", **env})
    return probe.tools_of(Tools(own=sys.executable), said)


def test_the_running_python_is_found_if_it_fits() -> None:
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert asked(wanted, PATH="/nowhere").python
    assert asked("3.99", PATH="/nowhere").python == ""
    assert asked("3.99", PATH="/nowhere").pythons


def test_a_program_on_the_path_is_asked_for_its_version(tmp_path: Path) -> None:
    """What is called python3.99 need not be one, as a shim that stands for none."""
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert asked("3.99", PATH=f"{tmp_path}:/bin").python == ""
    shim.write_text("#!/bin/sh\necho /real/python\necho 3.99.2\n")
    assert asked("3.99", PATH=f"{tmp_path}:/bin").python == "/real/python"
    assert asked("3.99.1", PATH=f"{tmp_path}:/bin").python == ""


def test_pyenv_s_folder_is_looked_into(tmp_path: Path) -> None:
    program = tmp_path / "versions" / "3.99.4" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho /pyenv/python\necho 3.99.4\n")
    program.chmod(0o755)
    assert asked("3.99", PYENV_ROOT=str(tmp_path)).python == "/pyenv/python"
    assert "3.99.4" in asked("3.98", PYENV_ROOT=str(tmp_path)).pythons


def test_installers_are_found(tmp_path: Path) -> None:
    for name in ("uv", "mamba", "conda"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    tools = asked("", PATH=f"{tmp_path}:/bin")
    assert tools.uv == str(tmp_path / "uv")
    assert tools.conda == str(tmp_path / "mamba"), "micromamba, mamba, conda: in this order"
    assert tools.python == "", "none is looked for unless one is named"


# What requirements name.


@pytest.mark.parametrize(
    ("line", "lists", "packages", "editable"),
    [
        ("numpy>=2.0; python_version > '3'", (), (), ()),
        ("numpy @ https://host/numpy-2.0-py3-none-any.whl", (), (), ()),
        ("own @ git+https://host/own@main", (), (), ()),
        ("git+ssh://git@host/own.git", (), (), ()),
        ("-r more/base.txt", ("more/base.txt",), (), ()),
        ("-rbase.txt  # the base", ("base.txt",), (), ()),
        ("--requirement=base.txt", ("base.txt",), (), ()),
        ("-c limits.txt", ("limits.txt",), (), ()),
        ("--find-links pkgs", (), (), ()),
        ("--index-url https://host/simple", (), (), ()),
        ("./pkgs/tiny-1.0-py3-none-any.whl --hash=sha256:abc", (), ("./pkgs/tiny-1.0-py3-none-any.whl",), ()),
        ("libs/own[extra]", (), ("libs/own",), ()),
        (".", (), (".",), ()),
        (".[extra]", (), (".",), ()),
        ("tiny-1.0.tar.gz", (), ("tiny-1.0.tar.gz",), ()),
        ("tiny @ file:///abs/a%20b.whl", (), ("/abs/a b.whl",), ()),
        ("-e .", (), (), (".",)),
        ("-e ./libs/own[extra]", (), (), ("./libs/own",)),
        ("--editable=libs/own", (), (), ("libs/own",)),
        ("      - -r req.txt", ("req.txt",), (), ()),
        ("# -r base.txt", (), (), ()),
        ("", (), (), ()),
    ],
)
def test_lines(line: str, lists: tuple[str, ...], packages: tuple[str, ...], editable: tuple[str, ...]) -> None:
    found = named_in(f"{line}\n")
    assert (found.lists, found.packages, found.editable) == (lists, packages, editable)


def test_a_line_may_go_on() -> None:
    assert named_in("-r \\\n base.txt\n").lists == ("base.txt",)


def test_packages_of_the_table_are_read_alike() -> None:
    assert named_by(["numpy", "-e libs/own", "./x.whl"])[:3] == ((), ("./x.whl",), ("libs/own",))


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        ("--index-url https://me:sesame@host/simple", True),
        ("--index-url https://:sesame@host/simple", True),
        ("--index-url https://me:${TOKEN}@host/simple", False),
        ("--index-url https://host/simple", False),
        ("own @ git+ssh://git@host/own", False),
    ],
)
def test_a_password_is_noticed(text: str, is_secret: bool) -> None:
    assert named_in(text).is_secret is is_secret
