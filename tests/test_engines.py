"""The test ground itself: hosts in containers are reached, shared engines end, nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engines import USER, ContainerHost, Engine, container_host
from projects import until
from servers import HOST


def say(host: ContainerHost, command: str, user: str = USER) -> str:
    """What a command says over ssh."""
    options = (f"UserKnownHostsFile={host.known_hosts}", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes")
    words = [word for option in options for word in ("-o", option)]
    argv = ["ssh", "-F", "/dev/null", "-i", str(host.key), *words, "-p", str(host.port), f"{user}@{HOST}", command]
    run = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_host_lets_its_users_in(engine: Engine, tmp_path: Path) -> None:
    with container_host(engine, tmp_path) as host:
        assert say(host, "id -un; pwd; python3 -c 'print(1 + 1)'").split() == [USER, f"/home/{USER}", "2"]
        assert say(host, "id -un", "root") == "root\n"
        assert host.run("id", "-u") == "0\n"
        assert engine.docker("port", host.container).stdout == f"22/tcp -> {HOST}:{host.port}\n"
    assert host.container not in engine.docker("ps", "--all", "--format", "{{.Names}}").stdout


def test_two_hosts_are_two_machines(engine: Engine, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    tmpfs = ("--mount", "type=tmpfs,target=/small,tmpfs-size=1048576,tmpfs-mode=1777")
    with container_host(engine, tmp_path / "a") as a, container_host(engine, tmp_path / "b", *tmpfs) as b:
        say(a, "touch here")
        assert say(b, "ls").split() == []
        assert say(b, "head -c 2000000 /dev/zero > /small/x 2>/dev/null || echo full") == "full\n"


def test_a_host_that_was_off_keeps_its_port_and_key(engine: Engine, tmp_path: Path) -> None:
    with container_host(engine, tmp_path) as host:
        engine.docker("restart", "--time", "1", host.container)
        until(lambda: _greets(host))


def _greets(host: ContainerHost) -> bool:
    try:
        return say(host, "echo here") == "here\n"
    except AssertionError:
        return False


def test_an_engine_of_our_own_ends_with_its_last_user(tmp_path: Path) -> None:
    """Two processes that overlap see one engine; a third is killed and leaves it to the others."""
    if os.getuid() != 0 or Engine().answers():
        pytest.skip("only root starts an engine, and only where none answers")
    program = """
import sys, time
from pathlib import Path
from engines import docker_engine
with docker_engine() as engine:
    Path(sys.argv[1]).write_text(engine.host + " " + engine.docker("info", "--format", "{{.ID}}").stdout)
    while not Path(sys.argv[2]).exists(): time.sleep(0.02)
    assert engine.answers()
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "XDG_CACHE_HOME": str(tmp_path)}
    names = ("first", "killed", "last")
    users = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path / name, tmp_path / f"{name}.go"], env=env)
        for name in names
    ]
    try:
        until(lambda: all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in names))
        assert len({(tmp_path / name).read_text() for name in names}) == 1
        users[1].kill()
        for place in (0, 2):
            (tmp_path / f"{names[place]}.go").touch()
            assert users[place].wait(60) == 0
    finally:
        for user in users:
            user.kill()
            user.wait()
    engine = Engine((tmp_path / "first").read_text().split()[0])
    assert not engine.answers()
    folder = Path(engine.host.removeprefix("unix://")).parent
    assert not (folder / "dockerd.pid").exists()
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    shutil.rmtree(folder)
