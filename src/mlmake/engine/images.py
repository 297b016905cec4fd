"""The image that a containered step runs in, had before its job starts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Protocol, cast

from mlmake.engine.installing import Made
from mlmake.environments.context import Context, Sort
from mlmake.environments.images import Recipe, built, built_by, pulled, sent_build_argv
from mlmake.errors import HostError, MlmakeError, UsageError
from mlmake.executors.base import Executor
from mlmake.model.docker import Ran
from mlmake.model.job import Cargo, Job, Shipment
from mlmake.model.project import Environment
from mlmake.state.hashing import hash_file

_PATIENCE = 3600.0
"""Seconds that a pull or a build may take."""


class Engine(Protocol):
    """An executor with containers: it runs the docker program where the engine is.

    Where that `is_elsewhere`, the program sees no files of this machine; `run_beside` runs a job there to its end,
    outside of any container.
    """

    @property
    def is_elsewhere(self) -> bool: ...

    def docker(self, argv: Sequence[str], seconds: float) -> Ran: ...

    def run_beside(self, job: Job) -> Ran: ...


def image_at(executor: Executor, environment: Environment, root: str) -> Made:
    """Have an environment's image on an executor's engine; for any thread."""
    try:
        return Made(image=image_of(environment, root, executor))
    except HostError as error:
        return Made(error.message, is_lost=True)
    except MlmakeError as error:
        return Made(f"{error.message}{f' ({error.hint})' if error.hint else ''}")
    except OSError as error:
        return Made(f"the image cannot be had: {error}")


def image_of(environment: Environment, root: str, executor: Executor) -> str:
    """The id of an environment's image on an executor's engine, pulled or built if it is not there; may take long.

    Raises SoftwareError, UsageError, HostError, OSError.
    """
    engine = cast("Engine", executor)

    def run(argv: Sequence[str]) -> Ran:
        return engine.docker(argv, _PATIENCE)

    if environment.image:
        return pulled(environment.image, run)
    file = os.path.join(root, environment.dockerfile)
    if not os.path.isfile(file):
        raise UsageError(f"environments.{environment.name}.dockerfile: there is no {environment.dockerfile}")
    contents: dict[str, tuple[str, int]] = {}

    def digest_of(path: str) -> str:
        contents[path] = hash_file(path)
        return contents[path][0]

    context = Context.look(file)
    recipe = Recipe(environment=environment.name, dockerfile=context.dockerfile, digest=context.digest(digest_of))
    if not engine.is_elsewhere:
        return built(recipe, context.folder, run)
    with tempfile.TemporaryDirectory(prefix="mlmake-image-") as folder:
        job = _sent(recipe, context, contents, os.path.join(folder, "log"))
        return built_by(recipe, run, lambda: engine.run_beside(job))


def _sent(recipe: Recipe, context: Context, contents: dict[str, tuple[str, int]], log: str) -> Job:
    """The build of an image as a job that takes its context along, by content as every job does."""
    files, links = [], {}
    for entry in context.entries:
        path = os.path.join(context.folder, entry.path)
        if entry.is_file:
            digest, size = contents[path]
            files.append(Cargo(entry.path, path, digest, size, entry.sort is Sort.PROGRAM))
        elif entry.sort is Sort.LINK:
            links[entry.path] = os.readlink(path)
    folders = tuple(entry.path for entry in context.entries if entry.sort is Sort.FOLDER)
    name = recipe.tag.replace("/", "-").replace(":", "-")
    goes = Shipment(name=name, files=tuple(files), folders=folders, is_new=True)
    argv = sent_build_argv(recipe, links)
    return Job(name=f"image {recipe.environment}", argv=argv, env={}, folder="", log=log, shipment=goes)
