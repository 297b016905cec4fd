"""The image that a containered step runs in, had before its job starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, cast

from mlmake.engine.installing import Made
from mlmake.environments.context import Context
from mlmake.environments.images import Recipe, built, pulled
from mlmake.errors import HostError, MlmakeError, UsageError
from mlmake.executors.base import Executor
from mlmake.model.docker import Ran
from mlmake.model.project import Environment
from mlmake.state.hashing import hash_file

_PATIENCE = 3600.0
"""Seconds that a pull or a build may take."""


class Engine(Protocol):
    """An executor with containers: it runs the docker program where the engine is."""

    def docker(self, argv: Sequence[str], seconds: float) -> Ran: ...


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
    folder = os.path.dirname(file)
    digest = Context.look(file).digest(lambda path: hash_file(path)[0])
    return built(Recipe(environment=environment.name, dockerfile=os.path.basename(file), digest=digest), folder, run)
