"""What a step in a container costs beside `docker run` of the same image.

python -m benchmarks.contain debian:stable-slim

A step is the executor's part of it: its folder made, the container run, its end looked at, the container removed; what
every step costs beside that, the other benchmarks tell. Both do nothing (`true`), in turn, on the engine that the
docker program asks; one behind a port (DOCKER_HOST=tcp://…) has the step's folder copied in.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.scratch import scratch
from benchmarks.ship import ended, job, run, seconds
from mlmake.executors.base import Setting
from mlmake.executors.docker import DockerExecutor
from mlmake.model.project import Compute


class Turn(NamedTuple):
    """Seconds of a step, of `docker run --rm`, and of `docker version`, which is what asking the engine costs."""

    step: float
    docker: float
    asking: float


def measured(image: str, folder: Path, turns: int) -> list[Turn]:
    """The turns; one of each before them is not counted."""
    options = {"host": "", "via": "", "network": True, "mounts": (), "root": str(folder / "root")}
    compute = Compute(name="box", kind="docker", options=options)
    with closing(DockerExecutor.of(compute, Setting(token="", root=str(folder)))) as executor:
        executor.connect()
        return [_turn(executor, image, folder, number) for number in range(turns + 1)][1:]


def _turn(executor: DockerExecutor, image: str, folder: Path, number: int) -> Turn:
    todo = replace(job(f"step{number}", folder, ()), image=image)
    step = seconds(lambda: ended(executor, todo))
    executor.forget(todo.name)
    plain = seconds(lambda: run("docker", "run", "--rm", "--entrypoint", "", image, "/bin/sh", "-c", "true"))
    return Turn(step, plain, seconds(lambda: run("docker", "version")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="one that the engine has, with a shell")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--folder", help="where to work; by default the system's place for temporary files")
    given = parser.parse_args()
    with scratch(given.folder) as folder:
        turns = measured(given.image, folder, given.turns)
    step, docker, asking = (1000 * statistics.median(each) for each in zip(*turns, strict=True))
    more = 1000 * statistics.median(turn.step - turn.docker for turn in turns)
    print(f"a step: {step:.0f} ms; docker run --rm: {docker:.0f} ms; the step is {more:.0f} ms longer")
    print(f"docker version: {asking:.0f} ms")


if __name__ == "__main__":
    main()
