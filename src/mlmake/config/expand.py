"""Declared steps -> steps that can run: matrices multiplied out, placeholders filled, references resolved, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from math import prod

from mlmake.config import params as keys
from mlmake.config.check import check_names, check_scripts, check_step, placeholders_of
from mlmake.config.clash import clashes
from mlmake.config.connect import Connections
from mlmake.config.environments import check_environments
from mlmake.config.graph import in_order, in_words
from mlmake.config.owners import Claim
from mlmake.config.places import is_glob
from mlmake.config.problems import Problems, at, below, show
from mlmake.config.scope import Declared, Scope, where_of
from mlmake.model.data import Location, Output, Scalar
from mlmake.model.project import FILE, Pipeline, Project
from mlmake.model.step import Param, Step, StepSpec
from mlmake.model.template import as_text

MOST_STEPS = 1_000_000
"""A matrix with more combinations is a slip: no machine would get through them."""


def expand(project: Project, pipelines: Mapping[str, Declared], problems: Problems) -> Project:
    """`project` with its pipelines and steps; what is wrong is added to `problems`."""
    return _Expansion(Scope(project, pipelines, problems)).run()


class _Expansion:
    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.problems = scope.problems
        self.drafts: list[Step] = []
        self.alike: set[str] = set()
        self.implied: list[tuple[str, str]] = []

    def run(self) -> Project:
        for declared in self.scope.pipelines.values():
            for spec in declared.specs.values():
                self._declare(declared.pipeline, spec)
        self._check_overlaps()
        check_names(self.scope)
        check_scripts(self.scope)
        check_environments(self.scope)
        return self._connected()

    def _connected(self) -> Project:
        connections = Connections(self.scope)
        steps = {draft.id: connections.connected(draft) for draft in self.drafts}
        for step in steps.values():
            self._check_kind(step)
        ordered, cycles = in_order(steps)
        for cycle in cycles:
            first = steps[cycle[0]]
            self.problems.tell_one_of(
                where_of(first.pipeline, first.group), f"cycle: {in_words([*map(self.scope.shown, cycle)])}"
            )
        by_pipeline: dict[str, list[Step]] = {name: [] for name in self.scope.pipelines}
        for step in steps.values():
            by_pipeline[step.pipeline].append(step)
        return replace(
            self.scope.project,
            pipelines={
                name: replace(declared.pipeline, steps=tuple(by_pipeline[name]))
                for name, declared in self.scope.pipelines.items()
            },
            steps={step.id: step for step in ordered},
            owners=self.scope.owners.by_path(),
        )

    def _check_kind(self, step: Step) -> None:
        """What the step's kind has to say of its inputs and outputs."""
        check = getattr(step.spec.kind, "problems", None)
        for key, what in check(step) if check else ():
            self.problems.tell_one_of(f"{where_of(step.pipeline, step.group)}.{key}", what)

    # A step by itself: combinations, outputs, parameters.

    def _declare(self, pipeline: Pipeline, spec: StepSpec) -> None:
        where = where_of(pipeline.name, spec.name)
        check_step(self.scope, spec, where)
        count = prod(len(values) for values in spec.matrix.values())
        if count > MOST_STEPS:
            self.problems.tell(f"{where}.matrix", f"{count:,} combinations; at most {MOST_STEPS:,} are possible")
            return
        self.implied = [
            (f"{where}.{key}" if key else where, found.name)
            for key, found in placeholders_of(spec.kind)
            if found.space == "params"
        ]
        for values in product(*spec.matrix.values()):
            self._draft(pipeline, spec, dict(zip(spec.matrix, values, strict=True)), where)

    def _draft(self, pipeline: Pipeline, spec: StepSpec, matrix: Mapping[str, Scalar], where: str) -> None:
        combination = ",".join(f"{axis}={as_text(value)}" for axis, value in matrix.items())
        name = f"{spec.name}[{combination}]" if matrix else spec.name
        draft = Step(
            id=f"{pipeline.name}.{name}",
            name=name,
            pipeline=pipeline.name,
            spec=spec,
            matrix=matrix,
            inputs=(),
            outputs=tuple(self._outputs(pipeline, spec, matrix, where)),
            params=tuple(self._params(pipeline, spec, matrix, where).values()),
        )
        self.drafts.append(draft)
        self.scope.groups.add(draft)
        for output in draft.outputs:
            self._own(draft, output, where)
        for problem in clashes(draft):
            self.problems.tell_one_of(where, problem)

    def _own(self, draft: Step, output: Output, where: str) -> None:
        place = below(f"{where}.{'metrics' if output.is_metrics else 'outputs'}", output.name)
        other = self.scope.owners.claim(Claim(draft, output.location, place))
        if other is None:
            return
        said, first, second = show(output.location.text), self.scope.shown(other.step.id), self.scope.shown(draft.id)
        if other.step.id == draft.id:
            self.problems.tell_one_of(place, f"{said} is an output of {first} already")
        elif other.step.spec is not draft.spec:
            self.problems.tell_one_of(place, f"{said} is an output of both {first} and {second}")
        elif place not in self.alike:  # once for all combinations
            self.alike.add(place)
            apart = [f"{{matrix.{axis}}}" for axis in draft.matrix if draft.matrix[axis] != other.step.matrix[axis]]
            move = f"name it apart with {' and '.join(apart)}"
            self.problems.tell(place, f"{said} is an output of both {first} and {second}: {move}")

    def _outputs(
        self, pipeline: Pipeline, spec: StepSpec, matrix: Mapping[str, Scalar], where: str
    ) -> Iterator[Output]:
        for is_metrics, table in ((False, spec.outputs), (True, spec.metrics)):
            for name, text in table.items():
                place = below(f"{where}.{'metrics' if is_metrics else 'outputs'}", name)
                filled = self.scope.filled(text, pipeline.name, matrix, place)
                location = self.scope.locate(filled, place) if filled is not None else None
                if location is None or filled is None:
                    continue
                if problem := self._no_output(filled, location, is_metrics):
                    self.problems.tell_one_of(place, problem)
                else:
                    yield Output(name, location, is_metrics)

    def _no_output(self, text: str, location: Location, is_metrics: bool) -> str:
        """Why a path cannot be an output; "" if it can."""
        root = self.scope.project.root
        if text.startswith("@"):
            return f"{show(text)} is a reference: an output is a path that the step writes"
        if location.path == f"{root}/{FILE}" or f"{root}/".startswith(f"{location.path.rstrip('/')}/"):
            return f"{show(text)} cannot be an output: it holds {FILE}"
        if is_glob(text) and "://" not in text:
            return f"{show(text)} is a glob: for several files name a folder, with a / at its end"
        if is_metrics and location.is_folder:
            return f"metrics are a JSON file, not a folder: {show(text)}"
        return ""

    def _params(self, pipeline: Pipeline, spec: StepSpec, matrix: Mapping[str, Scalar], where: str) -> dict[str, Param]:
        found: dict[str, Param] = {}
        for own, template in spec.params.items():
            key = self.scope.filled(template, pipeline.name, matrix, f"{where}.params")
            if key is not None:
                self._add(found, pipeline, key if own == template else own, key, f"{where}.params")
        for place, name in self.implied:
            if name not in found:
                self._imply(found, pipeline, name, place)
        return found

    def _add(self, found: dict[str, Param], pipeline: Pipeline, name: str, key: str, where: str) -> None:
        """The parameter at `key`, or each one in the table there, under the step's own name for it."""
        try:
            value = keys.find(pipeline.params, key)
        except KeyError:
            self.scope.unknown_param(pipeline.name, key, where)
            return
        for suffix, leaf in keys.leaves(value):
            param = Param(_joined(name, suffix), _joined(key, suffix), leaf)
            if found.setdefault(param.name, param).key != param.key:
                self.problems.tell_one_of(where, f"two parameters would be named {show(param.name)}: rename one")

    def _imply(self, found: dict[str, Param], pipeline: Pipeline, name: str, where: str) -> None:
        """A parameter that the command line names counts as if `params` had named it."""
        inner = next((each for each in found if each.startswith(f"{name}.")), "")
        try:
            value = None if inner else keys.find(pipeline.params, name)
        except KeyError:
            self._unknown_placeholder(found, pipeline, name, where)
            return
        if inner or isinstance(value, Mapping):
            key = inner or next((f"{name}.{each}" for each, _ in keys.leaves(value)), "")
            move = f": name one of its keys, such as {{params.{key}}}" if key else " and empty"
            self.problems.tell_one_of(where, f"{{params.{name}}} is a table{move}")
        else:
            found[name] = Param(name, name, value)

    def _unknown_placeholder(self, found: dict[str, Param], pipeline: Pipeline, name: str, where: str) -> None:
        near = self.problems.near(name, [*found, *keys.every_key(pipeline.params)])
        none = f": not in {at('pipelines', pipeline.name, 'params')}"
        self.problems.tell_one_of(where, f"unknown placeholder {{params.{name}}}{none}", near and f"{{params.{near}}}")

    # The outputs of all.

    def _check_overlaps(self) -> None:
        for outer, inner in self.scope.owners.overlaps():
            owner = self.scope.shown(outer.step.id)
            what = f"{show(inner.location.text)} lies inside {show(outer.location.text)}, an output of {owner}"
            self.problems.tell_one_of(inner.where, what)


def _joined(name: str, suffix: str) -> str:
    return f"{name}.{suffix}" if name and suffix else name or suffix
