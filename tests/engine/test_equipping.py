"""Environments are built when a step needs them, once and whole; what was installed decides what is stale.

All of them are real; the packages are made by the tests, so that nothing is fetched. Where uv is absent they take
longer.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlmake.engine import installing
from mlmake.engine.installing import Made, Order, make
from mlmake.environments.base import Recipe, Run, Tools
from mlmake.environments.venv import Venv
from mlmake.executors.process import ProcessExecutor
from mlmake.home import Home
from mlmake.model.events import EnvironmentBuilding, EnvironmentBuilt
from mlmake.state import marks
from projects import Built, Folder, kill, until
from wheels import PYTHON, uv, wheel, wheel_name

TOKEN = "open-sesame-41"


def tiny(project: Folder, *versions: str) -> None:
    """Wheels of the package `tiny`."""
    project.write({f"pkgs/{wheel_name('tiny', version)}": wheel("tiny", version) for version in versions})


def environment(*lines: str) -> str:
    return "\n".join(["[environments.ml]", f'python = "{PYTHON}"', *lines, ""])


def pinned(version: str) -> str:
    return environment(f'packages = ["./pkgs/{wheel_name("tiny", version)}"]')


UNPINNED = environment('packages = ["--no-index", "--find-links pkgs", "tiny"]')
ONE = """
[one]
command = "python -c 'import tiny; print(tiny.VERSION)' > {outputs.o}"
outputs = { o = "build/one.txt" }
environment = "ml"
"""
TWO = """
[two]
script = "two.py"
outputs = { o = "build/two.txt" }
environment = "ml"
"""
SCRIPT = """
import os, sys, tiny
with open(os.environ["MLMAKE_OUTPUT_O"], "w") as file:
    print(tiny.VERSION, sys.prefix, os.environ["VIRTUAL_ENV"], os.environ["PATH"].split(":")[0], file=file)
    print("PYTHONHOME" in os.environ, file=file)
