"""`mlmake compute` and `--on` on the real command line, against a real sshd and a real Docker engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import Engine, base_image
from hosts import Door
from mlmake.executors.containers import find_argv, found
from mlmake.transports.agent import files
from projects import Folder, kill, until
from servers import free_port, lack

HOLDS = "touch {above}/ready; while [ ! -e {above}/go ]; do sleep 0.05; done"
NVIDIA_SMI = "#!/bin/sh\nprintf '0, NVIDIA L4, 23034\\n1, NVIDIA L4, 23034\\n'\n"
LATER = "import time\nreal = time.time\ntime.time = lambda: real() + 3600\n"


@pytest.fixture
def far(far: Folder, box: Door, root: Path) -> Folder:
    """A project with a target `box`, which offers all that it has."""
    far.head = f"[compute.box]\n{box.table(root)}\n"
    far.steps('[one]\ncommand = "echo 1 > {outputs.x}"\noutputs = { x = "x" }\ncompute = "box"')
    return far


@pytest.fixture
def boxed(project: Folder, engine: Engine, root: Path) -> Iterator[Folder]:
    """A project with a target `box` that is an engine of this machine."""
    image = f'[environments.deb]\nimage = "{base_image(engine)}"\n'
    project.head = f'[compute.box]\nkind = "docker"\nroot = "{root}"\nhost = "{engine.host}"\n{image}'
    project.steps('[one]\ncommand = "true"\ncompute = "box"\nenvironment = "deb"')
    yield project
    for name in containers(root, engine):
        engine.docker("rm", "--force", name, check=False)


def containers(root: Path, engine: Engine) -> list[str]:
    return [each.name for each in found(engine.docker(*find_argv(root=str(root))[1:]).stdout)]


def checked(project: Folder, *words: str) -> dict[str, dict[str, str]]:
    """What `compute check` finds of one target; and that its exit code says whether there is a fault."""
    told = project.cli("compute", "check", *words, "--json")
    (findings,) = json.loads(told.stdout).values()
    assert told.returncode == int(any(each["move"] for each in findings)), told.stdout
    return {each["what"]: each for each in findings}


# What there is


def test_list(far: Folder, box: Door) -> None:
    far.head += '[compute.farm]\nkind = "pool"\nof = ["box", "local"]\n[compute.local]\ncpus = 1.5\nmemory = "2GiB"\n'
    far.steps('[one]\ncommand = "true"\ncompute = "box"')
    assert far.cli("compute", "list").stdout.splitlines() == [
        "local  local  this machine  cpus 1.5, memory 2.0 GiB",
        "box    ssh    127.0.0.1     all that it has",
        "farm   pool   box, local    all that it has",
    ]
    told: Any = far.json("compute", "list")
    assert [(each["name"], each["kind"], each["steps"]) for each in told] == [
        ("local", "local", []),
        ("box", "ssh", ["p.one"]),
        ("farm", "pool", []),
    ]


def test_check(far: Folder, root: Path) -> None:
    told = far.cli("compute", "check")
    assert told.returncode == 0, told.stdout + told.stderr
    lines = told.stdout.splitlines()
    assert lines[0] == "box"
    assert [line[2:14].strip() for line in lines[1:]] == [
        *("reachable", "host key", "round trip", "system", "python", "cpus", "memory", "gpus", "disk", "docker"),
        *("clock", "hashing", "jobs", "environments", "kept"),
    ]
    found = checked(far, "box")
    assert found["reachable"]["value"].startswith("yes, in ")
    assert found["cpus"]["value"] == str(len(os.sched_getaffinity(0)))
    assert found["disk"]["value"].endswith(f"free at {root}")
    assert found["jobs"]["value"] == "0 running, 0 ended and not fetched"
    assert found["clock"]["value"] == "as here"


def test_check_of_nothing(project: Folder) -> None:
    project.steps('[one]\ncommand = "true"')
    told = project.cli("compute", "check")
    assert (told.returncode, told.stdout) == (0, "no host is declared: steps run on this machine\n")
    assert project.cli("compute", "clean").stdout == told.stdout
    assert json.loads(project.cli("compute", "check", "--json").stdout) == {}


# What is wrong, and the next move


def test_an_unknown_key_and_the_command_that_accepts_it(far: Folder, box: Door, root: Path, tmp_path: Path) -> None:
    known = str(tmp_path / "known hosts")
    far.head = f"[compute.box]\n{box.table(root, known_hosts=known)}\n"
    far.steps('[one]\ncommand = "true"\ncompute = "box"')
    found = checked(far)
    assert list(found) == ["host key"]
    assert "has a key that is not known here, and is not trusted for that" in found["host key"]["value"]
    move = found["host key"]["move"].partition("accept it with: ")[2]
    words = [word.replace("=ask", "=accept-new") for word in shlex.split(move)]  # there is nobody to be asked
    accepted = subprocess.run(words, capture_output=True, text=True, check=False)
    assert accepted.returncode == 0, accepted.stderr
    assert checked(far)["host key"]["value"] == "known"


def test_a_host_that_is_down(far: Folder, box: Door, root: Path) -> None:
    far.head = f"[compute.box]\n{box.table(root, port=free_port())}\n"
    far.steps('[one]\ncommand = "true"\ncompute = "box"')
    told = far.cli("compute", "check", "box")
    assert told.returncode == 1
    assert "reachable  no: host 'box' cannot be reached" in told.stdout
    assert "Connection refused" in told.stdout
    assert "try: ssh " in told.stdout
    cleaned = far.cli("compute", "clean")
    assert cleaned.returncode == 2
    assert "box: host 'box' cannot be reached" in cleaned.stderr


def test_a_host_without_python(far: Folder, box: Door) -> None:
    box.rc("PATH=/nowhere")
    found = checked(far)
    assert list(found) == ["python"]
    assert "has no python3" in found["python"]["value"]
    assert found["python"]["move"].startswith("install Python 3.8 or newer there")


def test_more_offered_than_there_is(far: Folder, box: Door, root: Path) -> None:
    far.head = f"[compute.box]\n{box.table(root, cpus=4000, memory='1000TiB', gpus=1)}\n"
    far.steps('[one]\ncommand = "true"\ncompute = "box"')
    found = checked(far)
    assert found["cpus"]["move"] == "its table offers 4000: set 'cpus' to what is there"
    assert found["memory"]["move"].endswith("TiB: set 'memory' to what is there")
    assert found["gpus"]["value"] == "none"
    assert found["gpus"]["move"] == "its table offers 1: does `nvidia-smi` run there?"


def test_gpus_as_nvidia_smi_tells_them(far: Folder, box: Door, root: Path, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    box.rc(f"PATH={tmp_path}:$PATH")
    assert checked(far)["gpus"]["value"] == "0: NVIDIA L4 (22.5 GiB), 1: NVIDIA L4 (22.5 GiB)"


def test_a_clock_that_is_wrong(far: Folder, box: Door, tmp_path: Path) -> None:
    """No clock can be set here, so it is that of the host's Python."""
    venv.create(tmp_path / "later")
    (packages,) = (tmp_path / "later").glob("lib/python*/site-packages")
    (packages / "sitecustomize.py").write_text(LATER)
    box.rc(f"PATH={tmp_path}/later/bin:$PATH")
    clock = checked(far)["clock"]
    assert clock["value"] in ("+3600 s from here", "+3599 s from here")
    assert clock["move"].startswith("let it keep time by NTP")


