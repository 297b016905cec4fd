"""The data that a word on the command line names: an item, all in a folder or datastore, or what a step touched."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import click
from click.shell_completion import CompletionItem

from mlmake.cli.place import Place, complete_targets
from mlmake.config.places import is_glob
from mlmake.errors import MlmakeError, UsageError, nearest
from mlmake.model.globs import matches
from mlmake.model.lineage import Version
from mlmake.model.project import Project
from mlmake.plan.selection import named
from mlmake.services.history import places
from mlmake.services.lineage import Lineage


class Items(click.ParamType[str]):
    """An item of data or a step, completed by the shell from what the last runs made and used."""

    name = "item"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        place = ctx.find_object(Place) or Place(os.getcwd())
        words = (word for word in _texts(place) if word.startswith(incomplete))
        return [*map(CompletionItem, words), *complete_targets(ctx, incomplete)]


@dataclass(frozen=True, slots=True)
class Selected:
    """Versions, one of each place in `keys`; `is_one` where the word named just this item."""

    keys: tuple[str, ...]
    versions: tuple[Version, ...]
    is_one: bool = False


def select(project: Project, lineage: Lineage, word: str | None, folder: str = "", until: float = math.inf) -> Selected:
    """What `word` names, in the versions as they stood when run `until` ended; everything where there is no word.

    `folder` is where the user stands: paths may be given from there. Raises UsageError.
    """
    if word is None:
        return _selected(lineage, lineage.places(), until)
    keys = _keys(project, word, folder)
    for key in keys:
        if version := lineage.present(key, until):
            return Selected((key,), (version,), is_one=True)
    steps = _steps(project, lineage, word)
    found = (
        _of_steps(lineage, steps)
        or _matching(lineage, word)
        or next(filter(None, (_below(lineage, key) for key in keys)), [])
    )
    selected = _selected(lineage, found, until)
    if not selected.keys:
        raise _unknown(project, lineage, word, bool(found or steps or any(map(lineage.versions, keys))))
    return selected


def _selected(lineage: Lineage, keys: Iterable[str], until: float) -> Selected:
    versions = [version for key in keys if (version := lineage.present(key, until))]
    return Selected(tuple(each.where.key for each in versions), tuple(versions))


def _keys(project: Project, word: str, folder: str) -> list[str]:
    """The keys of what a path may mean: from where the user stands, or from the project's root."""
    where = places(project)
    if "://" in word:
        return [where(word).key]
    paths = (os.path.normpath(os.path.join(base, word)) for base in (folder or project.root, project.root))
    return list(dict.fromkeys([*paths, word.rstrip("/")]))


def _below(lineage: Lineage, key: str) -> list[str]:
    return [each for each in lineage.places() if each.startswith(f"{key}/")]


def _matching(lineage: Lineage, word: str) -> list[str]:
    """The keys of what a glob names, in the project or a datastore."""
    if not is_glob(word):
        return []
    return [key for key in lineage.places() if any(matches(each.item.text, word) for each in lineage.versions(key))]


def _steps(project: Project, lineage: Lineage, word: str) -> set[str]:
    """The ids of steps that a word names; they may be gone from the file."""
    known = {*project.steps, *(each.step for each in lineage.activities)}
    if word in project.pipelines or "[" in word:
        with suppress(UsageError):
            return {step.id for step in named(project, [word])}
    return {step for step in known if word in _names(step)}


def _names(step: str) -> tuple[str, ...]:
    """Every word for a step: `p.fit[x=1]` is also `fit[x=1]`, `p.fit`, `fit`."""
    name = step.partition(".")[2]
    return step, name, step.partition("[")[0], name.partition("[")[0]


def _of_steps(lineage: Lineage, steps: set[str]) -> list[str]:
    """The keys of all that steps ever read or wrote."""
    found = set()
    for each in lineage.activities:
        if each.step in steps:
            found |= {version.where.key for _, version in lineage.inputs(each)}
            found |= {version.where.key for version in lineage.outputs(each)}
    return sorted(found)


def _unknown(project: Project, lineage: Lineage, word: str, is_known: bool) -> UsageError:
    if is_known:
        return UsageError(f"no run has made or used {word} yet", hint="`mlmake runs` lists the runs")
    steps = {each.step for each in lineage.activities}
    near = nearest(word, [*_texts_of(lineage), *(name for step in steps for name in _names(step))])
    return UsageError(
        f"no run made or used data named {word!r}, and no step is named so"
        + (f"; did you mean {near!r}?" if near else ""),
        hint="`mlmake data` lists all that runs made and used",
    )


def _texts_of(lineage: Lineage) -> Iterator[str]:
    for key in lineage.places():
        yield from dict.fromkeys(each.item.text for each in lineage.versions(key))


def _texts(place: Place) -> list[str]:
    """What the last good run of each step read and wrote."""
    from mlmake.state.records import Records

    try:
        with place.state() as connection:
            records = Records(connection)
            known = [record for step in records.steps() if (record := records.get(step))]
    except MlmakeError:
        return []
    items = (item for each in known for item in [*(i for some in each.inputs.values() for i in some), *each.outputs])
    return sorted({item.text for item in items})
