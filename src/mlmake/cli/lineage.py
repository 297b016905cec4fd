"""One item of data for people: what it is, its versions, and its lineage as trees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import click

from mlmake.cli.tree import Branch, draw
from mlmake.cli.versions import Teller, activity_words, item_words
from mlmake.cli.words import when
from mlmake.model.lineage import Activity, Version
from mlmake.model.project import Project
from mlmake.model.run import Outcome
from mlmake.services.lineage import Lineage


def print_item(project: Project, teller: Teller, version: Version, versions: int) -> None:
    """What an item is, and who made it."""
    click.echo(item_words(version.item))
    if version.where.is_remote and not version.where.is_folder:
        click.echo(f"  content {(teller.content(version) or 'not known: it was never here')[:32]}")
    click.echo(f"  {_maker(project, teller, version)}")
    if versions > 1:
        click.echo(f"  one of {versions} versions: --versions lists them")


def print_history(project: Project, teller: Teller, versions: Sequence[Version]) -> None:
    """Versions, each with the runs that made and used it."""
    for version in versions:
        click.echo(item_words(version.item))
        for word, activities in (
            ("made by", version.made),
            ("used by", [use.activity for use in version.used]),
        ):
            for same in _by_step(activities):
                click.echo(f"  {word} {activity_words(project, same)}, {when(same[-1].ended)}")


def print_way(project: Project, lineage: Lineage, version: Version, depth: int, *, is_up: bool) -> None:
    """The tree of what a version was made from, or of what was made of it."""
    tree = _Up(project, lineage) if is_up else _Down(project, lineage)
    branches = tree.of(version, None)
    if branches:
        click.echo(f"\n{'made from' if is_up else 'used by'}")
        for line in draw(branches, 2 * depth):
            click.echo(line)
    elif not is_up:
        click.echo("\nused by no step yet")


def _maker(project: Project, teller: Teller, version: Version) -> str:
    origin = teller.lineage.maker(version)
    if origin is None:
        is_partly = bool(teller.lineage.origins(version))
        return "a folder in which steps write" if is_partly else "a source: no step made it"
    maker, name = origin.activity, origin.activity.names.get(origin.version.item.text)
    step = click.style(project.shown(maker.step), fg="cyan")
    whose = f"output {name} of {step}" if name else f"made by {step}"
    told = whose if origin.version is version else f"in {origin.version.item.text}, {whose}"
    word = "restored" if maker.outcome is Outcome.RESTORED else "made"
    back = f"; restored in run {version.made[-1].run}" if maker in version.made[:-1] else ""
    return f"{told}, {word} in run {maker.run}, {when(maker.ended)}{back}"


def _by_step(
    activities: Iterable[Activity], same: Callable[[Activity], object] = lambda each: each.step
) -> list[list[Activity]]:
    """Activities that are alike, together; newest run first, and oldest first in each."""
    groups: dict[object, list[Activity]] = {}
    for each in activities:
        groups.setdefault(same(each), []).append(each)
    return sorted(groups.values(), key=lambda group: (-group[-1].run, group[-1].step))


class _Up:
    """Branches of what something was made from."""

    def __init__(self, project: Project, lineage: Lineage) -> None:
        self._project = project
        self._lineage = lineage

    def of(self, version: Version, user: Activity | None) -> list[Branch]:
        """The step runs that a version comes from."""
        return [
            self._activity(each.activity, "" if each.version is version else f", as {each.version.item.text}")
            for each in self._lineage.origins(version, user)
        ]

    def _activity(self, activity: Activity, note: str) -> Branch:
        text = f"{activity_words(self._project, [activity])}{note}"
        return Branch(text, id(activity), lambda: self._inputs(activity))

    def _inputs(self, activity: Activity) -> list[Branch]:
        return [self._input(name, version, activity) for name, version in self._lineage.inputs(activity)]

    def _input(self, name: str, version: Version, user: Activity) -> Branch:
        text = f"{name}: {item_words(version.item)}"
        return Branch(text, (id(version), id(user)), lambda: self.of(version, user))


class _Down:
    """Branches of what used something."""

    def __init__(self, project: Project, lineage: Lineage) -> None:
        self._project = project
        self._lineage = lineage

    def of(self, version: Version, _: Activity | None) -> list[Branch]:
        """The step runs that used a version; those of one step that came to the same are one branch."""
        return [self._activities(same) for same in _by_step(self._lineage.uses(version), _result)]

    def _activities(self, same: list[Activity]) -> Branch:
        return Branch(activity_words(self._project, same), _result(same[-1]), lambda: self._outputs(same[-1]))

    def _outputs(self, activity: Activity) -> list[Branch]:
        return [self._output(version) for version in self._lineage.outputs(activity)]

    def _output(self, version: Version) -> Branch:
        return Branch(item_words(version.item), id(version), lambda: self.of(version, None))


def _result(activity: Activity) -> object:
    return activity.step, activity.outputs
