"""Containers on a real engine: what `run_argv` promises is what happens, whichever docker program says it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from engines import Engine, base_image, clients
from mlmake.executors.containers import (
    Container,
    End,
    Labels,
    Mount,
    client_env,
    ended,
    find_argv,
    found,
    inspect_argv,
    named,
    remove_argv,
    run_argv,
)
from mlmake.model.docker import Engine as Told
from mlmake.model.docker import Ran, engine_argv, engine_told
from projects import until

PATIENCE = 60
OWNER = os.getuid() or 1000
"""Whom the files belong to: the engine makes root of the test's own user too easy."""
EATER = "x = []\nwhile True: x.append(bytearray(1 << 20))"


@dataclass(frozen=True)
class Played:
    """What a container did."""

    end: End
    log: str
    code: int


class Stage:
    """A job's folder on the engine's machine, and the docker program that runs containers on it."""

    def __init__(self, engine: Engine, folder: Path, program: str = "docker") -> None:
        self.engine = engine
        self.folder = folder
        self.program = program
        self.project = str(folder)
        for name in ("tree", "home"):
            (folder / name).mkdir()
            os.chown(folder / name, OWNER, OWNER)
        self.own = {**engine.env, "OWN": "not for jobs"}

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    def container(self, *argv: str) -> Container:
        job = uuid.uuid4().hex[:12]
        return Container(
            image=base_image(self.engine),
            name=named(str(self.folder), job),
            argv=argv,
            tree=str(self.tree),
            home=str(self.folder / "home"),
            labels=Labels(root=str(self.folder), project=self.project, run="1", step="fit[fold=0]", job=job),
            user=f"{OWNER}:{OWNER}",
            network=False,
        )

    def sh(self, script: str) -> Container:
        return self.container("sh", "-c", script)

    def ask(self, *argv: str) -> Ran:
        run = subprocess.run(
            argv, executable=self.program, env=self.own, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        return Ran(returncode=run.returncode, stdout=run.stdout, stderr=run.stderr)

    def start(self, container: Container) -> subprocess.Popen[bytes]:
        with (self.folder / container.name).open("wb") as log:
            return subprocess.Popen(
                run_argv(container),
                executable=self.program,
                env=client_env(container, self.own),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, container: Container, process: subprocess.Popen[bytes]) -> Played:
        try:
            code = process.wait(PATIENCE)
            log = self.log(container)
            state = self.ask(*inspect_argv(container.name)).stdout
            return Played(ended(container, code, state, log), log, code)
        finally:
            process.kill()
            assert self.ask(*remove_argv(container.name)).returncode == 0

    def play(self, container: Container) -> Played:
        return self.end(container, self.start(container))

    def log(self, container: Container) -> str:
        return (self.folder / container.name).read_text(errors="replace")

    def left(self) -> list[str]:
        return [each.name for each in found(self.ask(*find_argv(project=self.project)).stdout)]


@pytest.fixture
def stage(engine: Engine, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(engine, tmp_path)
    yield stage
    for name in stage.left():
        stage.ask(*remove_argv(name))
    assert stage.left() == []


@pytest.fixture(params=clients() or ["docker"])
def spoken(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Iterator[Stage]:
    """A stage for every docker program of this machine."""
    stage = Stage(engine, tmp_path, request.param)
    yield stage
    assert stage.left() == []


@pytest.mark.parametrize("code", [0, 1, 3, 125, 126, 127, 137, 255])
def test_exit_codes(stage: Stage, code: int) -> None:
    played = stage.play(stage.sh(f"echo one; echo two >&2; exit {code}"))
    assert played == Played(End(code), "one\ntwo\n", code)


def test_the_entrypoint_of_an_image_is_left_out(stage: Stage) -> None:
    name = f"mlmake-tests/{uuid.uuid4().hex[:12]}"
    (stage.folder / "Dockerfile").write_text(f'FROM {base_image(stage.engine)}\nENTRYPOINT ["echo", "not this:"]\n')
    stage.engine.docker("build", "--tag", name, str(stage.folder))
    try:
        assert stage.play(replace(stage.container("echo", "this"), image=name)).log == "this\n"
    finally:
        stage.engine.docker("rmi", name)


def test_lines_keep_their_order(stage: Stage) -> None:
    played = stage.play(stage.sh("for i in 1 2 3 4 5 6 7 8 9; do echo $i; echo $i >&2; done"))
    assert played.log == "".join(f"{i}\n{i}\n" for i in range(1, 10))


def test_bytes_that_are_no_text_stay(stage: Stage) -> None:
    container = stage.sh(r"printf '\377\000\r\n'")
    assert stage.play(container).end == End(0)
    assert (stage.folder / container.name).read_bytes() == b"\xff\0\r\n"


def test_standard_input_is_empty(stage: Stage) -> None:
    assert stage.play(stage.sh("cat; echo over")).log == "over\n"


def test_what_it_writes_belongs_to_the_user(stage: Stage) -> None:
    script = 'id -u; mkdir -p deep/er; echo x > deep/er/file; echo y > "$HOME/own"; python3 -c "import os; os.getcwd()"'
    assert stage.play(stage.sh(script)) == Played(End(0), f"{OWNER}\n", 0)
    for path in ("tree/deep", "tree/deep/er/file", "home/own"):
        stat = (stage.folder / path).stat()
        assert (stat.st_uid, stat.st_gid) == (OWNER, OWNER), path


def test_paths_are_the_same_inside(stage: Stage) -> None:
    odd = stage.tree / 'a "b", c:d\'\nöß'
    odd.mkdir()
    os.chown(odd, OWNER, OWNER)
    container = stage.sh('printf %s "$PWD"; cp "$0" there')
    (odd / "here").write_text("text")
    container = replace(container, tree=str(odd), folder=str(odd), argv=(*container.argv, f"{odd}/here"))
    assert stage.play(container) == Played(End(0), str(odd), 0)
    assert (odd / "there").read_text() == "text"


def test_nothing_else_of_the_machine_is_seen(stage: Stage) -> None:
    (stage.folder / "secret").write_text("x")
    assert stage.play(stage.sh(f"ls {stage.folder}")).log.split() == ["home", "tree"]


def test_inputs_are_read_only(stage: Stage) -> None:
    for name in ("a.csv", "b.csv", "in/c.csv"):
        file = stage.tree / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("1\n")
        os.chown(file, OWNER, OWNER)
    container = stage.sh(
        "for f in a.csv in/c.csv; do echo 2 > $f || rm -f $f; done 2>/dev/null; echo 2 > b.csv; cat *.csv"
    )
    container = replace(container, read_only=(f"{stage.tree}/a.csv", f"{stage.tree}/in"))
    assert stage.play(container).log == "1\n2\n"
    assert (stage.tree / "in/c.csv").read_text() == "1\n"
    assert (stage.tree / "b.csv").read_text() == "2\n"


def test_more_mounts(stage: Stage) -> None:
    (stage.folder / "data").mkdir()
    (stage.folder / "data/x").write_text("x\n")
    volume = f"mlmake-tests-{uuid.uuid4().hex[:12]}"
    mounts = (Mount.parse(f"{stage.folder}/data:/data:ro"), Mount.parse(f"{volume}:/cache"))
    container = replace(stage.sh("cat /data/x; touch /data/y || touch /cache/z && ls /cache"), mounts=mounts, user="")
    try:
        log = stage.play(container).log
    finally:
        stage.engine.docker("volume", "rm", volume)
    assert log.splitlines()[0] == "x"
    assert log.splitlines()[-1] == "z"
    assert "Read-only file system" in log


def test_odd_values_of_variables_arrive(stage: Stage) -> None:
    env = {"LINES_": "a\nb\n", "EMPTY": "", "QUOTES": "\"'$HOME`id`\\", "GREEK": "αβγ", "PATH": "/bin:/usr/bin"}
    shown = "import json, os; print(json.dumps(dict(os.environ)))"
    played = stage.play(replace(stage.container("python3", "-c", shown), env={**env, "PYTHONUTF8": "1"}))
    told = json.loads(played.log)
    assert {name: told.get(name) for name in env} == env
    assert told["HOME"] == str(stage.folder / "home")
    assert "OWN" not in told


def test_a_secret_stands_in_no_list_of_processes(stage: Stage) -> None:
    secret = uuid.uuid4().hex
    container = replace(stage.sh('echo "$TOKEN"; while [ ! -e go ]; do sleep 0.05; done'), env={"TOKEN": secret})
    process = stage.start(container)
    until(lambda: secret in stage.log(container))
    try:
        shown = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert any(container.name.encode() in each for each in shown)
        assert not any(secret.encode() in each for each in shown)
    finally:
        (stage.tree / "go").touch()
        assert stage.end(container, process).end == End(0)


def test_the_network_is_off_by_choice(stage: Stage) -> None:
    container = stage.sh("ls /sys/class/net")
    assert stage.play(container).log.split() == ["lo"]
    assert stage.play(replace(container, network=True)).log.split() == ["eth0", "lo"]


def test_limits_are_held(stage: Stage) -> None:
    script = "df -B1 --output=size /dev/shm | tail -1; cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || "
    script += "cat /sys/fs/cgroup/memory.max; cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || "
    script += "cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
    played = stage.play(replace(stage.sh(script), memory=64 << 20, cpus=0.5))
    assert played.log.split() == [str(64 << 20), str(64 << 20), "50000"]


def test_out_of_memory_is_told_apart_from_a_kill(stage: Stage) -> None:
    said = "out of memory: it was given 64.0 MiB; ask for more in `resources`"
    eats = replace(stage.container("python3", "-c", EATER), memory=64 << 20)
    assert stage.play(eats).end == End(137, said)
    kills = replace(stage.sh("kill -9 $$"), name=f"{eats.name}-2", memory=64 << 20)
    assert stage.play(kills).end == End(137)


def test_a_worker_out_of_memory(stage: Stage) -> None:
    """The main process survives it and fails with a code of its own."""
    container = replace(stage.container("sh", "-c", 'python3 -c "$0" || exit 4', EATER), memory=64 << 20)
    told = stage.play(container).end
    assert told.exit_code == 4
    assert told.problem.startswith("out of memory")


def test_a_worker_out_of_memory_that_was_replaced(stage: Stage) -> None:
    container = replace(stage.container("sh", "-c", 'python3 -c "$0" || echo again', EATER), memory=64 << 20)
    assert stage.play(container).end == End(0)


# what goes wrong, in the words of every docker program here


def test_no_such_program(spoken: Stage) -> None:
    for argv in (("nosuch", "x"), ("/no/such",)):
        told = spoken.play(spoken.container(*argv)).end
        assert told.exit_code == 127
        assert told.problem == f"the image has no program {argv[0]}, or not the interpreter that it names"


def test_no_interpreter(spoken: Stage) -> None:
    (spoken.tree / "run").write_text("#!/no/python\n")
    (spoken.tree / "run").chmod(0o755)
    assert spoken.play(spoken.container("./run")).end.problem.startswith("the image has no program ./run, or not the")


def test_no_program_at_all(spoken: Stage) -> None:
    (spoken.tree / "data.csv").write_text("1\n")
    told = spoken.play(spoken.container("./data.csv")).end
    assert told.exit_code == 126
    assert told.problem == "./data.csv is no program: it may not be executed"


def test_a_program_of_another_machine(spoken: Stage) -> None:
    (spoken.tree / "run").write_bytes(b"\x7fELF of another platform")
    (spoken.tree / "run").chmod(0o755)
    told = spoken.play(spoken.container("./run")).end
    assert told.exit_code == 126
    assert told.problem.startswith("./run is no program that this machine can run")


def test_no_such_image(spoken: Stage) -> None:
    for image in ("mlmake-tests/nosuch:1", f"sha256:{'1' * 64}"):
        told = spoken.play(replace(spoken.sh("true"), image=image)).end
        assert told == End(125, f"image {image} is not on the engine; pull or build it there")


def test_no_engine(spoken: Stage) -> None:
    container = spoken.sh("true")
    down = Stage.__new__(Stage)
    down.__dict__.update(spoken.__dict__, own={**spoken.own, "DOCKER_HOST": f"unix://{spoken.folder}/no.sock"})
    code = down.start(container).wait(PATIENCE)
    state = down.ask(*inspect_argv(container.name)).stdout
    told = ended(container, code, state, down.log(container))
    assert told.exit_code == 125
    assert told.problem.startswith(f"no Docker engine answers at unix://{spoken.folder}/no.sock; start it")
    trouble = engine_told(down.ask(*engine_argv()))
    assert str(trouble) == told.problem


def test_a_name_that_is_taken(spoken: Stage) -> None:
    first = spoken.sh("exit 0")
    spoken.start(first).wait(PATIENCE)
    told = ended(first, spoken.start(first).wait(PATIENCE), "", spoken.log(first))
    spoken.ask(*remove_argv(first.name))
    assert told.problem == f"another container has the name {first.name}; `docker rm -f {first.name}` removes it"


def test_more_than_there_is(spoken: Stage) -> None:
    assert spoken.play(replace(spoken.sh("true"), cpus=4000)).end.problem.startswith("the engine's machine has but")
    assert spoken.play(replace(spoken.sh("true"), memory=1 << 20)).end.problem.startswith("too little memory")
    mounts = (Mount("/no/such", "/mnt"),)
    told = spoken.play(replace(spoken.sh("true"), mounts=mounts)).end.problem
    assert told.startswith("/no/such, to be mounted, is not on the engine's machine")


def test_no_gpus(spoken: Stage) -> None:
    if "nvidia" in spoken.ask("docker", "info", "--format", "{{json .Runtimes}}").stdout:
        pytest.skip("the engine has GPUs")
    told = spoken.play(replace(spoken.sh("true"), gpus=(0, 1))).end
    assert told.exit_code != 0
    assert told.problem.startswith("the Docker engine has no GPUs for containers; install")


def test_an_engine_tells_of_itself(spoken: Stage) -> None:
    told = engine_told(spoken.ask(*engine_argv()))
    assert isinstance(told, Told)
    assert told.version[0].isdigit()
    assert told.cpus >= 1
    assert told.memory > 64 << 20


# cancelling, and what is left


def waiting(stage: Stage, script: str) -> tuple[Container, subprocess.Popen[bytes]]:
    """A container that has said `ready`."""
    container = stage.sh(script)
    process = stage.start(container)
    until(lambda: "ready" in stage.log(container))
    return container, process


FOREVER = "while :; do sleep 0.05; done"


def test_a_signal_to_the_docker_program_reaches_the_job(spoken: Stage) -> None:
    container, process = waiting(spoken, f"trap 'echo saved; exit 9' TERM; echo ready; {FOREVER}")
    process.send_signal(signal.SIGTERM)
    played = spoken.end(container, process)
    assert "saved" in played.log
    assert played.end == End(9)
    assert played.code == 9


def test_a_signal_reaches_the_program_behind_a_shell(spoken: Stage) -> None:
    inner = f"trap 'echo saved; exit 0' TERM; echo ready; {FOREVER}"
    container, process = waiting(spoken, f'trap "" TERM; (trap - TERM; sh -c "{inner}"); echo over')
    process.send_signal(signal.SIGTERM)
    played = spoken.end(container, process)
    assert "saved" in played.log
    assert played.log.endswith("over\n")


def test_a_container_outlives_its_docker_program(spoken: Stage) -> None:
    container, process = waiting(spoken, f"trap 'exit 9' TERM; echo ready; {FOREVER}")
    process.kill()
    code = process.wait(PATIENCE)
    told = ended(container, code, spoken.ask(*inspect_argv(container.name)).stdout, "")
    assert told.problem == "the docker program ended with -9, and the container still runs"
    assert [(each.name, each.runs) for each in found(spoken.ask(*find_argv(project=spoken.project)).stdout)] == [
        (container.name, True)
    ]
    spoken.ask("docker", "kill", "--signal", "TERM", container.name)
    until(lambda: '"Running":false' in spoken.ask(*inspect_argv(container.name)).stdout)
    assert spoken.end(container, process).end == End(9)


def test_removing_ends_what_runs(spoken: Stage) -> None:
    container, process = waiting(spoken, f"trap 'touch asked' TERM; echo ready; {FOREVER}")
    assert spoken.ask(*remove_argv(container.name)).returncode == 0
    assert not (spoken.tree / "asked").exists()
    assert spoken.end(container, process).end == End(137, "somebody removed its container")
    assert spoken.ask(*remove_argv(container.name)).returncode == 0


def test_a_project_finds_its_own(spoken: Stage) -> None:
    project = f'{spoken.project} "größe", a=b\nand more'
    mine = replace(spoken.sh("exit 3"), labels=Labels(root="/r", project=project, run="7", step="fit[a b]", job="x1"))
    other = spoken.sh("exit 3")
    for each in (mine, other):
        spoken.start(each).wait(PATIENCE)
    listed = found(spoken.ask(*find_argv(project=project)).stdout)
    assert [(each.name, each.runs, each.labels) for each in listed] == [(mine.name, False, mine.labels)]
    for each in (mine, other):
        spoken.ask(*remove_argv(each.name))
