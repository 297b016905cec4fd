"""What the words on a command line select: pipelines, steps, outputs, and all that comes before them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from mlmake.config.problems import Wrong
from mlmake.config.references import parse_selector
from mlmake.errors import UsageError, nearest
from mlmake.model.project import Project
from mlmake.model.step import Step
from mlmake.model.template import as_text

Selector: TypeAlias = tuple[str, str, dict[str, str]]
"""Pipeline (or ""), step, and the values of its axes that are wanted."""


def named(project: Project, words: Sequence[str], folder: str = "") -> list[Step]:
    """The steps that `words` name; nothing named means the project's default, or else everything. Raises UsageError.

    `folder` is where the user stands: outputs may be given relative to it.
    """
    if not words:
        words, folder = [project.default] if project.default else list(project.pipelines), project.root
    found: dict[str, Step] = {}
    for word in words:
        steps = _of_word(project, word, folder)
        if not steps:
            raise _unknown(project, word)
        found.update((step.id, step) for step in steps)
    return list(found.values())


def named_outputs(project: Project, words: Sequence[str], folder: str = "") -> list[str]:
    """The absolute paths of the outputs that are named as such or by what lies in them, and not by their step."""
    found = ((word, path) for word in words for path in _outputs_at(project, word, folder))
    meant = (path for word, path in found if path.endswith(f"/{os.path.normpath(word)}") or not _by_name(project, word))
    return list(dict.fromkeys(meant))


def with_upstream(project: Project, steps: Iterable[Step]) -> list[Step]:
    """`steps` and all that come before them, each after those."""
    wanted = {step.id for step in steps}
    waiting = list(wanted)
    while waiting:
        for above in project.steps[waiting.pop()].upstream:
            if above not in wanted:
                wanted.add(above)
                waiting.append(above)
    return [step for step in project.steps.values() if step.id in wanted]


def _of_word(project: Project, word: str, folder: str) -> list[Step]:
    return _by_name(project, word) or _of_output(project, word, folder)


def _by_name(project: Project, word: str) -> list[Step]:
    if word in project.pipelines:
        return list(project.pipelines[word].steps)
    if word in project.steps:
        return [project.steps[word]]
    selector = _selector(word)
    return [step for step in project.steps.values() if _matches(step, word, selector)]


def _selector(word: str) -> Selector | None:
    try:
        return parse_selector(word) if "[" in word else None
    except Wrong:
        return None


def _matches(step: Step, word: str, selector: Selector | None) -> bool:
    if word in (step.name, step.group, f"{step.pipeline}.{step.group}"):
        return True
    if selector is None:
        return False
    pipeline, group, wanted = selector
    own = {axis: as_text(value) for axis, value in step.matrix.items()}
    is_meant = group == step.group and pipeline in ("", step.pipeline)
    return is_meant and bool(wanted) and wanted.items() <= own.items()


def _of_output(project: Project, word: str, folder: str) -> list[Step]:
    path = next(_outputs_at(project, word, folder), None)
    if path is not None:
        return [project.steps[project.owners[path]]]
    return [step for step in project.steps.values() if any(output.location.text == word for output in step.outputs)]


def _outputs_at(project: Project, word: str, folder: str) -> Iterator[str]:
    """The outputs that a path names, from where the user stands or from the root; what lies in one is made with it."""
    for base in dict.fromkeys([folder or project.root, project.root]):
        path = os.path.normpath(os.path.join(base, word))
        while path not in project.owners and path != os.path.dirname(path):
            path = os.path.dirname(path)
        if path in project.owners:
            yield path


def _unknown(project: Project, word: str) -> UsageError:
    groups = dict.fromkeys(step.group for step in project.steps.values())
    names = dict.fromkeys(step.name for step in project.steps.values())
    outputs = dict.fromkeys(output.location.text for step in project.steps.values() for output in step.outputs)
    near = nearest(word, [*project.pipelines, *groups, *names, *outputs])
    return UsageError(
        f"no pipeline, step or output named {word!r}" + (f"; did you mean {near!r}?" if near else ""),
        hint="`mlmake status` lists the steps",
    )
