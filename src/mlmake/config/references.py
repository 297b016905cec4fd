"""Names of steps: references `@step[axis=value].output`, and groups of a matrix."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlmake.config.problems import Wrong, show
from mlmake.model.step import Step
from mlmake.model.template import as_text

_REFERENCE = re.compile(r"@(?P<head>[\w.-]+)(?P<selector>\[[^\]]*\])?(?:\.(?P<output>[\w-]+))?")
_SELECTOR = re.compile(r"(?:(?P<pipeline>[\w-]+)\.)?(?P<group>[\w-]+)(?:\[(?P<selector>[^\]]*)\])?")


def split_reference(text: str) -> tuple[str, str]:
    """`@step.output`, `@step[axis=value].output`, `@pipeline.step.output` -> (step, output or ""). Raises Wrong."""
    match = _REFERENCE.fullmatch(text)
    if match is None and "/" in text:
        raise Wrong(f"{show(text)} is no reference: a file inside an output folder is named by its path, without @")
    if match is None:
        raise Wrong(f"{show(text)} is no reference: write @step.output, or @step where it has one output")
    head, selector, output = match["head"], match["selector"] or "", match["output"] or ""
    parts = head.split(".")
    if not selector and len(parts) > 1:
        output = parts.pop()
    if len(parts) > 2 or not all(parts):
        raise Wrong(f"{show(text)} is no reference: write @step.output or @pipeline.step.output")
    return ".".join(parts) + selector, output


def parse_selector(text: str) -> tuple[str, str, dict[str, str]]:
    """`pipeline.step[axis=value]` -> (pipeline or "", step, axis -> value). Raises Wrong."""
    match = _SELECTOR.fullmatch(text)
    pairs = match["selector"].split(",") if match and match["selector"] is not None else []
    if match is None or not all("=" in pair for pair in pairs):
        what = f"{show(text)} names no step: write step, step[axis=value] or pipeline.step"
        raise Wrong(what, text[1:] if text.startswith("@") and len(text) <= 60 else "")
    selector: dict[str, str] = {}
    for axis, _, value in (pair.partition("=") for pair in pairs):
        if selector.setdefault(axis.strip(), value.strip()) != value.strip():
            raise Wrong(f"{show(text)} names no step: axis {axis.strip()!r} has two values")
    return match["pipeline"] or "", match["group"], selector


class Groups:
    """Steps by the name that they share, found by any of their axes without looking at all of them."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, str], list[Step]] = {}
        self._indexes: dict[tuple[str, str, tuple[str, ...]], dict[tuple[str, ...], list[Step]]] = {}

    def add(self, step: Step) -> None:
        self._members.setdefault((step.pipeline, step.group), []).append(step)

    def select(self, pipeline: str, group: str, selector: Mapping[str, str]) -> list[Step]:
        """Members of a group in matrix order, those whose axes have the selector's values."""
        members = self._members.get((pipeline, group), [])
        if not selector:
            return members
        axes = tuple(sorted(selector))
        key = (pipeline, group, axes)
        if key not in self._indexes:
            index: dict[tuple[str, ...], list[Step]] = {}
            for step in members:
                index.setdefault(tuple(as_text(step.matrix[axis]) for axis in axes), []).append(step)
            self._indexes[key] = index
        return self._indexes[key].get(tuple(selector[axis] for axis in axes), [])