"""


@pytest.fixture
def ready(project: Folder) -> Folder:
    """Two steps in one environment, with `tiny` 1.0 in it."""
    tiny(project, "1.0", "1.1")
    project.write({"two.py": SCRIPT})
    project.steps(pinned("1.0") + ONE + TWO)
    return project


def environments(project: Folder) -> list[str]:
    """The folders of what was built, or begun."""
    folder = Home(str(project.root)).environments
    return sorted(each.path for each in os.scandir(folder) if each.is_dir()) if os.path.isdir(folder) else []


def built(told: Built) -> list[str]:
    """The environments whose building began."""
    return [event.name for event in told.of(EnvironmentBuilding)]


def upgrade(project: Folder, version: str) -> None:
    """Put another version into the one environment by hand, as an installer would."""
    (folder,) = environments(project)
    site = next(Path(folder, "lib").glob("py*/site-packages"))
    for old in site.glob("tiny*"):
        shutil.rmtree(old)
    shutil.unpack_archive(project.root / "pkgs" / wheel_name("tiny", version), site, "zip")


# Building.


def test_it_is_built_once_for_all_steps(ready: Folder) -> None:
    told = ready.build()
    assert sorted(told.done) == ["one", "two"]
    assert built(told) == ["ml"]
    (ended,) = told.of(EnvironmentBuilt)
    assert not ended.problem
    assert told.events.index(ended) < min(map(told.events.index, told.events[-4:]))
    (folder,) = environments(ready)
    assert ready.read("build/one.txt") == "1.0\n"
    assert ready.read("build/two.txt").split("\n")[:2] == [f"1.0 {folder} {folder} {folder}/bin", "False"]


def test_with_nothing_to_do_nothing_is_built(ready: Folder) -> None:
    ready.build()
    (folder,) = environments(ready)
    before = os.stat(marks.path_of(folder))
    told = ready.build()
    assert told.done == []
    assert built(told) == []
    assert ready.states() == {"one": "fresh", "two": "fresh"}
    assert os.stat(marks.path_of(folder)).st_mtime_ns == before.st_mtime_ns


def test_with_nothing_to_do_nothing_more_is_imported(ready: Folder) -> None:
    ready.build()
    ready.build()  # no file is young any more
    command = [sys.executable, "-X", "importtime", "-c", "from mlmake.cli.entry import main; main()", "status"]
    done = subprocess.run(command, cwd=ready.root, capture_output=True, text=True, check=True)
    assert "2 fresh" in done.stdout
    for module in ("environments", "engine", "registry", "model", "subprocess"):
        assert module not in done.stderr


def test_judging_builds_nothing(ready: Folder) -> None:
    assert ready.reasons("one") == ["never ran"]
    assert ready.cli("status").returncode == 0
    assert ready.cli("why", "one").returncode == 0
    assert built(ready.build(dry_run=True)) == []
    assert environments(ready) == []


def test_a_step_of_the_system_needs_none(ready: Folder) -> None:
    ready.steps(pinned("1.0") + ONE + '[plain]\ncommand = "echo 1 > {outputs.o}"\noutputs = { o = "o" }\n')
    assert built(ready.build("plain")) == []
    assert environments(ready) == []


def test_a_transfer_needs_none(ready: Folder) -> None:
    ready.write({"in.txt": "x"})
    ready.steps(
        pinned("1.0")
        + '[move]\nkind = "transfer"\ninputs = { a = "in.txt" }\noutputs = { b = "out.txt" }\nenvironment = "ml"\n'
    )
    told = ready.build()
    assert told.done == ["move"]
    assert built(told) == []


def test_uv_builds_it(ready: Folder) -> None:
    uv()
    ready.build()
    (folder,) = environments(ready)
    assert "uv pip install" in Path(f"{folder}.log").read_text()


def test_without_uv_venv_and_pip_build_it(ready: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    found = installing._tools

    def without(recipe: Recipe, own: Tools, run: Run) -> Tools:
        return replace(found(recipe, own, run), uv="")

    monkeypatch.setattr(installing, "_tools", without)
    assert sorted(ready.build().done) == ["one", "two"]
    (folder,) = environments(ready)
    assert "-m pip install" in Path(f"{folder}.log").read_text()
    assert ready.build().done == []


def test_two_makers_at_once_make_it_once(tmp_path: Path) -> None:
    """Two projects may have their environments in one place, so the project's lock is not enough."""
    order = Order(name="ml", recipe=Venv(version=PYTHON), folder=str(tmp_path / "e"), sources={})
    ends: list[Made] = []

    def work() -> None:
        ends.append(make(order, str(tmp_path), lambda: ProcessExecutor(f"{tmp_path}:x"), lambda: None))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [Made(), Made(), Made()]
    assert marks.read(order.folder)
    assert Path(order.log).read_text().count("\n$ ") == 1


