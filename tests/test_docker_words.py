"""What Docker's errors mean. The texts are those of Docker 20.10, 28 and 29 as they were printed."""

from __future__ import annotations

import json

import pytest

from mlmake.model.docker import Engine, Ran, Trouble, engine_told, explained, known, last_words

OLD, NEW = "\nSee 'docker run --help'.\n", "\n\nRun 'docker run --help' for more information\n"
LATE = '\ntime="2026-11-22T04:44:15Z" level=error msg="error waiting for container: context canceled"\n'
FROM = "docker: Error response from daemon: "
RUNC = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("sh: 1: docker: not found\n", "there is no program docker"),
        (
            "docker: Cannot connect to the Docker daemon at unix:///nosuch.sock. Is the docker daemon running?." + OLD,
            "no Docker engine answers at unix:///nosuch.sock",
        ),
        (
            "Cannot connect to the Docker daemon at tcp://127.0.0.1:9. Is the docker daemon running?\n",
            "no Docker engine answers at tcp://127.0.0.1:9",
        ),
        (
            "failed to connect to the docker API at unix:///x.sock; check if the path is correct and if the daemon is "
            "running: dial unix /x.sock: connect: no such file or directory",
            "no Docker engine answers at unix:///x.sock",
        ),
        (
            'docker: error during connect: Head "http://docker.example.com/_ping": command [ssh -o ConnectTimeout=30 '
            "-T -p 9 -- 127.0.0.1 docker system dial-stdio] has exited with exit status 255, make sure the URL is "
            "valid, and Docker 18.09 or later is installed on the remote host: stderr=ssh: connect to host 127.0.0.1 "
            f"port 9: Connection refused\n\n{NEW}",
            "the Docker engine's host does not let us in: ssh: connect to host 127.0.0.1 port 9: Connection refused",
        ),
        (
            'error during connect: Get "http://bad:2375/v1.50/version": dial tcp: lookup bad: no such host',
            'no Docker engine answers: Get "http://bad:2375/v1.50/version": dial tcp: lookup bad: no such host',
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
            'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/containers/json": dial unix: connect: permission denied',
            "no right to use the Docker engine at unix:///var/run/docker.sock",
        ),
        (
            "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock",
            "no right to use the Docker engine at unix:///var/run/docker.sock",
        ),
        (
            f"{FROM}client version 1.99 is too new. Maximum supported API version is 1.41.{OLD}",
            "the docker program and the engine do not understand each other: client version 1.99 is too new. "
            "Maximum supported API version is 1.41.",
        ),
        (f"{FROM}No such image: x:1.{OLD}", "image x:1 is not on the engine"),
        ("Error response from daemon: no such image: x:1: No such image: x:1\n", "image x:1 is not on the engine"),
        ("Error: No such image: x@sha256:11\n", "image x@sha256:11 is not on the engine"),
        (
            f"docker: invalid reference format: repository name (library/BAD) must be lowercase{NEW}",
            "that is no name of an image: invalid reference format: repository name (library/BAD) must be lowercase",
        ),
        (
            "Error response from daemon: pull access denied for nosuch, repository does not exist or may require "
            "'docker login': denied: requested access to the resource is denied",
            "there is no image nosuch, or it needs a login",
        ),
        (
            "Error response from daemon: manifest for registry.test/x:9 not found: manifest unknown: manifest unknown",
            "no image registry.test/x:9 in its registry",
        ),
        (
            'Error response from daemon: Head "http://registry.test/v2/x/manifests/1": unauthorized: authentication '
            "required",
            "the registry refuses access: unauthorized: authentication required",
        ),
        (
            'Error response from daemon: Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection '
            "refused",
            "the Docker engine cannot reach the registry: dial tcp 127.0.0.1:9: connect: connection refused",
        ),
        (
            "toomanyrequests: You have reached your pull rate limit.",
            "the registry wants to be left alone: toomanyrequests: You have reached your pull rate limit.",
        ),
        (
            "no matching manifest for linux/arm64/v8 in the manifest list entries",
            "the image has no variant for linux/arm64/v8",
        ),
        (
            f'{FROM}Conflict. The container name "/t1" is already in use by container "534010c5". You have to remove '
            f"(or rename) that container to be able to reuse that name.{NEW}",
            "another container has the name t1",
        ),
        (
            f'{FROM}could not select device driver "" with capabilities: [[gpu]].{LATE}',
            "the Docker engine has no GPUs for containers",
        ),
        (
            f"{FROM}failed to discover GPU vendor from CDI: no known GPU vendor found{NEW}",
            "the Docker engine has no GPUs for containers",
        ),
        (
            f"{FROM}{RUNC}error during container init: error running hook #0: error running hook: exit status 1, "
            "stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: device error: 7: unknown device",
            "no such GPU: 7: unknown device",
        ),
        (
            f"{FROM}Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available.{OLD}",
            "the engine's machine has but 2.00 CPUs",
        ),
        (
            f"{FROM}Minimum memory limit allowed is 6MB.{OLD}",
            "too little memory for a container: Minimum memory limit allowed is 6MB",
        ),
        (
            f'{FROM}invalid mount config for type "bind": bind source path does not exist: /no such.{OLD}',
            "/no such, to be mounted, is not on the engine's machine",
        ),
        (
            f'{FROM}{RUNC}exec: "/bin/sh": executable file not found in $PATH: unknown.{LATE}',
            "the image has no /bin/sh",
        ),
        (
            f'{FROM}{RUNC}exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown{NEW}',
            "the image has no /bin/sh",
        ),
        ("[FATAL tini (8)] exec /bin/sh failed: No such file or directory", "the image has no /bin/sh"),
        (
            f'{FROM}{RUNC}error during container init: error mounting "/usr/libexec/docker/docker-init" to rootfs at '
            f'"/sbin/docker-init": stat /usr/libexec/docker/docker-init: no such file or directory: unknown.{LATE}',
            "the Docker engine lacks docker-init",
        ),
        (
            "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
            "the Docker engine's disk is full",
        ),
        (
            'time="2026-11-22T04:46:09Z" level=error msg="error waiting for container: unexpected EOF"\n',
            "the Docker engine went away: unexpected EOF",
        ),
        (f"{FROM}something new.{LATE}", "Docker failed: something new."),
        (f"{FROM}something new{NEW}", "Docker failed: something new"),
        ("", "Docker failed: it did not say why"),
    ],
)
def test_words(said: str, what: str) -> None:
    trouble = explained(said)
    assert trouble.what == what
    assert bool(trouble.hint) == (known(said) is not None)


