"""Environments on hosts: a real sshd of this machine, real installers, packages that the tests make."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from hosts import Door, door
from mlmake.model.events import EnvironmentBuilding, StepStarted
from mlmake.services.hosts import clean
from mlmake.transports.agent import guard
from projects import Built, Folder, until
from servers import free_port
from wheels import PYTHON, uv, wheel, wheel_name


@pytest.fixture
def box(box: Door) -> Door:
    box.rc("export UV_HTTP_RETRIES=0")
    return box


@pytest.fixture
def far(far: Folder) -> Folder:
    """A project with a target `box`, and wheels of the package `tiny`."""
    far.write({f"pkgs/{wheel_name('tiny', version)}": wheel("tiny", version) for version in ("1.0", "1.1")})
    return far


def environment(*lines: str) -> str:
    return "\n".join(["[environments.ml]", f'python = "{PYTHON}"', *lines, ""])


def pinned(version: str) -> str:
    return environment(f'packages = ["./pkgs/{wheel_name("tiny", version)}"]')


LOOK = """
[look]
script = "look.py"
matrix = { n = [1, 2] }
outputs = { o = "build/look-{matrix.n}.txt" }
environment = "ml"
compute = "box"
"""
SCRIPT = """
import os, shutil, sys, tiny
with open(os.environ["MLMAKE_OUTPUT_O"], "w") as file:
    print(tiny.VERSION, sys.prefix, os.environ["VIRTUAL_ENV"], shutil.which("python"), file=file)
"""


def environments(root: Path) -> list[Path]:
    """The folders of what was built on a host, or begun."""
    return sorted(each for each in root.glob("environments/*") if each.is_dir())


def marks(root: Path) -> list[Path]:
    """The marks of those that are whole."""
    return sorted(root.glob("environments/*/.mlmake.json"))


def upgrade(project: Folder, root: Path, version: str) -> None:
    """Put another version into a host's only environment by hand, as an installer would."""
    (folder,) = environments(root)
    site = next(folder.glob("lib/py*/site-packages"))
    for old in site.glob("tiny*"):
        shutil.rmtree(old)
    shutil.unpack_archive(project.root / "pkgs" / wheel_name("tiny", version), site, "zip")


def versions(project: Folder) -> list[str]:
    return [project.read(f"build/look-{n}.txt").split()[0] for n in (1, 2)]


def built(told: Built) -> list[tuple[str, str]]:
    return [(event.name, event.target) for event in told.of(EnvironmentBuilding)]


def test_it_is_built_there_once_and_runs_the_steps(far: Folder, root: Path) -> None:
    far.write({"look.py": SCRIPT})
    far.steps(pinned("1.0") + LOOK)
    told = far.build()
    assert told.failed == [], [told.message(step) for step in told.failed]
    assert built(told) == [("ml", "box")]
    (folder,) = environments(root)
    assert far.read("build/look-1.txt").split() == ["1.0", str(folder), str(folder), f"{folder}/bin/python"]
    assert not os.path.exists(far.home.environments), "none is needed here"
    assert far.build().done == []
    assert set(far.states().values()) == {"fresh"}


def test_all_that_it_is_made_from_travels(far: Folder, root: Path) -> None:
    far.write(
        {
            "req/all.txt": "-r more.txt\n--no-index\n./libs/own\n",
            "req/more.txt": "--find-links ../pkgs\ntiny==1.1\n",
            "libs/own/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "made"\nbackend-path = ["."]\n'
            '[project]\nname = "own"\nversion = "1.0"\n',
            "libs/own/made.py": f"import os, shutil\nNAME = {wheel_name('own', '1.0')!r}\nos.environ['TOKEN_41']\n"
            "def build_wheel(folder, *_, **__):\n    shutil.copy('own.zip', f'{folder}/{NAME}')\n    return NAME\n",
            "libs/own/own.zip": wheel("own", "1.0"),
            "look.py": f"{SCRIPT}    import own\n",
        }
    )
    far.steps(environment('requirements = "req/all.txt"', 'secrets = ["TOKEN_41"]') + LOOK)
    done = far.cli(env={"TOKEN_41": "open-sesame-41"})
    assert done.returncode == 0, done.stdout
    assert "environment ml on box: built in" in done.stdout
    assert versions(far) == ["1.1", "1.1"]
    assert not [path for path in root.rglob("*.json") if "open-sesame" in path.read_text()], "no file holds it"


