"""Images by name and by Dockerfile, on a real engine and from a real registry."""

from __future__ import annotations

import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from engines import Engine, base_image, clients
from mlmake.environments.context import Context
from mlmake.environments.images import Recipe, build_argv, built, fact, id_argv, present, pull_argv, pulled
from mlmake.errors import SoftwareError, SoftwareUnavailable
from mlmake.model.docker import Ran, Run
from mlmake.state.hashing import hash_file
from registries import registry

Speak = Callable[[Mapping[str, str]], Run]


class Docker:
    """A docker program that keeps what it was asked."""

    def __init__(self, program: str, env: Mapping[str, str]) -> None:
        self._program = program
        self._env = env
        self.asked: list[str] = []

    def __call__(self, argv: Sequence[str]) -> Ran:
        self.asked.append(argv[1])
        run = subprocess.run(
            argv, executable=self._program, env=self._env, capture_output=True, text=True, check=False, timeout=120
        )
        return Ran(returncode=run.returncode, stdout=run.stdout, stderr=run.stderr)


@pytest.fixture(params=clients() or ["docker"])
def docker(request: pytest.FixtureRequest, engine: Engine) -> Docker:
    """Every docker program of this machine."""
    return Docker(request.param, engine.env)


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """A name for an image, which is gone after the test."""
    name = f"mlmake-tests/{uuid.uuid4().hex[:12]}:1"
    yield name
    engine.docker("rmi", "--force", name, check=False)


NAME = f"mlmake-tests-{uuid.uuid4().hex[:8]}"
"""Other test processes share the engine."""


def recipe(folder: Path, engine: Engine, *lines: str) -> Recipe:
    """A Dockerfile in a folder; each test's is new to the engine."""
    first = f"FROM {base_image(engine)}"
    (folder / "Dockerfile").write_text("\n".join([first, *lines, f"LABEL test={uuid.uuid4().hex}", ""]))
    digest = Context.look(str(folder / "Dockerfile")).digest(lambda path: hash_file(path)[0])
    return Recipe(environment=NAME, dockerfile="Dockerfile", digest=digest)


@pytest.fixture
def removed(engine: Engine) -> Iterator[None]:
    yield
    listed = engine.docker("images", "--quiet", f"mlmake/{NAME}").stdout.split()
    engine.docker("rmi", "--force", *listed, check=False) if listed else None


def test_what_is_asked() -> None:
    assert id_argv("x:1") == ("docker", "image", "inspect", "--format", "{{.Id}}", "x:1")
    assert pull_argv("x:1") == ("docker", "pull", "--quiet", "x:1")
    made = Recipe(environment="ML (GPU)", dockerfile="Dockerfile.gpu", digest="ab12")
    assert made.tag == "mlmake/ml-gpu:ab12"
    assert build_argv(made, "/home/ann/ml/") == (
        *("docker", "build", "--force-rm", "--tag", "mlmake/ml-gpu:ab12", "--label", "mlmake.context=ab12"),
        *("--file", "/home/ann/ml/Dockerfile.gpu", "/home/ann/ml/"),
    )
    assert Recipe(environment="größe", dockerfile="D", digest="1").tag == "mlmake/gr-e:1"
    assert Recipe(environment="日本", dockerfile="D", digest="1").tag == "mlmake/environment:1"


def test_the_fact() -> None:
    assert fact("sha256:1f") == "image sha256:1f"


def test_one_that_is_there(engine: Engine, docker: Docker) -> None:
    base = base_image(engine)
    image = pulled(base, docker)
    assert image.startswith("sha256:")
    assert docker.asked == ["image"]
    assert pulled(image, docker) == image


def test_one_that_is_not_there(docker: Docker) -> None:
    assert present("mlmake-tests/nosuch:1", docker) is None
    assert present(f"sha256:{'1' * 64}", docker) is None


def test_one_that_is_pulled(engine: Engine, docker: Docker, tmp_path: Path) -> None:
    with registry(tmp_path) as store:
        name = f"{store.address}/small:1"
        image = small_image(engine, tmp_path, name)
        pushed = engine.docker("push", name).stdout
        by_digest = f"{store.address}/small@sha256:{pushed.partition('sha256:')[2].split()[0]}"
        engine.docker("rmi", name)
        try:
            assert pulled(name, docker) == image
            assert docker.asked == ["image", "pull", "image"]
            engine.docker("rmi", name)
            assert pulled(by_digest, docker) == image
        finally:
            engine.docker("rmi", "--force", name, by_digest, check=False)
        missing = f"{store.address}/small:2"
        with pytest.raises(SoftwareError) as caught:
            pulled(missing, docker)
        assert caught.value.message == f"image {missing}: no image {missing} in its registry"


