"""Who makes what: references `@step[axis=value].output`, groups of a matrix, owners of output paths."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from fnmatch import translate

from mlmake.config.build import Wrong
from mlmake.errors import Problem
from mlmake.model.data import Location
from mlmake.model.step import Step
from mlmake.model.template import as_text

_REFERENCE = re.compile(r"@(?P<head>[\w.-]+)(?P<selector>\[[^\]]*\])?(?:\.(?P<output>[\w-]+))?")
_SELECTOR = re.compile(r"(?:(?P<pipeline>[\w-]+)\.)?(?P<group>[\w-]+)(?:\[(?P<selector>[^\]]*)\])?")


def split_reference(text: str) -> tuple[str, str]:
    """`@step.output`, `@step[axis=value].output`, `@pipeline.step.output` -> (step, output or ""). Raises Wrong."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise Wrong(f"{text!r} is no reference: write @step.output, or @step where it has one output")
    head, selector, output = match["head"], match["selector"] or "", match["output"] or ""
    parts = head.split(".")
    if not selector and len(parts) > 1:
        output = parts.pop()
    if len(parts) > 2 or not all(parts):
        raise Wrong(f"{text!r} is no reference: write @step.output or @pipeline.step.output")
    return ".".join(parts) + selector, output


def parse_selector(text: str) -> tuple[str, str, dict[str, str]]:
    """`pipeline.step[axis=value]` -> (pipeline or "", step, axis -> value). Raises Wrong."""
    match = _SELECTOR.fullmatch(text)
    pairs = (
        [pair.partition("=") for pair in match["selector"].split(",")] if match and match["selector"] else []
    )
    if match is None or not all(equals for _, equals, _ in pairs):
        raise Wrong(f"{text!r} names no step: write step, step[axis=value] or pipeline.step")
    return match["pipeline"] or "", match["group"], {axis.strip(): value.strip() for axis, _, value in pairs}


class Groups:
    """Steps by the name that they share, found by any of their axes without looking at all of them."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, str], list[Step]] = {}
        self._group_of: dict[str, tuple[str, str]] = {}
        self._indexes: dict[tuple[str, str, tuple[str, ...]], dict[tuple[str, ...], list[Step]]] = {}

    def add(self, step: Step) -> None:
        self._members.setdefault((step.pipeline, step.group), []).append(step)
        self._group_of[step.id] = (step.pipeline, step.group)

    def group_of(self, step: str) -> tuple[str, str]:
        return self._group_of[step]

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


class Owners:
    """Output paths and the steps that make them: one output has one producer."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._locations: dict[str, Location] = {}
        self._sorted: list[str] = []

    def claim(self, location: Location, step: str) -> str | None:
        """Make `step` the producer; the id of another one (or of itself) that already is."""
        other = self._owners.setdefault(location.path, step)
        if location.path in self._locations:
            return other
        self._locations[location.path] = location
        return None

    def by_path(self) -> dict[str, str]:
        return self._owners

    def texts(self) -> Iterator[str]:
        """Outputs as declared."""
        return (location.text for location in self._locations.values())

    def overlaps(self) -> Iterator[Problem]:
        """Outputs that lie inside another output."""
        for path, location in self._locations.items():
            for inner in self._under(path):
                step, text = self._owners[inner], self._locations[inner].text
                yield Problem(
                    "pipelines",
                    f"{text!r} of {step} lies inside {location.text!r}, an output of {self._owners[path]}",
                )
                break

    def producers(self, location: Location) -> tuple[str, ...]:
        """Steps that make what a location names: the path, a folder it lies in, what lies in it, what it matches."""
        if location.is_remote:
            owner = self._owners.get(location.path)
            return (owner,) if owner else ()
        if location.pattern:
            return tuple(dict.fromkeys(self._owners[path] for path in self._matching(location)))
        path = location.path
        while len(path) > 1:
            if path in self._owners:
                return (self._owners[path],)
            path = os.path.dirname(path)
        return tuple(dict.fromkeys(self._owners[path] for path in self._under(location.path)))

    def _under(self, folder: str) -> list[str]:
        """Owned paths inside a folder: neighbours when sorted, since `0` follows `/`."""
        if len(self._sorted) != len(self._owners):
            self._sorted = sorted(self._owners)
        return self._sorted[bisect_left(self._sorted, f"{folder}/") : bisect_left(self._sorted, f"{folder}0")]

    def _matching(self, location: Location) -> Iterator[str]:
        matches = re.compile(glob_regex(location.pattern)).fullmatch
        start = len(location.path.rstrip("/")) + 1
        return (path for path in self._under(location.path) if matches(path, start))


def glob_regex(pattern: str) -> str:
    """A path glob as a regular expression: `*` stays within a folder, `**` crosses folders."""
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            inner = translate(part).removeprefix("(?s:").removesuffix(r")\Z").removesuffix(r")\z")
            parts.append(inner.replace(".*", "[^/]*") + "/")
    return "".join(parts).removesuffix("/")
