"""`mlmake run`: one command on a target with the project's files, on the real command line."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from pathlib import Path

import pytest

from engines import Engine, base_image
from hosts import Door
from mlmake.executors.containers import find_argv, found
from mlmake.transports.agent import guard
from projects import Folder, until
from servers import free_port

FOREVER = "while :; do sleep 0.05; done"


@pytest.fixture
def far(far: Folder) -> Folder:
    declare(far, far.head)
    return far


def declare(project: Folder, text: str) -> None:
    """Write a file with these tables; it needs a step too."""
    project.toml(f'{text}\n[pipelines.p.steps.one]\ncommand = "true"\n')


def on(project: Folder, *words: str) -> tuple[int, str]:
    """Run on `box`; exit code, and what it printed."""
    told = project.cli("run", "--on", "box", *words)
    return told.returncode, told.stdout + told.stderr


def there(project: Folder, script: str, *words: str) -> tuple[int, str]:
    return on(project, *words, "--", "sh", "-c", script)


@pytest.mark.parametrize("target", ["box", "local"])
def test_its_exit_code_is_that_of_the_command(far: Folder, target: str) -> None:
    for script, code in (("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)):
        assert far.cli("run", "--on", target, "--", "sh", "-c", script).returncode == code


def test_what_it_prints_comes_as_it_is(far: Folder) -> None:
    words = ("run", "--on", "box", "--", "printf", "one\\n\\377\\0two")
    process = far.start(*words)
    assert isinstance(process.stdout, io.TextIOWrapper)
    assert process.stdout.buffer.read() == b"one\n\xff\0two"
    assert process.wait() == 0


def test_the_projects_files_are_there_but_for_what_git_ignores(far: Folder, root: Path) -> None:
    far.write(
        {"steps/run": "#!/bin/sh\ncat a/b\n", "a/b": "text\n", ".gitignore": "big\n", "big/x": "", "src/ours.py": ""}
    )
    (far.root / "steps/run").chmod(0o755)
    subprocess.run(["git", "init", "-q"], cwd=far.root, check=True)
    code, said = there(far, "pwd; ./steps/run; ls big .git .mlmake; python3 -c 'import ours'")
    assert said.splitlines()[0].startswith(f"{root}/jobs/run-")
    assert said.splitlines()[1] == "text"
    assert all(f"cannot access '{name}'" in said for name in ("big", ".git", ".mlmake"))
    assert code == 0
    until(lambda: os.listdir(root / "jobs") == [], "nothing of it is remembered")


def test_what_it_wrote_and_is_named_comes_back(far: Folder) -> None:
    far.write({"folder/mine": "mine", "folder/old": "old", "table": "before"})
    os.link(far.root / "table", far.root / "other")
    folder = "echo made > folder/made; echo new > folder/old"
    script = f"echo new > table; {folder}; echo lost > lost; mkdir -p d/e; echo 1 > d/e/f"
    assert there(far, script, "--out", "table", "-o", "folder/", "-o", "./d/e/f") == (0, "")
    assert far.read("table") == "new\n"
    assert far.read("other") == "before", "a file is replaced, and none written into"
    assert {name: far.read(f"folder/{name}") for name in os.listdir(far.root / "folder")} == {
        "mine": "mine",
        "old": "new\n",
        "made": "made\n",
    }
    assert far.read("d/e/f") == "1\n"
    assert not far.has("lost")
    assert os.listdir(far.root / ".mlmake") == [".gitignore"]


def test_what_it_did_not_write_is_told(far: Folder) -> None:
    assert there(far, "true", "-o", "x") == (1, "mlmake: sh ended well but did not write x\n")
    told = far.cli("run", "-o", "x", "--", "true")
    assert (told.returncode, told.stderr) == (1, "mlmake: true ended well but did not write x\n")
    assert there(far, "echo half > x; exit 3", "-o", "x", "-o", "y") == (3, "")
    assert far.read("x") == "half\n"
    for path in ("../x", "/etc/passwd", "."):
        code, said = there(far, "true", "-o", path)
        assert code == 2
        assert f"--out {path}: what comes back stands in the project" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_there(far: Folder, root: Path, number: signal.Signals) -> None:
    running = far.start("run", "--on", "box", "--", "sh", "-c", f"sleep 600 & touch ready; {FOREVER}")
    until(lambda: list(root.glob("jobs/*/tree/ready")))
    running.send_signal(number)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert guard.marked(f"{root}/jobs/") == []
    until(lambda: os.listdir(root / "jobs") == [])


def test_it_ends_there_when_nobody_listens(far: Folder, root: Path) -> None:
    chatting = "touch ready; while :; do echo word; sleep 0.05; done"
    running = far.start("run", "--on", "box", "--", "sh", "-c", chatting)
    until(lambda: list(root.glob("jobs/*/tree/ready")))
    assert running.stdout
    running.stdout.close()
    assert running.wait(timeout=60) == 128 + signal.SIGPIPE
    assert guard.marked(f"{root}/jobs/") == []
    until(lambda: os.listdir(root / "jobs") == [])


def test_what_goes_wrong(far: Folder, box: Door, root: Path) -> None:
    code, said = on(far, "--", "no-such-program")
    assert (code, said) == (
        2,
        "mlmake: cannot run no-such-program: cannot start no-such-program: No such file or directory\n",
    )
    assert far.cli("run", "--on", "bxo", "--", "true").stderr == (
        "mlmake: unknown compute target 'bxo'\n        did you mean 'box'?\n"
    )
    told = far.cli("run", "--on", "box")
    assert told.returncode == 2
    assert "run what? Give a command after --" in told.stderr
    code, said = on(far, "-e", "deb", "--", "true")
    assert code == 2
    assert "--environment is for containers" in said
    declare(far, f"[compute.box]\n{box.table(root, known_hosts='/dev/null')}")
    code, said = on(far, "--", "true")
    assert code == 2
    assert "has a key that is not known here" in said


def test_of_a_pool_its_first_member(far: Folder, box: Door, root: Path) -> None:
    more = f"[compute.gone]\n{box.table(root, port=free_port())}\n"
    far.toml(f'{far.read("pipelines.toml")}{more}[compute.farm]\nkind = "pool"\nof = ["box", "gone"]\n')
    told = far.cli("run", "--on", "farm", "--", "pwd")
    assert told.stdout.startswith(f"{root}/jobs/")


def test_in_a_container(project: Folder, engine: Engine, root: Path) -> None:
    table = f'kind = "docker"\nroot = "{root}"\nhost = "{engine.host}"\nnetwork = false'
    declare(project, f'[compute.box]\n{table}\n[environments.deb]\nimage = "{base_image(engine)}"')
    project.write({"in": "text\n"})
    code, said = there(project, "cat in; cat in > out; exit 4", "-e", "deb", "-o", "out")
    assert (code, said) == (4, "text\n")
    assert project.read("out") == "text\n"
    assert (project.root / "out").stat().st_uid == os.getuid()
    assert found(engine.docker(*find_argv(root=str(root))[1:]).stdout) == []
    code, said = there(project, "true")
    assert code == 2
    assert "no image is named for target 'box'" in said
    assert "name one with --environment; images: deb" in said


def test_here_it_is_held_to_what_it_is_asked(project: Folder) -> None:
    declare(project, "")
    told = project.cli("run", "--out", "x", "--", "true")
    assert (told.returncode, "true ended well but did not write x" in told.stderr) == (1, True)
    assert project.cli("run", "--out", "x", "--", "touch", "x").returncode == 0
    told = project.cli("run", "--environment", "torch", "--", "true")
    assert (told.returncode, "--environment is for containers" in told.stderr) == (2, True)