def test_an_editable_package_stays_here(far: Folder, root: Path) -> None:
    far.write({"libs/own/pyproject.toml": "", "look.py": SCRIPT})
    far.steps(environment('packages = ["-e libs/own"]') + LOOK)
    told = far.build()
    assert "package libs/own is editable (-e), and its code stays on this machine" in told.message("look[n=1]")
    assert environments(root) == []


# What is stale.


def test_a_package_upgraded_there_makes_its_steps_stale_by_name(far: Folder, root: Path) -> None:
    far.write({"look.py": SCRIPT})
    far.steps(pinned("1.0") + LOOK)
    far.build()
    upgrade(far, root, "1.1")
    assert set(far.states().values()) == {"fresh"}, "nobody connects to judge"
    assert far.build("look[n=1]", force=True).done == ["look[n=1]"]
    assert far.states() == {"look[n=1]": "fresh", "look[n=2]": "stale"}
    assert far.reasons("look[n=2]") == ["environment ml: tiny 1.0 -> 1.1"]
    assert "environment ml: tiny 1.0 -> 1.1" in far.cli("why", "look[n=2]").stdout
    told = far.build()
    assert told.done == ["look[n=2]"]
    assert built(told) == []
    assert versions(far) == ["1.1", "1.1"]
    assert far.build().done == []


def test_one_that_was_removed_there_is_built_anew(far: Folder, root: Path) -> None:
    far.write({"look.py": SCRIPT})
    far.steps(pinned("1.0") + LOOK)
    far.build()
    shutil.rmtree(root / "environments")
    assert far.build().done == [], "its steps are fresh without it"
    told = far.build("look[n=2]", force=True)
    assert built(told) == [("ml", "box")]
    assert set(far.states().values()) == {"fresh"}


def test_going_back_to_another_wish_costs_nothing(far: Folder, root: Path) -> None:
    far.write({"look.py": SCRIPT})
    for version in ("1.0", "1.1"):
        far.steps(pinned(version) + LOOK)
        assert built(far.build()) == [("ml", "box")]
        assert versions(far) == [version] * 2
    far.steps(pinned("1.0") + LOOK)
    assert far.states() == {"look[n=1]": "restorable", "look[n=2]": "restorable"}
    assert built(far.build(force=True)) == []
    assert versions(far) == ["1.0", "1.0"]


# Where a step runs.


FARM = """
[compute.other]
{other}
[compute.farm]
kind = "pool"
of = ["box", "other"]
"""


@pytest.fixture
def farm(far: Folder, box: Door, tmp_path: Path) -> Folder:
    """Two hosts with room for one step each, as one target."""
    far.head = f"[compute.box]\n{box.table(tmp_path / 'host-root', cpus=1)}\n"
    far.head += FARM.format(other=box.table(tmp_path / "other-root", cpus=1))
    far.write({"look.py": SCRIPT})
    return far


def test_in_a_pool_each_step_has_the_environment_of_where_it_landed(farm: Folder, root: Path, tmp_path: Path) -> None:
    farm.steps(pinned("1.0") + LOOK.replace('"box"', '"farm"'))
    told = farm.build()
    assert sorted(built(told)) == [("ml", "box"), ("ml", "other")]
    ran = {event.target: event.step[-2] for event in told.of(StepStarted)}
    for name, place in (("box", root), ("other", tmp_path / "other-root")):
        (folder,) = environments(place)
        assert farm.read(f"build/look-{ran[name]}.txt").split()[1] == str(folder)
    assert farm.build().done == []

    upgrade(farm, tmp_path / "other-root", "1.1")
    on_other = f"look[n={ran['other']}]"
    farm.toml(farm.read("pipelines.toml").replace("'cpus' = 1", "").replace('of = ["box", "other"]', 'of = ["other"]'))
    assert farm.build(on_other, force=True).done == [on_other]
    assert set(farm.states().values()) == {"fresh"}, "the other step ran where nothing has changed"