def test_a_disk_that_is_nearly_full(far: Folder, root: Path) -> None:
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(root)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        lack("a small disk cannot be mounted here")
    try:
        disk = checked(far)["disk"]
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
    assert disk["value"].startswith(("7.", "8."))
    assert disk["move"] == "`mlmake compute clean box`"


def test_an_engine(boxed: Folder, engine: Engine) -> None:
    version = engine.docker("version", "--format", "{{.Server.Version}}").stdout.strip()
    found = checked(boxed)
    assert found["docker"]["value"].startswith(f"{version}, ")
    assert "host key" not in found
    boxed.toml(boxed.read("pipelines.toml").replace(f'host = "{engine.host}"', 'host = "unix:///no.sock"'))
    docker = checked(boxed)["docker"]
    assert docker["value"] == "no Docker engine answers at unix:///no.sock"
    assert docker["move"] == "start it, or correct the target's `host`"
    cleaned = boxed.cli("compute", "clean")
    assert cleaned.returncode == 2
    assert "no Docker engine answers at unix:///no.sock" in cleaned.stderr


def test_no_docker_program_on_a_host(far: Folder, box: Door) -> None:
    far.head += '[compute.boxes]\nkind = "docker"\nvia = "box"\n'
    far.steps('[one]\ncommand = "true"')
    box.rc(f"PATH={box.folder}/bin")
    found = checked(far, "boxes")
    assert found["host key"]["value"] == "known"
    assert found["docker"]["value"] == "there is no program docker"
    assert found["docker"]["move"] == "install Docker, or correct PATH"


def test_names(far: Folder, box: Door, root: Path) -> None:
    far.head += f'[compute.gone]\n{box.table(root, port=free_port())}\n[compute.farm]\nkind = "pool"\n'
    far.head += 'of = ["box", "gone", "local"]\n'
    far.steps('[one]\ncommand = "true"')
    assert list(json.loads(far.cli("compute", "check", "farm", "--json").stdout)) == ["box", "gone"]
    told = far.cli("compute", "check", "bxo")
    assert told.returncode == 2
    assert "unknown compute target 'bxo'" in told.stderr
    assert "did you mean 'box'?" in told.stderr
    assert "target 'local' is this machine" in far.cli("compute", "clean", "local").stderr


