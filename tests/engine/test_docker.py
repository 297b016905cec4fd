"""Builds whose steps run in containers, on a real engine: here, and behind a real sshd."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from engines import Engine, base_image, tcp_engine
from mlmake.engine.inside import logged
from mlmake.errors import UsageError
from mlmake.executors.base import Setting
from mlmake.executors.containers import Found, find_argv, found
from mlmake.executors.docker import transport_of
from mlmake.model.events import Event, StepStarted
from mlmake.state.database import connect
from mlmake.state.runs import Runs
from mlmake.transports.local import Local
from mlmake.transports.ssh import Ssh
from projects import Folder, until
from servers import Proxy, SshServer, ssh_server

HEAD = """
[compute.box]
kind = "docker"
root = "{root}"
host = "{host}"
{more}

[environments.deb]
image = "{image}"

[environments.own]
dockerfile = "image/Dockerfile"
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def boxed(project: Folder, engine: Engine, tmp_path: Path) -> Folder:
    """A project with a target `box`: the engine of this machine."""
    project.head = HEAD.format(root=tmp_path / "root", host=engine.host, image=base_image(engine), more="")
    return project


@pytest.fixture
def behind_ssh(project: Folder, engine: Engine, ssh: SshServer, tmp_path: Path) -> Folder:
    """The same, with the engine behind a host."""
    table = (
        f'via = "far"\n[compute.far]\nkind = "ssh"\nhost = "127.0.0.1"\nport = {ssh.port}\nuser = "{ssh.user}"\n'
        f'key = "{ssh.key}"\nknown_hosts = "{ssh.known_hosts}"\nconfig = "/dev/null"\nroot = "{tmp_path / "far"}"'
    )
    project.head = HEAD.format(root=tmp_path / "root", host=engine.host, image=base_image(engine), more=table)
    return project


@pytest.fixture
def port(engine: Engine) -> Iterator[Proxy]:
    with tcp_engine(engine) as (_, proxy):
        yield proxy


@pytest.fixture
def behind_tcp(project: Folder, engine: Engine, port: Proxy, tmp_path: Path) -> Folder:
    """The same, with an engine that is asked over TCP."""
    host = f"tcp://127.0.0.1:{port.port}"
    project.head = HEAD.format(root=tmp_path / "root", host=host, image=base_image(engine), more="")
    return project


STEPS = """
    [double]
    script = "steps/double.py"
    inputs = { text = "data/text.txt" }
    outputs = { twice = "build/twice.txt" }
    compute = "box"
    environment = "deb"
    [count]
    command = "wc -c < {inputs.twice} > {outputs.n}"
    inputs = { twice = "@double" }
    outputs = { n = "build/n.txt" }
"""
DOUBLE = """
import argparse, os
from helper import double
from mlmake.core import Run

parser = argparse.ArgumentParser()
parser.add_argument("--text")
parser.add_argument("--twice")
words = parser.parse_args()
print(sorted(os.listdir(".")), flush=True)
with open(words.text) as source, open(words.twice, "w") as target:
    target.write(double(source.read()))
Run.get_context().log("scale", 2)
"""


def containers(project: Folder, engine: Engine) -> list[Found]:
    """Those of a project; other tests have theirs on the same engine."""
    return found(engine.docker(*find_argv(project=str(project.root))[1:]).stdout)


def fill(project: Folder) -> None:
    files = {"steps/double.py": DOUBLE, "src/helper.py": "def double(text): return text * 2\n"}
    project.write({**files, "data/text.txt": "four", "undeclared.txt": "not for it"})
    project.steps(STEPS)


@pytest.mark.parametrize("where", ["boxed", "behind_ssh", "behind_tcp"])
def test_steps_in_containers_and_steps_here_share_data(where: str, request: pytest.FixtureRequest) -> None:
    project: Folder = request.getfixturevalue(where)
    fill(project)
    assert project.build().done == ["double", "count"]
    assert project.read("build/twice.txt") == "fourfour"
    assert project.read("build/n.txt").strip() == "8"
    assert "undeclared.txt" not in project.read(".mlmake/logs/1/p.double.log")
    assert (Path(project.root) / "build/twice.txt").stat().st_uid == os.getuid()
    assert logged(project.home, 1, "p.double") == {"scale": 2}, "what it logs comes here, though mlmake is not there"
    assert project.build().done == []
    project.write({"data/text.txt": "other"})
    assert project.build().done == ["double", "count"]


def test_nothing_stays_on_the_engine(boxed: Folder, engine: Engine) -> None:
    fill(boxed)
    boxed.build()
    assert containers(boxed, engine) == []


