"""Any file that can be imported: what it is, and what it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlmake.config.load import parse
from mlmake.errors import ConfigError, Problem, UsageError
from mlmake.model.data import Value
from mlmake.services.importing.azure import azure_draft
from mlmake.services.importing.draft import Draft, Note
from mlmake.services.importing.dvc.project import dvc_draft
from mlmake.services.importing.reading import read
from mlmake.services.importing.writing import text

_HINT = "a dvc.yaml has `stages`, the YAML of an Azure ML pipeline has `pipeline`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """A file of another tool as a pipelines.toml: its text, what is otherwise now, and why it does not load yet."""

    text: str
    steps: int
    notes: tuple[Note, ...]
    problems: tuple[Problem, ...]


def imported(source: str, root: str) -> Imported:
    """What the file at `source` becomes in a project at `root`, an absolute folder. Raises UsageError."""
    try:
        draft = _draft(source, root)
    except RecursionError:
        what = f"{source}: it, or a file that it names, is nested too deep"
        raise UsageError(what, hint="an alias (*x) must not stand inside of what it names (&x)") from None
    written = text(draft)
    try:
        parse(written.encode(), root)
        problems: tuple[Problem, ...] = ()
    except ConfigError as error:
        problems = error.problems
    return Imported(text=written, steps=len(draft.steps), notes=tuple(draft.notes), problems=problems)


def _draft(source: str, root: str) -> Draft:
    document: Value = read(source)
    if not isinstance(document, Mapping):
        raise UsageError(f"{source} holds no table", hint=_HINT)
    if "pipeline" in document:
        return azure_draft(document, source, root)
    if "Schedule" in document:
        raise UsageError(f"{source} is a schedule, not a pipeline", hint="import the pipeline that it runs")
    if "stages" in document:
        return dvc_draft(document, source, root)
    raise UsageError(f"{source} is no pipeline that can be imported", hint=_HINT)