def test_two_builds_at_once_build_it_once(ready: Folder) -> None:
    first, second = ready.start("one"), ready.start("two")
    said = [process.communicate()[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert sum(words.count("environment ml: building") for words in said) == 1


def test_an_installed_package_is_that_of_the_environment(ready: Folder) -> None:
    """Nothing of mlmake's own interpreter is seen."""
    ready.steps(pinned("1.0") + '[one]\ncommand = "python -c \'import xxhash\'"\nenvironment = "ml"\n')
    assert ready.build().failed == ["one"]


# Failures.


def test_a_failed_installation_shows_its_words_and_leaves_nothing(ready: Folder) -> None:
    ready.steps(
        environment('packages = ["--no-index", "nosuch==1.0"]')
        + ONE
        + TWO
        + '[plain]\ncommand = "echo 1 > {outputs.o}"\noutputs = { o = "o" }\n'
    )
    told = ready.build(keep_going=True)
    assert told.done == ["plain"]
    assert sorted(told.failed) == ["one", "two"]
    assert built(told) == ["ml"], "what failed once is not tried for each step"
    for step in ("one", "two"):
        assert told.message(step).startswith("environment ml cannot be built: its installer ended with exit code 1: ")
        assert "\n" not in told.message(step)
        log = ready.cli("logs", step).stdout
        assert "nosuch" in log
    assert environments(ready) == []
    assert told.of(EnvironmentBuilt)[0].problem == told.message("one")

    ready.steps(pinned("1.0") + ONE + TWO)
    assert sorted(ready.build().done) == ["one", "two"]


def test_the_console_shows_the_installer_s_words(ready: Folder) -> None:
    ready.steps(environment('packages = ["--no-index", "nosuch==1.0"]') + ONE)
    done = ready.cli()
    assert done.returncode == 1
    assert "environment ml: building" in done.stdout
    assert "one failed: environment ml cannot be built" in done.stdout
    assert "nosuch" in done.stdout
    assert "log: .mlmake/logs/1/p.one.log" in done.stdout


def test_a_missing_interpreter_names_those_that_are_there(ready: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    found = installing._tools
    monkeypatch.setattr(installing, "_tools", lambda *each: replace(found(*each), uv=""))
    ready.steps(f'[environments.ml]\npython = "3.99"\n{ONE}')
    message = ready.build().message("one")
    version = ".".join(map(str, sys.version_info[:3]))
    assert message.startswith("environment ml cannot be built: no Python 3.99 on this machine; found ")
    assert version in message
    assert message.endswith("install it, or uv, which fetches it, or name another version in 'python'")


def test_a_missing_requirements_file_blocks(ready: Folder) -> None:
    ready.steps(environment('requirements = "req.txt"') + ONE)
    done = ready.cli()
    assert done.returncode == 2
    assert "step one: requirements req.txt is missing" in done.stderr
    assert ready.states() == {"one": "blocked"}
    assert built(ready.build(keep_going=True)) == []


def slow_package(project: Folder) -> None:
    """A package whose installation begins, says so in a file, and waits for another file."""
    backend = f"""
import os, shutil, time
def build_wheel(folder, config_settings=None, metadata_directory=None):
    open({str(project.root / "begun")!r}, "w").close()
    while not os.path.exists({str(project.root / "go")!r}):
        time.sleep(0.05)
    shutil.copy({str(project.root / "pkgs" / wheel_name("tiny", "1.0"))!r}, folder)
    return {wheel_name("tiny", "1.0")!r}
"""
    system = '[build-system]\nrequires = []\nbuild-backend = "slow"\nbackend-path = ["."]\n'
    project.write(
        {
            "libs/tiny/pyproject.toml": system + '[project]\nname = "tiny"\nversion = "1.0"\n',
            "libs/tiny/slow.py": backend,
        }
    )


SLOW = environment('packages = ["./libs/tiny"]')


def test_a_kill_in_mid_build_leaves_nothing_believed(ready: Folder) -> None:
    slow_package(ready)
    ready.steps(SLOW + ONE)
    process = ready.start()
    until(lambda: ready.has("begun"), "the installer")
    assert ready.processes()
    kill(process.pid)
    until(lambda: not ready.processes(), "the end of the installer")
    (left,) = environments(ready)
    assert marks.read(left) is None
    assert ready.reasons("one") == ["never ran"]

    ready.write({"go": ""})
    told = ready.build()
    assert told.done == ["one"]
    assert built(told) == ["ml"]
    assert environments(ready) == [left]


def test_a_signal_in_mid_build_ends_the_installer(ready: Folder) -> None:
    slow_package(ready)
    ready.steps(SLOW + ONE)
    process = ready.start()
    until(lambda: ready.has("begun"), "the installer")
    process.send_signal(signal.SIGINT)
    words = process.communicate()[0]
    assert process.returncode == 130, words
    assert ready.processes() == []
    assert environments(ready) == []


def test_a_failure_elsewhere_does_not_wait_for_the_installer(ready: Folder) -> None:
    slow_package(ready)
    bad = f'[bad]\ncommand = "while [ ! -e {ready.root}/begun ]; do sleep 0.05; done; exit 3"\n'
    ready.steps(SLOW + ONE + bad)
    told = ready.build()
    assert told.failed == ["bad"]
    assert "one" not in told.started
    assert environments(ready) == []


def test_others_run_while_it_is_built(ready: Folder) -> None:
    slow_package(ready)
    ready.steps(SLOW + ONE + f'[plain]\ncommand = "touch {ready.root}/go {{outputs.o}}"\noutputs = {{ o = "o" }}\n')
    assert sorted(ready.build().done) == ["one", "plain"]


def test_an_edit_while_it_is_built_is_built_too(ready: Folder) -> None:
    """Nobody knows which of both the installer has read: that one is thrown away."""
    slow_package(ready)
    ready.write({"req.txt": "./libs/tiny\n"})
    ready.steps(environment('requirements = "req.txt"') + ONE)
    process = ready.start()
    until(lambda: ready.has("begun"), "the installer")
    ready.write({"req.txt": "./libs/tiny\n# edited\n", "go": ""})
    words = process.communicate()[0]
    assert process.returncode == 0, words
    assert words.count("environment ml: building") == 2
    assert words.count("environment ml: built") == 1
    assert len(environments(ready)) == 1
    assert ready.states() == {"one": "fresh"}


# What is stale.


def test_a_package_upgraded_by_hand_makes_its_steps_stale_by_name(ready: Folder) -> None:
    ready.build()
    upgrade(ready, "1.1")
    assert ready.reasons("one") == ["environment ml: tiny 1.0 -> 1.1"]
    assert ready.reasons("two") == ["environment ml: tiny 1.0 -> 1.1"]
    assert "environment ml: tiny 1.0 -> 1.1" in ready.cli("why", "one").stdout
    told = ready.build()
    assert sorted(told.done) == ["one", "two"]
    assert built(told) == []
    assert ready.read("build/one.txt") == "1.1\n"
    assert ready.build().done == []


def test_the_short_way_sees_an_upgrade_too(ready: Folder) -> None:
    ready.build()
    assert ready.cli("status", "--check").returncode == 0
    upgrade(ready, "1.1")
    assert ready.cli("status", "--check").returncode == 3


def test_another_pin_is_named_and_another_environment_is_built(ready: Folder) -> None:
    ready.build()
    ready.steps(pinned("1.1") + ONE + TWO)
    reasons = ready.reasons("one")
    assert reasons[0] == "packages changed"
    assert "package pkgs/tiny-1.1-py3-none-any.whl is new" in reasons
    told = ready.build()
    assert sorted(told.done) == ["one", "two"]
    assert built(told) == ["ml"]
    assert len(environments(ready)) == 2
    assert ready.read("build/one.txt") == "1.1\n"

    ready.steps(pinned("1.0") + ONE + TWO)
    assert ready.states() == {"one": "restorable", "two": "restorable"}, "the first one is there, and its results"
    told = ready.build()
    assert sorted(told.restored) == ["one", "two"]
    assert built(told) == []


def test_an_edited_requirements_file_is_named_and_shown(ready: Folder) -> None:
    ready.write({"req.txt": f"-r more/own.txt\n./pkgs/{wheel_name('tiny', '1.0')}\n", "more/own.txt": "# nothing\n"})
    ready.steps(environment('requirements = "req.txt"') + ONE)
    assert ready.build().done == ["one"]
    assert ready.build().done == []

    ready.write({"req.txt": f"-r more/own.txt\n./pkgs/{wheel_name('tiny', '1.1')}\n"})
    assert "requirements req.txt changed" in ready.reasons("one")
    shown = ready.cli("why", "one").stdout
    assert f"-./pkgs/{wheel_name('tiny', '1.0')}" in shown
    assert f"+./pkgs/{wheel_name('tiny', '1.1')}" in shown
    assert ready.build().done == ["one"]
    assert ready.read("build/one.txt") == "1.1\n"

    ready.write({"more/own.txt": "# nothing more\n"})
    assert ready.cli("status", "--check").returncode == 3
    assert ready.reasons("one") == ["requirements more/own.txt changed"]
    assert built(ready.build()) == ["ml"]


def test_a_wheel_counts_by_its_content(ready: Folder) -> None:
    ready.build()
    ready.write({f"pkgs/{wheel_name('tiny', '1.0')}": wheel("tiny", "1.0", code={"more.py": ""})})
    assert ready.reasons("one") == ["package pkgs/tiny-1.0-py3-none-any.whl changed"]
    told = ready.build()
    assert built(told) == ["ml"]
    assert sorted(told.done) == ["one", "two"]


def test_another_python_is_named(ready: Folder) -> None:
    ready.build()
    ready.steps(pinned("1.0").replace(f'"{PYTHON}"', '"3"') + ONE + TWO)
    assert ready.reasons("one") == [f"python changed: {PYTHON} -> 3"]


def test_a_step_that_moves_into_an_environment_says_that_it_is_not_built(ready: Folder) -> None:
    plain = '[one]\ncommand = "echo 1 > {outputs.o}"\noutputs = { o = "o" }\n'
    ready.steps(environment() + plain)
    ready.build()
    ready.steps(environment() + plain + 'environment = "ml"\n')
    reasons = ready.reasons("one")
    assert "environment ml is not built yet" in reasons
    assert "environment system is gone" in reasons
    assert ready.build().done == ["one"]
    assert ready.build().done == []


def test_an_environment_that_was_removed_is_not_missed(ready: Folder) -> None:
    ready.build()
    shutil.rmtree(Home(str(ready.root)).environments)
    assert ready.states() == {"one": "fresh", "two": "fresh"}
    assert built(ready.build()) == []

    told = ready.build("one", force=True)
    assert built(told) == ["ml"]
    assert told.done == ["one"]
    assert ready.states() == {"one": "fresh", "two": "fresh"}


def test_what_comes_out_other_when_it_is_built_anew_makes_steps_stale(ready: Folder) -> None:
    ready.steps(UNPINNED + ONE + TWO)
    (ready.root / "pkgs" / wheel_name("tiny", "1.1")).unlink()
    assert sorted(ready.build().done) == ["one", "two"]
    assert ready.read("build/one.txt") == "1.0\n"

    tiny(ready, "1.1")
    assert ready.states() == {"one": "fresh", "two": "fresh"}, "what an index has is no fact"
    shutil.rmtree(Home(str(ready.root)).environments)
    ready.build("one", force=True)
    assert ready.read("build/one.txt") == "1.1\n"
    assert ready.reasons("two") == ["environment ml: tiny 1.0 -> 1.1"]
    assert ready.build().done == ["two"]


def test_one_whose_interpreter_has_gone_is_built_anew(ready: Folder) -> None:
    ready.build()
    (folder,) = environments(ready)
    Path(folder, "bin", "python").unlink()
    Path(folder, "bin", "python").symlink_to("/nowhere/python")
    assert ready.states() == {"one": "fresh", "two": "fresh"}
    told = ready.build("one", force=True)
    assert built(told) == ["ml"]
    assert told.done == ["one"]


def test_one_that_does_not_stay_is_not_built_for_ever(ready: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "write", lambda *_: None)
    told = ready.build()
    assert built(told) == ["ml"]
    assert told.message("one").startswith("environment ml does not stay as it was built")


def test_a_torn_mark_is_none(ready: Folder) -> None:
    ready.build()
    (folder,) = environments(ready)
    Path(marks.path_of(folder)).write_text('{"format": 1, "pack')
    told = ready.build("one", force=True)
    assert built(told) == ["ml"]
    assert told.done == ["one"]


def test_a_step_with_a_failed_build_keeps_its_last_record(ready: Folder) -> None:
    ready.build()
    ready.steps(environment('packages = ["--no-index", "nosuch"]') + ONE + TWO)
    assert ready.build("one").failed == ["one"]
    ready.steps(pinned("1.0") + ONE + TWO)
    assert ready.states() == {"one": "fresh", "two": "fresh"}


# Variables and secrets.


def with_variables(*lines: str) -> str:
    return environment(*lines) + '[one]\ncommand = "env > {outputs.o}"\noutputs = { o = "o" }\nenvironment = "ml"\n'


def test_a_declared_variable_is_a_fact(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    project.steps(with_variables('variables = ["FLAVOUR"]'))
    monkeypatch.delenv("FLAVOUR", raising=False)
    assert project.reasons("one") == ["environment variable FLAVOUR is not set"]
    monkeypatch.setenv("FLAVOUR", "sweet")
    assert project.build().done == ["one"]
    assert "FLAVOUR=sweet" in project.read("o")
    assert project.build().done == []
    monkeypatch.setenv("FLAVOUR", "sour")
    assert project.reasons("one") == ["env FLAVOUR changed"]
    assert project.cli("status", "--check").returncode == 3


def test_a_secret_is_handed_over_and_is_no_fact(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    project.steps(
        environment('secrets = ["TOKEN_41"]')
        + '[one]\ncommand = "test -n \\"$TOKEN_41\\" && echo 1 > {outputs.o}"\noutputs = { o = "o" }\n'
        + 'environment = "ml"\n'
    )
    monkeypatch.setenv("TOKEN_41", TOKEN)
    assert project.build().done == ["one"]
    monkeypatch.setenv("TOKEN_41", "another")
    assert project.build().done == []
    monkeypatch.delenv("TOKEN_41")
    assert project.build().done == []
    told = project.build("one", force=True)
    assert told.message("one") == "environment variable TOKEN_41 is not set, a secret of its environment"


def test_a_secret_is_written_nowhere(project: Folder) -> None:
    project.steps(
        environment('secrets = ["TOKEN_41"]')
        + '[one]\ncommand = "test -n \\"$TOKEN_41\\" && echo 1 > {outputs.o}"\noutputs = { o = "o" }\n'
        + 'environment = "ml"\n'
    )
    env = {"TOKEN_41": TOKEN}
    assert project.cli("-v", env=env).returncode == 0
    said = [
        project.cli(*words, env=env).stdout
        for words in (["status", "--json"], ["show", "--json"], ["why", "one", "--json"], ["logs", "one"], ["graph"])
    ]
    assert not [words for words in said if TOKEN in words]
    for folder, _, names in os.walk(project.root):
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                assert TOKEN.encode() not in path.read_bytes(), path


def test_a_password_in_requirements_is_not_kept(ready: Folder) -> None:
    """The file is the user's; what mlmake writes of it must not hold it."""
    line = f"--extra-index-url https://me:{TOKEN}@127.0.0.1:9/simple\n--no-index\n"
    ready.write({"req.txt": f"{line}./pkgs/{wheel_name('tiny', '1.0')}\n"})
    ready.steps(environment('requirements = "req.txt"') + ONE)
    assert ready.build().done == ["one"]
    for folder, _, names in os.walk(ready.root / ".mlmake"):
        for name in names:
            if Path(folder, name).is_file():
                assert TOKEN.encode() not in Path(folder, name).read_bytes(), name
    connection = ready.json("why", "one")
    assert TOKEN not in json.dumps(connection)


# Other ways in and out.


def test_gc_removes_what_nothing_asks_for(ready: Folder) -> None:
    ready.build()
    (first,) = environments(ready)
    ready.steps(pinned("1.1") + ONE + TWO)
    ready.build("one")
    assert len(environments(ready)) == 2
    assert "environment" not in ready.cli("cache", "gc").stdout, "two last ran in the first one"
    ready.build()
    assert "would remove 1 environment: " in ready.cli("cache", "gc", "-n").stdout
    assert len(environments(ready)) == 2
    assert "removed 1 environment: " in ready.cli("cache", "gc").stdout
    assert first not in environments(ready)
    assert not os.path.exists(f"{first}.log")
    assert ready.build().done == []


def test_gc_removes_what_a_dead_build_left(ready: Folder) -> None:
    ready.build()
    (folder,) = environments(ready)
    os.unlink(marks.path_of(folder))
    assert "removed 1 environment" in ready.cli("cache", "gc").stdout
    assert environments(ready) == []


def test_steps_of_a_dodo_file_run_in_environments_too(ready: Folder) -> None:
    ready.write({"dodo.py": "from mlmake.dodo import load_tasks\n\ndef task_m():\n    yield from load_tasks()\n"})
    command = [sys.executable, "-m", "doit"]
    done = subprocess.run(command, cwd=ready.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ready.read("build/one.txt") == "1.0\n"
    again = subprocess.run(command, cwd=ready.root, capture_output=True, text=True, check=False)
    assert again.stdout.count("-- ") == 2


def test_a_conda_environment(project: Folder) -> None:
    """It needs a conda, and its channels; the recipe alone is tested beside all others."""
    found = [name for name in ("micromamba", "mamba", "conda") if shutil.which(name)]
    if not found:
        pytest.skip("no micromamba, mamba or conda is on the path")
    project.write({"environment.yml": f"channels: [conda-forge]\ndependencies: [python={PYTHON}]\n"})
    project.steps(
        '[environments.c]\nconda = "environment.yml"\n'
        '[one]\ncommand = "python -c \'import sys; print(sys.prefix)\' > {outputs.o}"\noutputs = { o = "o" }\n'
        'environment = "c"\n'
    )
    assert project.build().done == ["one"]
    (folder,) = environments(project)
    assert project.read("o").strip() == folder
    assert project.build().done == []


def test_without_conda_a_step_says_what_to_install(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Callable[..., Tools] = installing._tools
    monkeypatch.setattr(installing, "_tools", lambda *each: replace(found(*each), conda=""))
    project.write({"environment.yml": "dependencies: [python]\n"})
    project.steps('[environments.c]\nconda = "environment.yml"\n[one]\ncommand = "true"\nenvironment = "c"\n')
    message = project.build().message("one")
    assert message.startswith("environment c cannot be built: no micromamba, mamba or conda on this machine; install")