def test_a_dockerfile_is_built_and_built_again_when_it_changes(boxed: Folder, engine: Engine) -> None:
    boxed.write({"image/Dockerfile": f"FROM {base_image(engine)}\nRUN echo one > /made\n"})
    boxed.steps(
        '[a]\ncommand = "cat /made > {outputs.o}"\noutputs = { o = "o.txt" }\ncompute = "box"\nenvironment = "own"'
    )
    assert boxed.build().done == ["a"]
    assert boxed.read("o.txt") == "one\n"
    assert boxed.build().done == []
    boxed.write({"image/added.txt": "more"})
    assert boxed.states() == {"a": "stale"}
    assert boxed.reasons("a")[0] == "context image changed"
    boxed.write({"image/Dockerfile": f"FROM {base_image(engine)}\nRUN echo two > /made\n"})
    assert boxed.build().done == ["a"]
    assert boxed.read("o.txt") == "two\n"


@pytest.mark.parametrize(
    ("command", "extra", "message"),
    [
        ('["sh", "-c", "exit 3"]', "", "exit code 3"),
        ('["sh", "-c", "kill -9 $$"]', "", "exit code 137"),
        (
            '["python3", "-c", "x = [bytearray(1 << 20) for _ in range(10000)]"]',
            'resources = { memory = "64MiB" }',
            "out of memory: it was given 64.0 MiB",
        ),
        ('["nosuch"]', "", "the image has no program nosuch"),
    ],
)
def test_how_a_container_ends_is_told(boxed: Folder, command: str, extra: str, message: str) -> None:
    boxed.steps(f'[a]\ncommand = {command}\ncompute = "box"\nenvironment = "deb"\n{extra}')
    assert message in boxed.build().message("a")


def test_an_image_that_is_nowhere(boxed: Folder) -> None:
    boxed.head = boxed.head.replace('image = "mlmake', 'image = "127.0.0.1:1/mlmake')
    boxed.steps('[a]\ncommand = "true"\ncompute = "box"\nenvironment = "deb"')
    assert "image 127.0.0.1:1/mlmake" in boxed.build().message("a")


def test_an_engine_that_is_down(project: Folder, tmp_path: Path) -> None:
    project.head = HEAD.format(root=tmp_path, host=f"unix://{tmp_path}/no.sock", image="any", more="")
    project.steps('[a]\ncommand = "true"\ncompute = "box"\nenvironment = "deb"')
    assert f"no Docker engine answers at unix://{tmp_path}/no.sock" in project.build().message("a")


@pytest.mark.parametrize("where", ["boxed", "behind_ssh"])
def test_what_a_container_used_is_remembered(where: str, request: pytest.FixtureRequest) -> None:
    project: Folder = request.getfixturevalue(where)
    work = "import time; held = bytearray(60 << 20)\nwhile time.process_time() < 0.5: pass"
    project.write({"work.py": work})
    project.steps('[a]\nscript = "work.py"\ncompute = "box"\nenvironment = "deb"')
    assert project.build().done == ["a"]
    with closing(connect(project.home, create=False)) as connection:
        (ran,) = Runs(connection).steps_of(1)
    assert 0.5 <= ran.cpu_seconds < 60
    assert 60 << 20 <= ran.peak_memory < 4 << 30


@pytest.mark.parametrize("where", ["boxed", "behind_tcp"])
def test_ctrl_c_ends_the_container(where: str, request: pytest.FixtureRequest, engine: Engine) -> None:
    project: Folder = request.getfixturevalue(where)
    project.steps('[a]\ncommand = "echo started; sleep 600"\ncompute = "box"\nenvironment = "deb"')
    process = project.start()
    until(lambda: "started" in project.log(".mlmake/logs/1/p.a.log"))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert containers(project, engine) == []


