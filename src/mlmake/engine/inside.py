"""What a step gets for `Run.get_context()`: the module, words about its run, and a folder that the run keeps."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from mlmake import inside, table
from mlmake.engine.staging import remove
from mlmake.home import FOLDER, Home
from mlmake.model.job import Cargo, Shipment
from mlmake.model.project import Project
from mlmake.model.run import StepRun
from mlmake.model.step import Step
from mlmake.state.hashing import hash_file

KEEP = f"{FOLDER}/keep"
"""The folder that a run keeps, as a job elsewhere sees it."""
_SEARCH = f"{FOLDER}/inside"
_MODULES = {"mlmake/__init__.py": inside.__file__, "mlmake/table.py": table.__file__}
"""What travels: where it stands on a search path, and where it is here."""
_LONGEST = 1 << 16


def variables(step: Step, run: int, keep: str, told: Mapping[str, str]) -> dict[str, str]:
    """What a step is told of its run; `told` is the same for all steps of a build."""
    names = json.dumps([each.name for each in step.inputs])
    own = {"MLMAKE_RUN": str(run), "MLMAKE_STEP": step.id, "MLMAKE_KEEP": keep}
    return {**told, **own, **({"MLMAKE_INPUTS": names} if len(names) < _LONGEST else {})}


def stand_in(home: Home) -> str:
    """A folder for Python's search path, with the modules as package `mlmake`. Raises OSError."""
    for name, source in _MODULES.items():
        place, text = os.path.join(home.inside, name), _read(source)
        if not os.path.exists(place) or _read(place) != text:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            part = f"{place}.{os.getpid()}"
            with open(part, "wb") as new:
                new.write(text)
            os.replace(part, place)
    return home.inside


def with_inside(shipment: Shipment, keep: str) -> Shipment:
    """A shipment that takes the modules along, and brings back what the run keeps."""
    files = (*shipment.files, *(_cargo(name, os.stat(source).st_mtime_ns) for name, source in _MODULES.items()))
    outputs = {**shipment.outputs, KEEP: keep}
    theirs = (*(each.path for each in shipment.files), *shipment.folders, *shipment.outputs)
    if not any(f"{path}/".startswith(f"{inside.OUTPUTS}/") for path in theirs):
        outputs[inside.OUTPUTS] = os.path.join(keep, inside.OUTPUTS)
    return replace(shipment, files=files, outputs=outputs, search=(*shipment.search, _SEARCH))


def gather(project: Project, step_run: StepRun) -> None:
    """Keep what a step has put into `./outputs` on this machine, unless it is what steps declare."""
    folder = os.path.join(project.root, inside.OUTPUTS)
    if not os.path.isdir(folder):
        return
    keep = os.path.join(Home(project.root).keep(step_run.run, step_run.step), inside.OUTPUTS)
    for above, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if os.path.join(above, name) not in project.owners]
        for name in names:
            path = os.path.join(above, name)
            if path not in project.owners and _is_younger(path, step_run.started):
                target = os.path.join(keep, os.path.relpath(path, folder))
                with suppress(OSError):  # it is another step's, and goes away
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    shutil.copy2(path, target)


def logged(home: Home, run: int, step: str) -> dict[str, Any]:
    """The metrics that a step's run has logged."""
    return inside.metrics(inside.entries(home.keep(run, step)))


def carry_over(home: Home, run: int, step: str, to: StepRun) -> None:
    """Let a step that was restored keep what the run kept that once made its outputs."""
    old, new = home.keep(run, step), home.keep(to.run, to.step)
    if run and os.path.isdir(old) and not os.path.lexists(new):
        shutil.copytree(old, new, copy_function=os.link)


def forget_kept(home: Home, step_run: StepRun) -> None:
    """Let an attempt begin with nothing that an earlier one has logged."""
    remove(home.keep(step_run.run, step_run.step))


@cache
def _cargo(name: str, _: int) -> Cargo:
    """By the file's time: mlmake may be installed anew while a build goes on."""
    digest, size = hash_file(_MODULES[name])
    return Cargo(f"{_SEARCH}/{name}", _MODULES[name], digest, size)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _is_younger(path: str, moment: float) -> bool:
    try:
        return os.stat(path).st_mtime >= moment - 0.05  # the file system's clock lags by a step
    except OSError:
        return False