def test_what_may_go_well_later() -> None:
    assert explained("Cannot connect to the Docker daemon at tcp://x. Is the docker daemon running?").is_passing
    assert not explained("Error: No such image: x").is_passing


def test_a_trouble_in_one_line() -> None:
    assert str(Trouble("it is off", "turn it on")) == "it is off; turn it on"
    assert str(Trouble("it is off")) == "it is off"


def test_last_words() -> None:
    assert last_words(f"one\n{FROM}two{NEW}") == "two"
    assert last_words("DEPRECATED: use another\n\nERROR: failed to solve: three\n\n") == "failed to solve: three"


def test_an_engine_tells_of_itself() -> None:
    told = {"ServerVersion": "28.2.2", "NCPU": 8, "MemTotal": 64 << 30, "SecurityOptions": ["name=seccomp"]}
    engine = engine_told(Ran(returncode=0, stdout=json.dumps(told)))
    assert engine == Engine(version="28.2.2", cpus=8, memory=64 << 30, is_rootless=False)
    assert isinstance(engine, Engine)
    assert engine.user(1000, 100) == "1000:100"


def test_in_a_rootless_engine_root_is_the_user() -> None:
    told = {"ServerVersion": "28", "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}
    engine = engine_told(Ran(returncode=0, stdout=json.dumps(told)))
    assert isinstance(engine, Engine)
    assert engine.user(1000, 100) == "0:0"


@pytest.mark.parametrize("code", [0, 1])
def test_an_engine_that_is_down(code: int) -> None:
    error = "Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?"
    told = {"ServerErrors": [error]} if code == 0 else {"ServerVersion": ""}
    trouble = engine_told(Ran(returncode=code, stdout=json.dumps(told), stderr="" if code == 0 else error))
    assert isinstance(trouble, Trouble)
    assert trouble.what == "no Docker engine answers at unix:///x.sock"
