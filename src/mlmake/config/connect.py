"""A step among the others: its inputs found, its references resolved, the steps that come before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlmake.config.problems import Wrong, below, listed, show
from mlmake.config.references import parse_selector, split_reference
from mlmake.config.scope import Declared, Scope, where_of
from mlmake.model.data import Input, InputMode, Output, Source
from mlmake.model.step import Step


class Connections:
    """Connects steps, all of which are declared by now."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._tell = scope.problems.tell_one_of
        self._near = scope.problems.near
        self._known: dict[tuple[str, str], tuple[Source, ...]] = {}

    def connected(self, draft: Step) -> Step:
        """`draft` with its inputs and all that comes before it."""
        where = where_of(draft.pipeline, draft.group)
        inputs = tuple(self._input(name, texts, draft, where) for name, texts in draft.spec.inputs.items())
        producers = dict.fromkeys(p for each in inputs for source in each.sources for p in source.producers)
        producers.pop(draft.id, None)  # told as a problem by `_input`
        after = dict.fromkeys(self._after(draft, f"{where}.after"))
        return Step(  # dataclasses.replace takes several times as long
            id=draft.id,
            name=draft.name,
            pipeline=draft.pipeline,
            spec=draft.spec,
            matrix=draft.matrix,
            inputs=inputs,
            outputs=draft.outputs,
            params=draft.params,
            producers=tuple(producers),
            after=tuple(each for each in after if each not in producers),
        )

    def _input(self, name: str, texts: tuple[str, ...], draft: Step, where: str) -> Input:
        at = below(f"{where}.inputs", name)
        sources: list[Source] = []
        for text in texts:
            filled = self._scope.filled(text, draft.pipeline, draft.matrix, at)
            if filled is None:
                continue
            found = self._sources(filled, draft, at)
            if any(draft.id in source.producers for source in found):
                own = self._scope.shown(draft.id)
                self._tell(at, f"{show(text)} is what {own} makes itself: a step cannot read its own output")
            sources += found
        return Input(name, tuple(sources), draft.spec.modes.get(name, InputMode.FETCH))

    def _after(self, draft: Step, where: str) -> Iterator[str]:
        for text in draft.spec.after:
            name = self._scope.filled(text, draft.pipeline, draft.matrix, where)
            for step in self._steps_named(name, draft, where) if name is not None else ():
                if step.id == draft.id:
                    self._tell(where, f"{show(text)}: a step cannot come after itself")
                else:
                    yield step.id

    def _sources(self, text: str, draft: Step, where: str) -> tuple[Source, ...]:
        """What a filled text names; steps of a matrix that say the same share what was found."""
        key = (draft.pipeline, text)
        if key not in self._known:
            before = len(self._scope.problems)
            found = tuple(self._referenced(text, draft, where) if text.startswith("@") else self._at(text, where))
            if len(self._scope.problems) > before:
                return found
            self._known[key] = found
        return self._known[key]

    def _at(self, text: str, where: str) -> Iterator[Source]:
        location = self._scope.locate(text, where, globs=True)
        if location is not None and location.pattern and "*" not in text:
            # `fit[fold=0].csv` is a pattern only if no step makes a file of that very name.
            exact = self._scope.locate(text, where)
            location = exact if exact and self._scope.owners.at(exact.path) else location
        if location is not None:
            yield Source(location, self._scope.owners.producers(location))

    def _referenced(self, text: str, draft: Step, where: str) -> Iterator[Source]:
        try:
            name, output = split_reference(text)
        except Wrong as wrong:
            self._tell(where, wrong.what)
            return
        for step in self._steps_named(name, draft, where, text):
            found = self._output_of(step, output, text, where)
            if found is not None:
                yield Source(found.location, (step.id,))

    def _output_of(self, step: Step, name: str, text: str, where: str) -> Output | None:
        names = [*step.spec.outputs, *step.spec.metrics]
        wanted = name or (names[0] if len(names) == 1 else "")
        if not wanted and names:
            self._tell(where, f"{show(text)} names no output of step {step.group!r}; it has: {listed(names)}")
        elif not wanted:
            self._tell(where, f"unknown reference {show(text)}: step {step.group!r} has no outputs")
        elif wanted not in names:
            near = self._near(name, names)
            self._tell(where, f"unknown reference {show(text)}: step {step.group!r} has no output {name!r}", near)
        # An output that is declared but has no place has a problem of its own.
        return next((output for output in step.outputs if output.name == wanted), None)

    def _steps_named(self, name: str, draft: Step, where: str, said: str = "") -> list[Step]:
        """The steps that `step`, `step[axis=value]` or `pipeline.step` stands for, seen from `draft`."""
        try:
            pipeline, group, selector = parse_selector(name)
        except Wrong as wrong:
            self._tell(where, wrong.what, wrong.near)
            return []
        pipeline = pipeline or draft.pipeline
        declared = self._scope.pipelines.get(pipeline)
        start = f"unknown reference {show(said)}: no" if said else "unknown"
        if declared is None:
            near = self._near(pipeline, self._scope.pipelines)
            self._tell(where, f"{start} pipeline {show(pipeline)}{_known(near, self._scope.pipelines)}", near)
            return []
        if group in declared.broken or declared.is_broken:
            return []
        if group not in declared.specs:
            legal = [*declared.specs, *declared.broken]
            near = self._near(group, legal)
            other = self._other(group) or _known(near, legal)
            self._tell(where, f"{start} step {show(group)}{other}", near)
            return []
        return self._selected(declared, group, selector, name, where)

    def _selected(self, declared: Declared, group: str, selector: dict[str, str], name: str, where: str) -> list[Step]:
        matrix = declared.specs[group].matrix
        for axis in selector:
            if axis not in matrix:
                axes = f"its axes are {listed(matrix)}" if matrix else "it has no matrix"
                near = self._near(axis, matrix)
                self._tell(where, f"{show(name)}: step {group!r} has no axis {axis!r}; {axes}", near)
                return []
        found = self._scope.groups.select(declared.pipeline.name, group, selector)
        if not found:
            values = "; ".join(f"{axis} is one of {show(matrix[axis])}" for axis in selector)
            self._tell(where, f"step {group!r} has no combination {show(name)}: {values}")
        return found

    def _other(self, name: str) -> str:
        """What an unknown step's name may stand for elsewhere."""
        if name in self._scope.pipelines:
            return f"; {name!r} is a pipeline, and its steps are {name}.NAME"
        holders = [each for each, declared in self._scope.pipelines.items() if name in declared.specs]
        return f" in this pipeline; there is {holders[0]}.{name}" if holders else ""


def _known(near: str, legal: Iterable[str]) -> str:
    """What there is, where no word of it is near."""
    names = list(legal)
    return "" if near or not names else f"; known: {listed(names)}"
