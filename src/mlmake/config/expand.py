"""Declared steps -> steps that can run: matrices multiplied out, placeholders filled, references resolved, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from mlmake.config import params as keys
from mlmake.config.build import Wrong
from mlmake.config.graph import Cycle, in_order
from mlmake.config.places import NAME, locate
from mlmake.config.references import Groups, Owners, parse_selector, split_reference
from mlmake.errors import Problem, nearest
from mlmake.model.data import Input, Location, Output, Scalar, Source, Value
from mlmake.model.project import FILE, Pipeline, Project
from mlmake.model.step import Param, Step, StepSpec
from mlmake.model.template import NAMESPACES, Placeholder, as_text, fill, placeholders


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """A pipeline as its tables say: steps that could be built, and the names of those with problems of their own."""

    pipeline: Pipeline
    specs: dict[str, StepSpec]
    broken: set[str]


def expand(project: Project, pipelines: Mapping[str, Declared], problems: list[Problem]) -> Project:
    """`project` with its pipelines and steps; what is wrong is added to `problems`."""
    return _Expansion(project, pipelines, problems).run()


class _Expansion:
    def __init__(self, project: Project, pipelines: Mapping[str, Declared], problems: list[Problem]) -> None:
        self.project = project
        self.pipelines = pipelines
        self.problems = problems
        self.told = set(problems)
        self.groups = Groups()
        self.owners = Owners()
        self.drafts: list[Step] = []

    def run(self) -> Project:
        for declared in self.pipelines.values():
            for spec in declared.specs.values():
                self._declare(declared.pipeline, spec)
        for problem in self.owners.overlaps():
            self._tell(problem)
        self._check_names()
        steps = {draft.id: self._connected(draft) for draft in self.drafts}
        try:
            ordered = in_order(steps)
        except Cycle as cycle:
            self._tell(Problem("pipelines", f"cycle: {cycle}"))
            ordered = list(steps.values())
        by_pipeline: dict[str, list[Step]] = {name: [] for name in self.pipelines}
        for step in steps.values():
            by_pipeline[step.pipeline].append(step)
        return replace(
            self.project,
            pipelines={
                name: replace(declared.pipeline, steps=tuple(by_pipeline[name]))
                for name, declared in self.pipelines.items()
            },
            steps={step.id: step for step in ordered},
            owners=self.owners.by_path(),
        )

    def _tell(self, problem: Problem) -> None:
        if problem not in self.told:
            self.told.add(problem)
            self.problems.append(problem)

    # A step by itself: combinations, parameters, outputs.

    def _declare(self, pipeline: Pipeline, spec: StepSpec) -> None:
        where = _where(pipeline.name, spec.name)
        self._check_spec(spec, where)
        for values in product(*spec.matrix.values()):
            matrix = dict(zip(spec.matrix, values, strict=True))
            name = (
                f"{spec.name}[{','.join(f'{k}={as_text(v)}' for k, v in matrix.items())}]"
                if matrix
                else spec.name
            )
            draft = Step(
                id=f"{pipeline.name}.{name}",
                name=name,
                pipeline=pipeline.name,
                spec=spec,
                matrix=matrix,
                inputs=(),
                outputs=tuple(self._outputs(pipeline, spec, matrix, where)),
                params=tuple(self._params(pipeline, spec, matrix, where)),
            )
            self.drafts.append(draft)
            self.groups.add(draft)
            for output in draft.outputs:
                self._own(draft, output, where)

    def _own(self, draft: Step, output: Output, where: str) -> None:
        other = self.owners.claim(output.location, draft.id)
        if other is None:
            return
        hint = ""
        if draft.matrix and self.groups.group_of(other) == self.groups.group_of(draft.id):
            axes = " ".join(f"{{matrix.{axis}}}" for axis in draft.matrix)
            hint = f"; name it apart with {axes}"
        self._tell(
            Problem(
                f"{where}.outputs.{output.name}",
                f"{output.location.text!r} is an output of both {other} and {draft.id}{hint}",
            )
        )

    def _outputs(
        self, pipeline: Pipeline, spec: StepSpec, matrix: Mapping[str, Scalar], where: str
    ) -> Iterator[Output]:
        for is_metrics, table in ((False, spec.outputs), (True, spec.metrics)):
            for name, text in table.items():
                at = f"{where}.{'metrics' if is_metrics else 'outputs'}.{name}"
                location = self._locate(self._filled(text, pipeline, matrix, at), at)
                if location is None:
                    continue
                if location.path == f"{self.project.root}/{FILE}" or location.path == self.project.root:
                    self._tell(Problem(at, f"{text!r} cannot be an output"))
                elif is_metrics and location.is_folder:
                    self._tell(Problem(at, f"metrics are a JSON file, not a folder: {text!r}"))
                else:
                    yield Output(name, location, is_metrics)

    def _params(
        self, pipeline: Pipeline, spec: StepSpec, matrix: Mapping[str, Scalar], where: str
    ) -> Iterator[Param]:
        for own, template in spec.params.items():
            key = self._filled(template, pipeline, matrix, f"{where}.params")
            name = key if own == template else own
            try:
                value = keys.find(pipeline.params, key)
            except KeyError:
                self._unknown_param(pipeline, key, f"{where}.params")
                continue
            for suffix, leaf in keys.leaves(value, ""):
                yield Param(_joined(name, suffix), _joined(key, suffix), leaf)
        named = {*spec.params}
        for found in dict.fromkeys(placeholders(spec.kind.words())):
            if found.space == "params" and found.name not in named:
                yield from self._implied(pipeline, found.name, named, where)

    def _implied(self, pipeline: Pipeline, name: str, named: set[str], where: str) -> Iterator[Param]:
        """A parameter that the command line names counts as if `params` had named it."""
        if any(name.startswith(f"{each}.") for each in named):
            return
        try:
            yield Param(name, name, keys.find(pipeline.params, name))
        except KeyError:
            self._unknown_param(pipeline, name, where)

    def _unknown_param(self, pipeline: Pipeline, key: str, where: str) -> None:
        near = nearest(key, keys.every_key(pipeline.params))
        self._tell(
            Problem(where, f"unknown parameter {key!r}: not in pipelines.{pipeline.name}.params", near)
        )

    def _filled(self, text: str, pipeline: Pipeline, matrix: Mapping[str, Scalar], where: str) -> str:
        def value(space: str, name: str) -> str | None:
            legal: Iterable[str]
            if space == "matrix":
                legal = matrix
                if name in matrix:
                    return as_text(matrix[name])
            elif space == "params":
                legal = keys.every_key(pipeline.params)
                if (found := self._scalar(pipeline, name)) is not None:
                    return found
            else:
                self._tell(
                    Problem(
                        where, f"{{{space}.{name}}} cannot stand here: only {{matrix.…}} and {{params.…}}"
                    )
                )
                return None
            self._tell(Problem(where, f"unknown {{{space}.{name}}}", nearest(name, legal)))
            return None

        return fill(text, value)

    @staticmethod
    def _scalar(pipeline: Pipeline, key: str) -> str | None:
        try:
            value: Value = keys.find(pipeline.params, key)
        except KeyError:
            return None
        return None if isinstance(value, Mapping | list) else as_text(value)

    def _locate(self, text: str, where: str, globs: bool = False) -> Location | None:
        try:
            return locate(text, self.project.root, self.project.datastores, globs)
        except Wrong as wrong:
            self._tell(Problem(where, wrong.what, wrong.near))
            return None

    # A step among the others: inputs and order.

    def _connected(self, draft: Step) -> Step:
        where = _where(draft.pipeline, draft.group)
        pipeline = self.pipelines[draft.pipeline].pipeline
        inputs = []
        for name, texts in draft.spec.inputs.items():
            at = f"{where}.inputs.{name}"
            filled = [self._filled(text, pipeline, draft.matrix, at) for text in texts]
            sources = tuple(source for text in filled for source in self._sources(text, draft, at))
            inputs.append(Input(name, sources))
        after = [
            each.id
            for text in draft.spec.after
            for each in self._steps_named(
                self._filled(text, pipeline, draft.matrix, where), draft, f"{where}.after"
            )
        ]
        producers = dict.fromkeys(p for each in inputs for source in each.sources for p in source.producers)
        return replace(
            draft,
            inputs=tuple(inputs),
            producers=tuple(producers),
            after=tuple(each for each in dict.fromkeys(after) if each not in producers),
        )

    def _sources(self, text: str, draft: Step, where: str) -> Iterator[Source]:
        if text.startswith("@"):
            yield from self._referenced(text, draft, where)
            return
        location = self._locate(text, where, globs=True)
        if location is not None:
            yield Source(location, self.owners.producers(location))

    def _referenced(self, text: str, draft: Step, where: str) -> Iterator[Source]:
        try:
            name, output = split_reference(text)
        except Wrong as wrong:
            self._tell(Problem(where, wrong.what))
            return
        for step in self._steps_named(name, draft, where, text):
            found = self._output_of(step, output, text, where)
            if found is not None:
                yield Source(found.location, (step.id,))

    def _output_of(self, step: Step, name: str, text: str, where: str) -> Output | None:
        if name:
            for output in step.outputs:
                if output.name == name:
                    return output
            near = nearest(name, [output.name for output in step.outputs])
            self._tell(
                Problem(where, f"unknown reference {text!r}: step {step.group} has no output {name!r}", near)
            )
        elif len(step.outputs) == 1:
            return step.outputs[0]
        else:
            names = ", ".join(output.name for output in step.outputs) or "none"
            self._tell(Problem(where, f"{text!r} names no output of step {step.group}; it has: {names}"))
        return None

    def _steps_named(self, name: str, draft: Step, where: str, said: str = "") -> list[Step]:
        """The steps that `step`, `step[axis=value]` or `pipeline.step` stands for, seen from `draft`."""
        try:
            pipeline, group, selector = parse_selector(name)
        except Wrong as wrong:
            self._tell(Problem(where, wrong.what))
            return []
        pipeline = pipeline or draft.pipeline
        declared = self.pipelines.get(pipeline)
        if declared is None:
            self._tell(Problem(where, f"unknown pipeline {pipeline!r}", nearest(pipeline, self.pipelines)))
            return []
        if group in declared.broken:
            return []
        if group not in declared.specs:
            near = nearest(group, [*declared.specs, *declared.broken])
            quoted = f"unknown reference {said!r}: no step {group!r}" if said else f"unknown step {group!r}"
            self._tell(Problem(where, quoted, near))
            return []
        unknown = [axis for axis in selector if axis not in declared.specs[group].matrix]
        if unknown:
            near = nearest(unknown[0], declared.specs[group].matrix)
            self._tell(Problem(where, f"step {group!r} has no matrix axis {unknown[0]!r}", near))
            return []
        found = self.groups.select(pipeline, group, selector)
        if not found:
            self._tell(Problem(where, f"no combination {name!r} of step {group!r}"))
        return found

    # Checks that need no combination.

    def _check_spec(self, spec: StepSpec, where: str) -> None:
        for table in ("inputs", "outputs", "metrics", "matrix"):
            for name in getattr(spec, table):
                if not NAME.fullmatch(name):
                    self._tell(
                        Problem(f"{where}.{table}", f"{name!r} is no name: use letters, digits, _ and -")
                    )
        for name in spec.outputs.keys() & spec.metrics.keys():
            self._tell(Problem(f"{where}.metrics", f"{name!r} is the name of an output already"))
        for found in placeholders(spec.kind.words()):
            self._check_placeholder(found, spec, where)
        if getattr(spec.kind, "args", ()) is None:
            self._check_flags(spec, where)
        for script in spec.kind.code().scripts:
            self._locate(script, f"{where}.script")

    def _check_placeholder(self, found: Placeholder, spec: StepSpec, where: str) -> None:
        legal: dict[str, Iterable[str]] = {
            "inputs": spec.inputs,
            "outputs": [*spec.outputs, *spec.metrics],
            "matrix": spec.matrix,
        }
        if found.space not in NAMESPACES:
            near = nearest(found.space, NAMESPACES)
            if near:
                self._tell(Problem(where, f"unknown placeholder {{{found.space}.{found.name}}}", near))
        elif found.space in legal and found.name not in legal[found.space]:
            near = nearest(found.name, legal[found.space])
            self._tell(Problem(where, f"unknown placeholder {{{found.space}.{found.name}}}", near))

    def _check_flags(self, spec: StepSpec, where: str) -> None:
        names = [*spec.inputs, *spec.outputs, *spec.metrics, *spec.params, *spec.matrix]
        flags = [name.replace(".", "-") for name in names]
        for flag in dict.fromkeys(flag for flag in flags if flags.count(flag) > 1):
            self._tell(
                Problem(where, f"two values would be handed over as --{flag}: rename one, or give 'args'")
            )

    def _check_names(self) -> None:
        project = self.project
        for declared in self.pipelines.values():
            for spec in declared.specs.values():
                where = _where(declared.pipeline.name, spec.name)
                targets = {"local", *project.computes}
                if spec.compute not in targets:
                    near = nearest(spec.compute, targets)
                    self._tell(Problem(f"{where}.compute", f"unknown compute target {spec.compute!r}", near))
                known = {"system", *project.environments}
                if spec.environment not in known:
                    near = nearest(spec.environment, known)
                    self._tell(
                        Problem(f"{where}.environment", f"unknown environment {spec.environment!r}", near)
                    )
        for compute in project.computes.values():
            members = [*compute.options.get("of", ()), *filter(None, [compute.options.get("via", "")])]
            for member in members:
                if member not in {"local", *project.computes}:
                    near = nearest(member, {"local", *project.computes})
                    self._tell(Problem(f"compute.{compute.name}", f"unknown compute target {member!r}", near))
        self._check_default()

    def _check_default(self) -> None:
        default = self.project.default
        legal = {*self.pipelines, *self.owners.texts()}
        for declared in self.pipelines.values():
            legal |= {*declared.specs, *declared.broken}
        legal |= {draft.id for draft in self.drafts} | {draft.name for draft in self.drafts}
        legal |= {f"{draft.pipeline}.{draft.group}" for draft in self.drafts}
        if default and default not in legal:
            what = f"{default!r} is no pipeline, step or output"
            self._tell(Problem("project.default", what, nearest(default, legal)))


def _where(pipeline: str, step: str) -> str:
    return f"pipelines.{pipeline}.steps.{step}"


def _joined(name: str, suffix: str) -> str:
    return f"{name}.{suffix}" if suffix else name
