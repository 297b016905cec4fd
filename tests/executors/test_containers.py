"""Command lines of containers, and what their ends mean: no engine is asked."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from mlmake.executors.containers import (
    Container,
    End,
    Found,
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
from mlmake.executors.copying import run_copied_argv

LABELS = Labels(root="/home/ann/.mlmake", project="/home/ann/flights", run="7", step="fit[fold=0]", job="a1b2")
TREE = "/home/ann/.mlmake/jobs/a1b2/tree"
HOME = "/home/ann/.mlmake/jobs/a1b2/home"
PLAIN = Container(image="sha256:1f", name="mlmake-a1b2", argv=("sh", "-c", "true"), tree=TREE, home=HOME, labels=LABELS)

AROUND = r"""trap : HUP INT QUIT USR1 USR2; mlmake_asked=; trap mlmake_asked=1 TERM
exec 2>/dev/null; (exec "$@" 2>&1); mlmake_code=$?; mlmake_left=200
while [ "$mlmake_asked" ] && [ $mlmake_left -gt 0 ] && kill -0 -1 && sleep 0.05
do mlmake_left=$((mlmake_left - 1)); done
mlmake_told() { read -r mlmake_n < "/sys/fs/cgroup/$2" && echo "$1 $mlmake_n"; }
{ mlmake_told memory memory.peak || mlmake_told memory memory/memory.max_usage_in_bytes
mlmake_told cpu cpu.stat || mlmake_told cpu cpuacct/cpuacct.usage; } > "$HOME/.mlmake-use"; exit $mlmake_code"""


def values(argv: tuple[str, ...], option: str) -> list[str]:
    """What stands behind an option, each time."""
    return [argv[place + 1] for place, word in enumerate(argv[: argv.index("sha256:1f")]) if word == option]


def test_the_whole_command_line() -> None:
    container = replace(PLAIN, user="1000:100", cpus=1.5, memory=512 << 20, gpus=(2, 3), network=False)
    assert run_argv(container) == (
        *("docker", "run", "--name", "mlmake-a1b2"),
        *("--label", "mlmake.root=/home/ann/.mlmake", "--label", "mlmake.project=/home/ann/flights"),
        *("--label", "mlmake.run=7"),
        *("--label", "mlmake.step=fit[fold=0]", "--label", "mlmake.job=a1b2"),
        *("--pull", "never", "--init", "--entrypoint", "", "--log-driver", "none"),
        *("--security-opt", "label=disable", "--user", "1000:100", "--cpus", "1.5"),
        *("--memory", "536870912", "--memory-swap", "536870912", "--shm-size", "536870912"),
        *("--gpus", '"device=2,3"', "--network", "none"),
        *("--mount", f"type=bind,source={TREE},target={TREE}"),
        *("--mount", f"type=bind,source={HOME},target={HOME}", "--workdir", TREE),
        *("--env", f"HOME={HOME}", "--env", "TINI_KILL_PROCESS_GROUP=1", "--env", "CUDA_VISIBLE_DEVICES=0,1"),
        *("sha256:1f", "/bin/sh", "-c", AROUND, "mlmake", "sh", "-c", "true"),
    )


def test_what_is_not_asked_for_is_not_there() -> None:
    assert not {"--user", "--cpus", "--memory", "--gpus", "--network", "--rm", "--tty"} & set(run_argv(PLAIN))


def test_the_same_container_gives_the_same_words() -> None:
    assert run_argv(PLAIN) == run_argv(replace(PLAIN))


@pytest.mark.parametrize(("cpus", "word"), [(1.0, "1"), (0.5, "0.5"), (16.0, "16"), (0.01, "0.01"), (10.0, "10")])
def test_cpus(cpus: float, word: str) -> None:
    assert values(run_argv(replace(PLAIN, cpus=cpus)), "--cpus") == [word]


def test_values_of_variables_stand_in_no_command_line() -> None:
    container = replace(PLAIN, env={"TOKEN": "s3cret", "EMPTY": "", "LINES": "a\nb", "DOCKER_PASSWORD": "hush"})
    argv = run_argv(container)
    assert {"TOKEN", "EMPTY", "LINES", "DOCKER_PASSWORD"} <= set(values(argv, "--env"))
    assert not any("s3cret" in word or "hush" in word for word in argv)
    env = client_env(container, {"PATH": "/usr/bin", "TOKEN": "another"})
    assert env == {"PATH": "/usr/bin", **container.env}


def test_what_would_steer_the_docker_program_does_not_reach_it() -> None:
    job = {"PATH": "/opt/bin", "HOME": "/root", "DOCKER_HOST": "tcp://far", "SEED": "7"}
    own = {"PATH": "/usr/bin", "HOME": "/home/ann"}
    container = replace(PLAIN, env=job)
    assert client_env(container, own) == {**own, "SEED": "7"}
    told = values(run_argv(container), "--env")
    assert {"PATH=/opt/bin", "DOCKER_HOST=tcp://far", "SEED", f"HOME={HOME}"} <= set(told)
    assert "HOME=/root" not in told


def test_gpus_are_counted_from_0_inside() -> None:
    told = {"CUDA_VISIBLE_DEVICES": "5", "NVIDIA_VISIBLE_DEVICES": "5"}
    assert "CUDA_VISIBLE_DEVICES=0" in values(run_argv(replace(PLAIN, gpus=(5,), env=told)), "--env")
    without = values(run_argv(replace(PLAIN, env=told)), "--env")
    assert "NVIDIA_VISIBLE_DEVICES=void" in without
    assert "NVIDIA_VISIBLE_DEVICES" not in without


def test_mounts() -> None:
    container = replace(
        PLAIN,
        home=f"{TREE}/.home",
        mounts=(Mount.parse("/data:/mnt/data:ro"), Mount.parse("cache:/cache"), Mount.parse("/a:/b:rw")),
        read_only=(f"{TREE}/data/x.csv", f"{TREE}/data", f"{TREE}/data.csv", f"{TREE}/data"),
    )
    assert values(run_argv(container), "--mount") == [
        f"type=bind,source={TREE},target={TREE}",
        f"type=bind,source={TREE}/data,target={TREE}/data,readonly",
        f"type=bind,source={TREE}/data.csv,target={TREE}/data.csv,readonly",
        "type=bind,source=/data,target=/mnt/data,readonly",
        "type=volume,source=cache,target=/cache",
        "type=bind,source=/a,target=/b",
    ]


def test_odd_paths_are_quoted_as_csv() -> None:
    assert Mount('/a,"b"', "/c:d\ne").option() == 'type=bind,"source=/a,""b""","target=/c:d\ne"'


