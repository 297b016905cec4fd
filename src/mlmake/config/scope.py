"""What the texts of a step may refer to: outputs and steps of the project, parameters, its combination of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlmake.config import params as keys
from mlmake.config.owners import Owners
from mlmake.config.places import locate
from mlmake.config.problems import Problems, Wrong, at, listed, show
from mlmake.config.references import Groups
from mlmake.model.data import Location, Scalar
from mlmake.model.project import Pipeline, Project
from mlmake.model.step import StepSpec
from mlmake.model.template import as_text, fill, meant


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """A pipeline as its tables say.

    Attributes:
        specs: the steps that could be built.
        broken: names of steps with problems of their own, so that what refers to them is not told as unknown.
        is_broken: the table itself could not be read: nobody knows its steps.
    """

    pipeline: Pipeline
    specs: dict[str, StepSpec]
    broken: set[str]
    is_broken: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """The project while its steps are made from what is declared.

    Attributes:
        scripts: where a script is named -> its path.
        slips: places of texts that cannot be filled.
    """

    project: Project
    pipelines: Mapping[str, Declared]
    problems: Problems
    groups: Groups = field(default_factory=Groups)
    owners: Owners = field(default_factory=Owners)
    scripts: dict[str, str] = field(default_factory=dict)
    slips: set[str] = field(default_factory=set)

    def locate(self, text: str, where: str, globs: bool = False) -> Location | None:
        """The location that a path names; None, told as a problem, if it names none."""
        try:
            return locate(text, self.project.root, self.project.datastores, globs)
        except Wrong as wrong:
            self.problems.tell_one_of(where, wrong.what, wrong.near)
            return None

    def filled(self, text: str, pipeline: str, matrix: Mapping[str, Scalar], where: str) -> str | None:
        """A path, reference or parameter key with its placeholders filled; None, and a problem, if one cannot be."""
        if "{" not in text:
            return text
        wrong: list[str] = []

        def value(space: str, name: str) -> str | None:
            if space == "matrix" and name in matrix:
                return as_text(matrix[name])
            if not meant(space):
                return None
            found = self._param(name, pipeline, where) if space == "params" else None
            if space != "params":
                self._tell_unknown(space, name, matrix, where)
            wrong.extend([name] if found is None else [])
            return found

        result = fill(text, value)
        return None if wrong or where in self.slips else result

    def shown(self, step: str) -> str:
        """A step's id as people write it: without its pipeline where there is only one."""
        return step.partition(".")[2] if len(self.pipelines) == 1 else step

    def unknown_param(self, pipeline: str, key: str, where: str) -> None:
        """Tell that a pipeline has no such parameter."""
        near = self.problems.near(key, keys.every_key(self.pipelines[pipeline].pipeline.params))
        self.problems.tell_one_of(
            where, f"unknown parameter {show(key)}: not in {at('pipelines', pipeline, 'params')}", near
        )

    def _param(self, key: str, pipeline: str, where: str) -> str | None:
        try:
            value = keys.find(self.pipelines[pipeline].pipeline.params, key)
        except KeyError:
            self.unknown_param(pipeline, key, where)
            return None
        if isinstance(value, Mapping | list):
            kind = "table" if isinstance(value, Mapping) else "list"
            self.problems.tell(where, f"{{params.{key}}} is a {kind}; here it must be one value")
            return None
        return as_text(value)

    def _tell_unknown(self, space: str, name: str, matrix: Mapping[str, Scalar], where: str) -> None:
        said = f"{{{space}.{name}}}"
        if meant(space) != space:
            self.problems.tell(where, f"unknown placeholder {said}", f"{{{meant(space)}.{name}}}")
        elif space == "matrix":
            near = self.problems.near(name, matrix)
            known = (
                "" if near else f": the step's matrix has {listed(matrix)}" if matrix else ": the step has no matrix"
            )
            self.problems.tell(where, f"unknown placeholder {said}{known}", near and f"{{matrix.{near}}}")
        else:
            self.problems.tell(where, f"{said} cannot stand here: only {{matrix.…}} and {{params.…}} can")


def where_of(pipeline: str, step: str) -> str:
    """The path of a step's table."""
    return at("pipelines", pipeline, "steps", step)
