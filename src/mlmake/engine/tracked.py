"""What a tracking server is told of a step's run: read from the run and from what it keeps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlmake import inside
from mlmake.config.params import leaves
from mlmake.model.run import StepRun
from mlmake.model.step import Step
from mlmake.model.template import as_text
from mlmake.trackers.base import Content, Point


def content(step: Step, step_run: StepRun, folder: str) -> Content:
    """All of a step's run; `folder` is what it keeps."""
    logged = inside.entries(folder)
    names = {each["name"] for each in logged}
    declared = {name: value for name, value in step_run.metrics.items() if name not in names}
    message = {"mlmake.message": step_run.message} if step_run.message else {}
    return Content(
        params={
            **{each.name: as_text(each.value) for each in step.params},
            **{axis: as_text(value) for axis, value in step.matrix.items()},
        },
        points=(*points(logged), *_numbers("", declared, 0, step_run.ended or time.time())),
        tags={**_tags(logged), **message},
        files=inside.kept_files(folder),
    )


def content_of_parent(folder: str) -> Content:
    """What a step has logged to the run that it is a part of."""
    logged = inside.entries(folder, inside.PARENT)
    return Content(points=tuple(points(logged)), tags=_tags(logged))


def points(logged: Iterable[Mapping[str, Any]]) -> Iterator[Point]:
    """The numbers that were logged, each metric's counted on; a table's columns are metrics `NAME.COLUMN`."""
    counts: dict[str, int] = {}
    for each in logged:
        what, name, value = each["what"], each["name"], each["value"]
        if what not in ("value", "list", "row", "table"):
            continue
        for one in value if what == "list" else [value]:
            start = each.get("step", counts.get(name, 0))
            found = list(_numbers(name, one, start, each["time"]))
            counts[name] = max((point.step for point in found), default=start) + 1
            yield from found


def _numbers(name: str, value: Any, step: int, moment: float) -> Iterator[Point]:
    """Numbers by dotted names; those of a list are a series."""
    for key, inner in leaves(value, name):
        for place, number in enumerate(inner if isinstance(inner, list) else [inner], step):
            if isinstance(number, int | float) and not isinstance(number, bool):
                yield Point(key, float(number), place, moment)


def _tags(logged: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {name: value or "" for name, value in inside.tags(logged).items()}