@pytest.mark.parametrize("text", ["", "x", "/x", "/x:", ":/x", "/x:y", "/x:/y:no", "a b:/x", "./x:/y", "~/x:/y"])
def test_no_mount(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected .* got"):
        Mount.parse(text)


def test_a_container_that_files_are_copied_into() -> None:
    mounts = (Mount("/data", "/data", True),)
    container = replace(PLAIN, is_copied=True, brought=("out put/", "b/x"), read_only=(f"{TREE}/in",), mounts=mounts)
    shell, option, script, name, *words = run_copied_argv(container)
    assert (shell, option, name) == ("/bin/sh", "-c", "mlmake")
    assert [line for line in script.splitlines() if "docker" in line] == [
        'docker create "$@" > /dev/null || exit 125',
        f"said=$(docker cp {TREE} mlmake-a1b2:/home/ann/.mlmake/jobs/a1b2 2>&1) || said",
        "docker start --attach mlmake-a1b2 || exit $?",
        f"said=$(docker cp --follow-link 'mlmake-a1b2:{TREE}/out put' {TREE}/. 2>&1) || case $said in",
        f"said=$(docker cp --follow-link mlmake-a1b2:{TREE}/b/x {TREE}/b/. 2>&1) || case $said in",
    ]
    assert values(tuple(words), "--mount") == ["type=bind,source=/data,target=/data,readonly"]
    assert values(tuple(words), "--workdir") == [TREE]
    said = "result\nCannot connect to the Docker daemon at tcp://box:2375. Is the docker daemon running?\n"
    assert ended(container, 125, state(), said) == End(
        125,
        "what it wrote cannot be had from its container: no Docker engine answers at tcp://box:2375; "
        "start it, or correct the target's `host`",
    )


def test_names() -> None:
    assert re.fullmatch("mlmake-[0-9a-f]{8}-a1.B_2-x", named("/home/ann/.mlmake", "a1.B_2-x"))
    assert named("/r", "größe/1 2").endswith("-gr__e_1_2")
    assert named("/home/ann/.mlmake", "x") != named("/home/bob/.mlmake", "x") == named("/home/bob/.mlmake", "x")


def test_what_looks_after_a_container() -> None:
    assert inspect_argv("x") == ("docker", "container", "inspect", "--format", "{{json .State}}", "x")
    assert remove_argv("x", "y") == ("docker", "rm", "--force", "--volumes", "x", "y")


def test_found() -> None:
    assert "label=mlmake.project=/home/ann/flights" in find_argv(project="/home/ann/flights")
    listing = "".join(
        json.dumps([name * 64, name, state, LABELS.root, LABELS.project, LABELS.run, LABELS.step, LABELS.job]) + "\n"
        for name, state in (("a", "running"), ("b", "exited"), ("c", "created"))
    )
    assert found(listing) == [Found(id=name * 64, name=name, runs=name == "a", labels=LABELS) for name in "abc"]
    assert found("") == []


# the end


def state(**told: object) -> str:
    """As Docker 20.10 tells it, but for what is given."""
    usual = {
        "Status": "exited",
        "Running": False,
        "OOMKilled": False,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "2026-11-22T04:44:12.880443348Z",
    }
    return json.dumps({**usual, **told})


NEVER = "0001-01-01T00:00:00Z"
GIVEN = replace(PLAIN, memory=512 << 20)


@pytest.mark.parametrize("code", [0, 1, 3, 125, 126, 127, 137, 143, 255])
def test_the_exit_code_is_the_jobs(code: int) -> None:
    assert ended(GIVEN, code, state(ExitCode=code), "docker: command not found\n") == End(code)


def test_the_exit_code_is_the_containers_where_the_docker_program_was_killed() -> None:
    assert ended(GIVEN, -9, state(ExitCode=3), "") == End(3)


def test_out_of_memory() -> None:
    said = "out of memory: it was given 512.0 MiB; ask for more in `resources`"
    assert ended(GIVEN, 137, state(ExitCode=137, OOMKilled=True), "") == End(137, said)
    assert ended(GIVEN, 1, state(ExitCode=1, OOMKilled=True), "") == End(1, said)
    assert ended(PLAIN, 137, state(ExitCode=137, OOMKilled=True), "") == End(137, "out of memory")


def test_a_child_that_was_out_of_memory_does_not_fail_what_succeeds() -> None:
    assert ended(GIVEN, 0, state(OOMKilled=True), "") == End(0)


def test_one_that_never_started() -> None:
    error = 'could not select device driver "" with capabilities: [[gpu]]'
    told = ended(GIVEN, 125, state(Status="created", ExitCode=128, Error=error, StartedAt=NEVER), "")
    assert told.exit_code == 128
    assert told.problem.startswith("the Docker engine has no GPUs for containers; install")


def test_one_that_still_runs() -> None:
    told = ended(GIVEN, -9, state(Running=True, Status="running"), "")
    assert told == End(255, "the docker program ended with -9, and the container still runs")


MISSING = "the image has no program sh, or not the interpreter that it names"
FORBIDDEN = "sh is no program: it may not be executed"
FOREIGN = "sh is no program that this machine can run; take an image for its platform"


@pytest.mark.parametrize(
    ("code", "line", "problem"),
    [
        (
            127,
            "[FATAL tini (8)] exec /bin/sh failed: No such file or directory",
            "the image has no /bin/sh; take one with",
        ),
        (127, "mlmake: 1: exec: sh: not found", MISSING),  # dash
        (127, "mlmake: line 1: exec: sh: not found", MISSING),  # bash
        (127, "mlmake: line 1: /home/ann/sh: cannot execute: required file not found", MISSING),
        (126, "mlmake: 1: exec: sh: Permission denied", FORBIDDEN),
        (126, "mlmake: line 1: exec: /etc: cannot execute: Is a directory", FORBIDDEN),
        (126, "mlmake: 1: exec: sh: Exec format error", FOREIGN),
        (126, "mlmake: line 1: /home/ann/sh: Success", FOREIGN),
    ],
)
def test_what_cannot_start(code: int, line: str, problem: str) -> None:
    assert ended(GIVEN, code, state(ExitCode=code), f"{line}\n").problem.startswith(problem)
    assert ended(GIVEN, code, state(ExitCode=code), f"{line}\nmore\n").problem == ""
    assert ended(GIVEN, 1, state(ExitCode=1), f"{line}\n").problem == ""


def test_one_that_is_not_there() -> None:
    missing = "docker: Error response from daemon: No such image: x:1\n\nRun 'docker run --help' for more information\n"
    assert ended(GIVEN, 125, "", missing) == End(125, "image x:1 is not on the engine; pull or build it there")
    assert ended(GIVEN, 137, "\n", "working …\n") == End(137, "somebody removed its container")
    assert ended(GIVEN, 0, "", "done\n") == End(0)