def small_image(engine: Engine, folder: Path, name: str) -> str:
    """The id of an image with a single file, unlike any other."""
    (folder / "file").write_text(uuid.uuid4().hex)
    with tarfile.open(folder / "small.tar", "w") as tar:
        tar.add(folder / "file", "file")
    return engine.docker("import", str(folder / "small.tar"), name).stdout.strip()


def test_the_login_of_dockers_own_configuration(engine: Engine, docker: Docker, tmp_path: Path) -> None:
    with registry(tmp_path, with_login=True) as store:
        name = f"{store.address}/base:1"
        with pytest.raises(SoftwareError, match="the registry refuses access") as refused:
            pulled(name, docker)
        assert "docker login" in refused.value.hint
        assert not isinstance(refused.value, SoftwareUnavailable)
        known = Docker(clients()[0], {**engine.env, **store.login})
        with pytest.raises(SoftwareError, match=r"no image .* in its registry"):
            pulled(name, known)


def test_a_registry_out_of_reach(docker: Docker) -> None:
    with pytest.raises(SoftwareUnavailable, match=r"image 127.0.0.1:9/x:1: .* cannot reach the registry: dial tcp"):
        pulled("127.0.0.1:9/x:1", docker)


def test_no_name_of_an_image(docker: Docker) -> None:
    with pytest.raises(SoftwareError, match=r"image BAD:1: that is no name of an image"):
        pulled("BAD:1", docker)


def test_no_engine(engine: Engine, tmp_path: Path) -> None:
    down = Docker("docker", {**engine.env, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"})
    with pytest.raises(SoftwareUnavailable, match="no Docker engine answers") as error:
        pulled("x", down)
    assert error.value.hint.startswith("start it")


def test_no_docker_program() -> None:
    with pytest.raises(SoftwareError, match="cannot run `docker`: No such file or directory"):
        pulled("x", Docker("/no/docker", {}))


@pytest.mark.usefixtures("removed")
def test_a_dockerfile_is_built_once(engine: Engine, docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("one\n")
    first = recipe(tmp_path, engine, "COPY data /data", "RUN cat /data > /copy")
    image = built(first, str(tmp_path), docker)
    assert docker.asked == ["image", "build", "image"]
    assert built(first, str(tmp_path), docker) == image
    assert docker.asked[3:] == ["image"]
    assert engine.docker("run", "--rm", "--network", "none", image, "cat", "/copy").stdout == "one\n"

    (tmp_path / "data").write_text("two\n")
    digest = Context.look(str(tmp_path / "Dockerfile")).digest(lambda path: hash_file(path)[0])
    second = Recipe(environment=NAME, dockerfile="Dockerfile", digest=digest)
    assert second.tag != first.tag
    assert built(second, str(tmp_path), docker) != image


@pytest.mark.usefixtures("removed")
def test_a_build_from_another_copy_of_the_folder(engine: Engine, docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    made = recipe(tmp_path, engine)
    (tmp_path / "Dockerfile").rename(tmp_path / "there" / "Dockerfile")
    assert built(made, str(tmp_path / "there"), docker).startswith("sha256:")


def test_a_build_that_fails_shows_the_last_words(engine: Engine, docker: Docker, tmp_path: Path) -> None:
    made = recipe(tmp_path, engine, "RUN echo no such package >&2; exit 3")
    with pytest.raises(SoftwareError) as error:
        built(made, str(tmp_path), docker)
    first, *rest = error.value.message.splitlines()
    assert first.startswith("Dockerfile cannot be built: ")
    assert first.endswith("returned a non-zero code: 3")
    assert "  no such package" in rest
    assert present(made.tag, docker) is None
    assert (
        engine.docker("ps", "--all", "--quiet", "--filter", "status=exited", "--filter", f"ancestor={made.tag}").stdout
        == ""
    )


def test_a_dockerfile_that_is_none(engine: Engine, docker: Docker, tmp_path: Path) -> None:
    made = recipe(tmp_path, engine, "FORM x")
    with pytest.raises(SoftwareError, match="unknown instruction: FORM"):
        built(made, str(tmp_path), docker)


def test_a_base_out_of_reach(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM 127.0.0.1:9/x:1\n")
    made = Recipe(environment=NAME, dockerfile="Dockerfile", digest=uuid.uuid4().hex)
    with pytest.raises(SoftwareUnavailable, match="Dockerfile: the Docker engine cannot reach the registry"):
        built(made, str(tmp_path), docker)


def test_no_engine_to_build(engine: Engine, tmp_path: Path) -> None:
    down = Docker("docker", {**engine.env, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"})
    with pytest.raises(SoftwareUnavailable, match="no Docker engine answers"):
        built(Recipe(environment="x", dockerfile="Dockerfile", digest="1"), str(tmp_path), down)
