"""A watch hears of what environments are made from: lists of requirements, Dockerfiles and what is built with them."""

from __future__ import annotations

from pathlib import Path

from engines import Engine, base_image
from projects import Folder
from watching import watching
from wheels import PYTHON, wheel, wheel_name


def test_a_list_of_requirements_and_those_that_it_names(project: Folder) -> None:
    for version in ("1.0", "1.1"):
        project.write({f"pkgs/{wheel_name('tiny', version)}": wheel("tiny", version)})
    project.write({"req.txt": "-r more/own.txt\n", "more/own.txt": f"./pkgs/{wheel_name('tiny', '1.0')}\n"})
    project.steps(f"""
        [environments.ml]
        python = "{PYTHON}"
        requirements = "req.txt"
        [one]
        command = "python -c 'import tiny; print(tiny.VERSION)' > {{outputs.o}}"
        outputs = {{ o = "one.txt" }}
        environment = "ml"
        [other]
        command = "touch {{outputs.o}}"
        outputs = {{ o = "other.txt" }}
    """)
    with watching(project) as watch:
        assert project.read("one.txt") == "1.0\n"
        watch.started()
        project.write({"more/own.txt": f"./pkgs/{wheel_name('tiny', '1.1')}\n"})
        assert watch.until_built(2).why == ["more/own.txt"]
        assert watch.started() == ["one"]
        assert project.read("one.txt") == "1.1\n"


def test_a_dockerfile_and_its_context(project: Folder, engine: Engine, tmp_path: Path) -> None:
    project.write({"image/Dockerfile": f"FROM {base_image(engine)}\nCOPY word /word\n", "image/word": "one\n"})
    project.steps(f"""
        [compute.box]
        kind = "docker"
        root = "{tmp_path / "root"}"
        host = "{engine.host}"
        [environments.own]
        dockerfile = "image/Dockerfile"
        [one]
        command = "cat /word > {{outputs.o}}"
        outputs = {{ o = "one.txt" }}
        compute = "box"
        environment = "own"
    """)
    with watching(project) as watch:
        assert project.read("one.txt") == "one\n"
        watch.started()
        project.write({"image/word": "two\n"})
        watch.until_built(2)
        assert watch.started() == ["one"]
        assert project.read("one.txt") == "two\n"