def test_moving_a_step_leaves_it_fresh_whatever_is_installed_where(farm: Folder, tmp_path: Path) -> None:
    unpinned = environment('packages = ["--no-index", "--find-links pkgs", "tiny"]')
    os.rename(farm.root / "pkgs" / wheel_name("tiny", "1.1"), tmp_path / "later.whl")
    farm.steps(unpinned + LOOK)
    farm.build()
    os.rename(tmp_path / "later.whl", farm.root / "pkgs" / wheel_name("tiny", "1.1"))
    farm.steps(unpinned + LOOK.replace('"box"', '"other"'))
    assert farm.build().done == []
    assert farm.build("look[n=1]", force=True).done == ["look[n=1]"]
    assert versions(farm) == ["1.1", "1.0"]
    assert farm.build().done == [], "both hosts are as they were when their step ran there"
    done = farm.cli("--on", "box", "-f", "look[n=1]")
    assert done.returncode == 0, done.stdout
    assert versions(farm) == ["1.0", "1.0"]
    assert farm.build().done == []
    farm.steps(unpinned + LOOK.replace('"box"', '"local"'))
    farm.toml(farm.read("pipelines.toml").replace(farm.head, ""))
    assert farm.build().done == [], "the hosts are gone from the file, and nothing has changed"


def test_on_a_host_that_is_lost_it_is_built_elsewhere(farm: Folder, box: Door, root: Path, tmp_path: Path) -> None:
    farm.head = f"[compute.box]\n{box.table(root, port=free_port())}\n"
    farm.head += FARM.format(other=box.table(tmp_path / "other-root", cpus=4))
    farm.steps(pinned("1.0") + LOOK.replace('"box"', '"farm"'))
    told = farm.build()
    assert told.failed == []
    assert built(told) == [("ml", "other")]


def test_a_pool_with_this_machine_builds_it_here_too(farm: Folder) -> None:
    """Each step waits for the other one to have begun."""
    farm.head = farm.head.replace('of = ["box", "other"]', 'of = ["local", "box"]')
    both = f"""
from pathlib import Path
import time
Path("{farm.root}", os.environ["MLMAKE_MATRIX_N"]).touch()
while not all(Path("{farm.root}", name).exists() for name in "12"):
    time.sleep(0.02)
"""
    farm.write({"look.py": SCRIPT + both})
    farm.steps(pinned("1.0") + LOOK.replace('"box"', '"farm"'))
    told = farm.build(jobs=1)
    assert sorted(built(told)) == [("ml", "box"), ("ml", "local")]
    assert farm.build().done == []


# Failures.


def test_a_failed_installation_shows_its_words_and_leaves_nothing(far: Folder, root: Path) -> None:
    far.steps(
        environment('packages = ["--no-index", "nosuch==1.0"]')
        + LOOK.replace('script = "look.py"', 'command = "true"')
        + '[plain]\ncommand = "echo 1 > {outputs.o}"\noutputs = { o = "o" }\ncompute = "box"\n'
    )
    told = far.build(keep_going=True)
    assert told.done == ["plain"]
    assert built(told) == [("ml", "box")], "what failed once is not tried for each step"
    for step in ("look[n=1]", "look[n=2]"):
        said = "environment ml on box cannot be built: its installer ended with exit code 1: "
        assert told.message(step).startswith(said)
        assert "nosuch" in far.read(f".mlmake/logs/1/p.{step}.log")
    assert environments(root) == []
    far.write({"look.py": SCRIPT})
    far.steps(pinned("1.0") + LOOK)
    assert len(far.build().done) == 2


def test_an_index_out_of_reach_is_told_with_the_next_move(far: Folder, root: Path) -> None:
    far.steps(
        environment(f'packages = ["--index-url http://127.0.0.1:{free_port()}/simple", "tiny"]')
        + LOOK.replace('script = "look.py"', 'command = "true"')
    )
    box_says = "let box reach an index, or name its own (--index-url)"
    assert box_says in far.build().message("look[n=1]")
    assert environments(root) == []