# What old jobs left


def abandoned(project: Folder, root: Path, *, is_over: bool) -> None:
    """Run a step whose mlmake is killed; its job has ended after, or still runs."""
    above = project.root.parent
    project.write({"in": os.urandom(5000)})
    project.steps(f"""
        [held]
        command = "{HOLDS.format(above=above)}"
        inputs = {{ x = "in" }}
        compute = "box"
    """)
    running = project.start()
    until((above / "ready").exists)
    running.kill()
    running.wait()
    if is_over:
        (above / "go").touch()
        until(lambda: list(root.glob("jobs/*/exit.json")), "its end, while nobody watches")


def cleaned(project: Folder, *args: str) -> str:
    """What `compute clean` says; what is kept there is the steps' files and the module that goes with each."""
    return re.sub(r"[\d.]+ KiB", "SIZE", project.cli("compute", "clean", *args).stdout)


def test_clean_removes_what_ended_and_nobody_fetched(far: Folder, root: Path) -> None:
    abandoned(far, root, is_over=True)
    assert checked(far)["jobs"]["value"] == "0 running, 1 ended and not fetched"
    assert cleaned(far) == "box: 0 jobs, 0 environments and 0 B removed, SIZE kept\n"
    assert cleaned(far, "--older", "0s") == "box: 1 jobs, 0 environments and 0 B removed, SIZE kept\n"
    assert os.listdir(root / "jobs") == []
    assert cleaned(far, "--limit", "1KiB") == "box: 0 jobs, 0 environments and SIZE removed, 0 B kept\n"


def test_clean_leaves_what_runs(far: Folder, root: Path) -> None:
    abandoned(far, root, is_over=False)
    assert checked(far)["jobs"]["value"] == "1 running, 0 ended and not fetched"
    assert far.cli("compute", "clean", "--older", "0s").stdout.startswith("box: 0 jobs, 0 environments and ")
    (far.root.parent / "go").touch()
    assert far.cli().returncode == 0


def test_the_limit_of_the_table(far: Folder, box: Door, root: Path) -> None:
    far.head = f"[compute.box]\n{box.table(root, store_limit='1KiB')}\n"
    abandoned(far, root, is_over=True)
    assert cleaned(far, "--limit", "1GiB") == "box: 0 jobs, 0 environments and 0 B removed, SIZE kept\n"
    assert cleaned(far) == "box: 0 jobs, 0 environments and SIZE removed, 0 B kept\n"
    told = far.cli("compute", "clean", "--limit", "much")
    assert told.returncode == 2
    assert "much" in told.stderr


def test_clean_removes_containers_that_nobody_looks_after(boxed: Folder, engine: Engine, root: Path) -> None:
    boxed.steps('[one]\ncommand = "touch started; sleep 600"\ncompute = "box"\nenvironment = "deb"')
    running = boxed.start()
    until(lambda: list(root.glob("jobs/*/tree/started")))
    assert "box: 0 jobs, 0 containers and " in boxed.cli("compute", "clean", "--older", "0s").stdout
    assert len(containers(root, engine)) == 1
    running.kill()
    running.wait()
    (told,) = (files.read_json(str(path)) for path in root.glob("jobs/*/pid.json"))
    for pid in (told["runner"], told["process"]):  # as where the host ended them for want of memory
        kill(pid)
    assert len(containers(root, engine)) == 1
    cleaned = boxed.cli("compute", "clean", "--older", "0s")
    assert cleaned.stdout.startswith("box: 1 jobs, 1 containers and "), cleaned.stdout + cleaned.stderr
    assert containers(root, engine) == []


# --on


def test_a_build_on_another_target(far: Folder, root: Path) -> None:
    far.steps("""
        [one]
        command = "pwd > {outputs.x}"
        outputs = { x = "x" }
        [two]
        command = "cat {inputs.x} {inputs.x} > {outputs.y}"
        inputs = { x = "@one" }
        outputs = { y = "y" }
    """)
    told = far.cli("build", "--on", "box")
    assert told.returncode == 0, told.stdout + told.stderr
    assert all(line.startswith(f"{root}/jobs/") for line in far.read("y").splitlines())
    assert "on box" in far.cli("show", "1").stdout
    assert far.cli().stdout.startswith("0 ran, 2 fresh"), "where a step runs is no fact"
    told = far.cli("build", "--on", "bxo")
    assert told.returncode == 2
    assert "did you mean 'box'?" in told.stderr


def test_a_build_on_this_machine_while_its_host_is_down(far: Folder, box: Door, root: Path) -> None:
    far.head = f"[compute.box]\n{box.table(root, port=free_port())}\n"
    far.steps('[one]\ncommand = "pwd > {outputs.x}"\noutputs = { x = "x" }\ncompute = "box"')
    assert far.cli("--on", "local").returncode == 0
    assert far.read("x") == f"{far.root}\n"