@pytest.mark.parametrize("where", ["boxed", "behind_tcp"])
def test_a_killed_build_finds_its_container_again(where: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    boxed: Folder = request.getfixturevalue(where)
    counter = tmp_path / "count"
    counter.mkdir()
    boxed.head = boxed.head.replace("[environments.deb]", f'mounts = ["{counter}:{counter}"]\n[environments.deb]')
    boxed.steps(
        f'[a]\ncommand = "echo x >> {counter}/ran; sleep 2; echo ok > {{outputs.o}}"\n'
        'outputs = { o = "o.txt" }\ncompute = "box"\nenvironment = "deb"'
    )
    process = boxed.start()
    until((counter / "ran").exists)
    process.kill()
    process.wait()
    assert boxed.build().done == ["a"]
    assert (counter / "ran").read_text() == "x\n"
    assert boxed.read("o.txt") == "ok\n"


def test_a_container_needs_an_image_and_an_image_a_container(boxed: Folder) -> None:
    boxed.steps('[a]\ncommand = "true"\ncompute = "box"')
    with pytest.raises(UsageError, match="no image is named"):
        boxed.build()
    boxed.steps('[a]\ncommand = "true"\nenvironment = "deb"')
    with pytest.raises(UsageError, match="needs a compute target of kind docker"):
        boxed.build()


def test_a_mount_that_is_none(boxed: Folder) -> None:
    boxed.head = boxed.head.replace("[environments.deb]", 'mounts = ["data"]\n[environments.deb]')
    boxed.steps('[a]\ncommand = "true"\ncompute = "box"\nenvironment = "deb"')
    told = boxed.cli()
    assert told.returncode == 2
    assert "compute.box.mounts: expected 'source:target' or 'source:target:ro', got 'data'" in told.stderr


def test_a_secret_reaches_the_step_and_no_file(boxed: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret-4711")
    monkeypatch.setenv("STAGE", "test")
    boxed.head = boxed.head.replace(
        "[environments.own]", 'secrets = ["TOKEN"]\nvariables = ["STAGE"]\n[environments.own]'
    )
    boxed.steps(
        '[a]\ncommand = "test ${#TOKEN} = 11 && echo $STAGE > {outputs.o}; touch started; sleep 1"\n'
        'outputs = { o = "o.txt" }\ncompute = "box"\nenvironment = "deb"'
    )
    seen: list[Path] = []

    def look(_: Event) -> None:
        seen.extend(holding(tmp_path / "root", b"secret-4711"))

    assert boxed.build(sink=look).done == ["a"]
    assert boxed.read("o.txt") == "test\n"
    assert seen == holding(Path(boxed.root), b"secret-4711") == []


def holding(folder: Path, text: bytes) -> list[Path]:
    """The files under a folder that hold a text; others may come and go meanwhile."""
    found = []
    for top, _, files in os.walk(folder):
        for path in (Path(top, name) for name in files):
            with suppress(OSError):
                found += [path] if path.is_file() and text in path.read_bytes() else []
    return found


def test_what_is_written_behind_a_port_comes_back_as_it_is(behind_tcp: Folder, engine: Engine) -> None:
    script = (
        'mkdir -p "$1/deep/empty" && printf x > "$1/deep/a \\"b\\"\nc:d" && printf y > "$1/run" && chmod +x "$1/run" '
        '&& ln -s run "$1/link" && printf z > target && ln -s "$PWD/target" "$2" && ! grep -q "$PWD" /proc/mounts'
    )
    behind_tcp.write({"script.sh": script})
    behind_tcp.steps("""
        [a]
        command = ["/bin/sh", "script.sh", "{outputs.many}", "{outputs.one}"]
        outputs = { many = "build/many/", one = "build/one" }
        compute = "box"
        environment = "deb"
        [b]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/x", y = "build/y" }
        compute = "box"
        environment = "deb"
        [c]
        command = "exit 3"
        compute = "box"
        environment = "deb"
        [d]
        command = ["nosuch"]
        compute = "box"
        environment = "deb"
    """)
    built = behind_tcp.build(keep_going=True)
    assert built.done == ["a"]
    many = behind_tcp.root / "build" / "many"
    assert sorted(str(path.relative_to(many)) for path in many.rglob("*")) == [
        *("deep", 'deep/a "b"\nc:d', "deep/empty", "link", "run")
    ]
    assert os.access(many / "run", os.X_OK)
    assert behind_tcp.read("build/one") == "z"
    assert built.message("b").startswith("it ended well but did not write its output y (build/y)")
    assert built.message("c") == "exit code 3"
    assert built.message("d") == "the image has no program nosuch, or not the interpreter that it names"
    assert containers(behind_tcp, engine) == []


def test_a_connection_to_a_port_that_breaks(behind_tcp: Folder, engine: Engine, port: Proxy) -> None:
    behind_tcp.steps('[a]\ncommand = "echo started; sleep 600"\ncompute = "box"\nenvironment = "deb"')

    def look(event: Event) -> None:
        if isinstance(event, StepStarted):
            until(lambda: "started" in behind_tcp.log(".mlmake/logs/1/p.a.log"))
            port.cut()

    assert "the container still runs" in behind_tcp.build(sink=look).message("a")
    assert containers(behind_tcp, engine) == []


@pytest.mark.parametrize("where", ["behind_tcp", "behind_ssh"])
def test_a_dockerfile_is_built_with_its_files_on_an_engine_elsewhere(
    where: str, request: pytest.FixtureRequest, engine: Engine, tmp_path: Path
) -> None:
    project: Folder = request.getfixturevalue(where)
    copied = (
        f"COPY . /context\nLABEL test={tmp_path}\nRUN ls -lR /context > /listed && cat /context/in/link >> /listed\n"
    )
    project.write(
        {
            "image/Dockerfile": f"FROM {base_image(engine)}\n{copied}",
            "image/.dockerignore": "left-out",
            "image/left-out": "",
            "image/in/word": "hello",
            "image/in/run": "",
        }
    )
    folder = project.root / "image" / "in"
    (folder / "run").chmod(0o755)
    (folder / "link").symlink_to("word")
    (folder / "empty").mkdir()
    project.steps(
        '[a]\ncommand = "cp /listed {outputs.o}"\noutputs = { o = "o.txt" }\ncompute = "box"\nenvironment = "own"'
    )
    assert project.build().done == ["a"]
    listed = project.read("o.txt")
    assert "left-out" not in listed
    assert listed.endswith("hello")
    found = {line.split()[8]: line.split()[0] for line in listed.splitlines() if len(line.split()) > 8}
    assert found == {
        "Dockerfile": "-rw-r--r--",
        "in": "drwxr-xr-x",
        "empty": "drwxr-xr-x",
        "link": "lrwxrwxrwx",
        "run": "-rwxr-xr-x",
        "word": "-rw-r--r--",
    }
    assert project.build().done == []
    assert bool(holding(tmp_path / "far", b"hello")) == (where == "behind_ssh"), "a host was sent what its engine reads"
    listing = engine.docker("images", "--quiet", "--filter", f"label=test={tmp_path}").stdout.split()
    engine.docker("rmi", "--force", *listing)


def test_a_dockerfile_that_cannot_be_built_elsewhere(behind_ssh: Folder, engine: Engine, tmp_path: Path) -> None:
    behind_ssh.write({"image/Dockerfile": f"FROM {base_image(engine)}\nRUN echo so much; exit 5\n"})
    behind_ssh.steps('[a]\ncommand = "true"\ncompute = "box"\nenvironment = "own"')
    assert "Dockerfile cannot be built: " in behind_ssh.build().message("a")
    assert "so much" in behind_ssh.read(".mlmake/logs/1/p.a.log")
    until(lambda: not os.listdir(tmp_path / "far" / "jobs"))


@pytest.mark.parametrize(
    ("host", "named", "way"),
    [
        ("", "", Local),
        ("unix:///run/docker.sock", "", Local),
        ("tcp://hub:2376", "", Local),
        ("ssh://ann@hub", "", Ssh),
        ("ssh://ann@hub", "unix:///run/docker.sock", Local),
    ],
)
def test_the_way_to_an_engine(host: str, named: str, way: type, boxed: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """`host` is what DOCKER_HOST says, `named` what the table does."""
    monkeypatch.setenv("DOCKER_HOST", host)
    boxed.steps('[a]\ncommand = "true"')
    compute = boxed.load().computes["box"]
    compute = replace(compute, options={**compute.options, "host": named})
    assert isinstance(transport_of(compute, Setting(token="")), way)


def test_no_way_to_an_engine(boxed: Folder, engine: Engine) -> None:
    boxed.head = boxed.head.replace(engine.host, "fd://3")
    boxed.steps('[a]\ncommand = "true"\ncompute = "box"\nenvironment = "deb"')
    with pytest.raises(UsageError, match=r"compute\.box\.host: mlmake knows no way to an engine at 'fd://3'"):
        boxed.build()


def test_a_step_finds_its_run_of_mlflow(boxed: Folder, mlflow: str, tmp_path: Path) -> None:
    boxed.head = f'[project]\nname = "boxed"\n[tracking]\nmlflow = "{mlflow}"\n{boxed.head}'
    boxed.steps(
        """
        [where]
        command = "echo $(echo -n $MLFLOW_TRACKING_URI | md5sum) $MLFLOW_RUN_ID > {outputs.x}"
        outputs = { x = "x" }
        compute = "box"
        environment = "deb"
        """
    )
    assert boxed.build().done == ["where"]
    from mlflow import MlflowClient

    address, _, run = boxed.read("x").split()
    assert address == hashlib.md5(mlflow.encode()).hexdigest()
    found = MlflowClient(mlflow).get_run(run)
    assert (found.info.run_name, found.info.status) == ("where", "FINISHED")
    assert mlflow.encode() not in b"".join(each.read_bytes() for each in tmp_path.glob("root/**/*") if each.is_file())