# Without uv.


def test_without_uv_the_host_s_venv_and_pip_build_it(
    project: Folder, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    python = "/usr/bin/python3"
    if subprocess.run([python, "-c", "import ensurepip"], check=False).returncode:
        pytest.skip("/usr/bin/python3 has no ensurepip")
    with door(tmp_path_factory.mktemp("plain"), python) as plain:
        project.head = f"[compute.box]\n{plain.table(tmp_path / 'root')}\n"
        project.write({"look.py": SCRIPT, f"pkgs/{wheel_name('tiny', '1.0')}": wheel("tiny", "1.0")})
        project.steps(f'[environments.ml]\npython = "3"\npackages = ["./pkgs/{wheel_name("tiny", "1.0")}"]\n{LOOK}')
        told = project.build()
        assert told.failed == [], project.cli("logs", "look[n=1]").stdout
        assert versions(project) == ["1.0", "1.0"]
        (log,) = Path(project.home.folder, "targets").glob("*.log")
        assert "-m venv" in log.read_text()


def test_a_host_without_ensurepip_says_so(
    project: Folder, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    with door(tmp_path_factory.mktemp("bare"), str(_without_ensurepip(tmp_path / "python"))) as bare:
        project.head = f"[compute.box]\n{bare.table(tmp_path / 'root')}\n"
        project.steps(f'[environments.ml]\npython = "3"\n{LOOK}')
        project.write({"look.py": ""})
        message = project.build().message("look[n=1]")
        assert "cannot be built: its installer ended with exit code 1: " in message
        assert message.endswith("install the venv module of that Python (box; python3-venv on Debian), or uv")
        assert environments(tmp_path / "root") == []


def _without_ensurepip(folder: Path) -> Path:
    """An interpreter whose library lacks that one module."""
    asked = "import os, sys; print(os.path.realpath(sys.executable), os.path.dirname(os.__file__))"
    said = subprocess.run(["/usr/bin/python3", "-I", "-c", asked], capture_output=True, text=True, check=True)
    python, library = map(Path, said.stdout.split())
    (folder / "bin").mkdir(parents=True)
    own = folder / "lib" / library.name
    own.mkdir(parents=True)
    for each in library.iterdir():
        if each.name != "ensurepip":
            (own / each.name).symlink_to(each)
    shutil.copy2(python, folder / "bin" / python.name)
    return folder / "bin" / python.name


# Interrupted.


SLOW = environment('packages = ["./libs/tiny"]')


@pytest.fixture
def slow(far: Folder) -> Folder:
    """The installation of `tiny` begins, says so in a file, and waits for another file."""
    uv()
    backend = f"""
import os, shutil, time
def build_wheel(folder, config_settings=None, metadata_directory=None):
    with open({str(far.root / "begun")!r}, "a") as file:
        print("begun", file=file)
    while not os.path.exists({str(far.root / "go")!r}):
        time.sleep(0.02)
    shutil.copy({str(far.root / "pkgs" / wheel_name("tiny", "1.0"))!r}, folder)
    return {wheel_name("tiny", "1.0")!r}
"""
    system = '[build-system]\nrequires = []\nbuild-backend = "slow"\nbackend-path = ["."]\n'
    far.write(
        {
            "libs/tiny/pyproject.toml": system + '[project]\nname = "tiny"\nversion = "1.0"\n',
            "libs/tiny/slow.py": backend,
            "look.py": SCRIPT,
        }
    )
    far.steps(SLOW + LOOK)
    return far


def test_a_killed_build_s_installer_goes_on(slow: Folder, root: Path) -> None:
    running = slow.start()
    until(lambda: slow.has("begun"), "the installer")
    running.kill()
    running.wait()
    assert guard.marked(f"{root}/jobs/"), "it goes on"
    again = slow.start()
    assert again.stdout is not None
    until(lambda: "building" in again.stdout.readline())  # type: ignore[union-attr]
    slow.write({"go": ""})
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert slow.log("begun") == ["begun"], "it was built once"
    assert versions(slow) == ["1.0", "1.0"]
    until(lambda: os.listdir(root / "jobs") == [], "the host forgets the job that built it")


def test_a_signal_ends_the_installer_there(slow: Folder, root: Path) -> None:
    running = slow.start()
    until(lambda: slow.has("begun"), "the installer")
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130, said
    until(lambda: guard.marked(f"{root}/jobs/") == [], "its end")
    assert environments(root) == []


def test_a_lost_connection_does_not_end_it(slow: Folder, root: Path) -> None:
    running = slow.start()
    until(lambda: slow.has("begun"), "the installer")
    for child in psutil.Process(running.pid).children(recursive=True):
        if child.name() == "ssh":
            child.kill()
    slow.write({"go": ""})
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert slow.log("begun") == ["begun"]
    assert versions(slow) == ["1.0", "1.0"]


@pytest.fixture
def others(slow: Folder, tmp_path: Path) -> Iterator[list[Folder]]:
    """Three projects that wish for the same; the first comes before the rest."""
    with tarfile.open(slow.root / "pkgs/tiny-1.0.tar.gz", "w:gz") as file:
        file.add(slow.root / "libs/tiny", "tiny-1.0")
    slow.steps(environment('packages = ["./pkgs/tiny-1.0.tar.gz"]') + LOOK)
    made = [slow, Folder(tmp_path / "second"), Folder(tmp_path / "third")]
    for other in made[1:]:
        shutil.copytree(slow.root, other.root)
    yield made
    for other in made[1:]:
        other.close()


def test_projects_that_wish_for_the_same_build_it_once(others: list[Folder], root: Path) -> None:
    """Two wait for the first, whose build is then stopped: one of them takes over, and the last finds it there."""
    first = others[0].start()
    until(lambda: others[0].has("begun"), "the installer")
    running = [each.start() for each in others[1:]]
    until(lambda: len(list(root.glob("jobs/*/pid.json"))) == 3, "all jobs")
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 130
    until(lambda: len(others[0].log("begun")) == 2, "another installer")
    others[0].write({"go": ""})
    for process in running:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert len(others[0].log("begun")) == 2
    assert len(environments(root)) == 1
    assert versions(others[1]) == versions(others[2]) == ["1.0", "1.0"]


# Cleaning up.


def test_clean_removes_what_nobody_has_used_for_long(far: Folder, root: Path) -> None:
    far.write({"look.py": SCRIPT})
    for version in ("1.0", "1.1"):
        far.steps(pinned(version) + LOOK)
        far.build()
    (root / "environments" / "half").mkdir()
    assert len(environments(root)) == 3
    old = min(marks(root), key=lambda mark: mark.stat().st_mtime_ns)
    os.utime(old, (0, 0))
    assert "environments  3" in far.cli("compute", "check").stdout
    assert far.cli("compute", "clean", "box").stdout.startswith("box: 0 jobs, 2 environments and ")
    assert len(environments(root)) == 1
    assert not old.exists()
    assert far.build().done == []


def test_clean_leaves_what_is_used(far: Folder, root: Path) -> None:
    ready, go = far.root / "ready", far.root / "go"
    far.write(
        {
            "look.py": f"import time, pathlib\npathlib.Path('{ready}').touch()\n"
            f"while not pathlib.Path('{go}').exists():\n    time.sleep(0.02)\n{SCRIPT}"
        }
    )
    far.steps(pinned("1.0") + LOOK)
    running = far.start()
    until(ready.exists, "the step")
    loaded = far.load()
    assert clean(loaded, loaded.computes["box"], 0, None).environments == (), "its mlmake holds it"
    running.kill()
    running.wait()
    assert clean(loaded, loaded.computes["box"], 0, None).environments == (), "its job runs in it"
    assert len(marks(root)) == 1
    go.touch()
    assert far.start().wait(60) == 0
    assert versions(far) == ["1.0", "1.0"]
