"""How versions of data and the step runs around them are told: as words, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import click

from mlmake.model.lineage import Activity, Use, Version
from mlmake.model.project import Project
from mlmake.model.run import Item, Outcome, size_in_words, version_in_words
from mlmake.services.lineage import Level, Lineage
from mlmake.state.digests import Digest

_FEW = 3


def item_words(item: Item) -> str:
    """`build/x.csv  5e011c5cca91  12 B`."""
    told = f"{version_in_words(item.digest)}  {size_in_words(item.size)}"
    return f"{click.style(item.text, bold=True)}  {click.style(told, dim=True)}"


def runs_words(activities: Iterable[Activity]) -> str:
    """`run 3`, `runs 1 and 3`, `runs 1, 3, 4 and 7 more`."""
    numbers = [str(each) for each in sorted({each.run for each in activities})]
    if len(numbers) == 1:
        return f"run {numbers[0]}"
    last = numbers[-1] if len(numbers) <= _FEW + 1 else f"{len(numbers) - _FEW} more"
    first = numbers[:-1] if len(numbers) <= _FEW + 1 else numbers[:_FEW]
    return f"runs {', '.join(first)} and {last}"


def activity_words(project: Project, activities: list[Activity]) -> str:
    """`fit, run 3`; a run that only restored says so."""
    restored = all(each.outcome is Outcome.RESTORED for each in activities)
    note = click.style(" (restored)", fg="blue") if restored else ""
    return f"{click.style(project.shown(activities[0].step), fg='cyan')}, {runs_words(activities)}{note}"


@dataclass(frozen=True, slots=True)
class Teller:
    """Versions and step runs as JSON, with what is known of contents in datastores: (url, version) -> content."""

    lineage: Lineage
    contents: Mapping[tuple[str, str], Digest]

    def name(self, version: Version) -> str:
        """The name that its last maker gave it, or else its last user."""
        given = (each.names.get(version.item.text) for each in reversed(version.made))
        return next((name for name in given if name), version.used[-1].name if version.used else "")

    def content(self, version: Version) -> str | None:
        """The digest of what it holds; None where that is not known."""
        if not version.where.is_remote:
            return version.item.digest
        known = self.contents.get((version.where.key, version.item.digest))
        return known.digest if known else None

    def version(self, version: Version) -> dict[str, object]:
        """One version with its last maker and user."""
        used = next(reversed(version.used), None)
        maker = self.lineage.maker(version)
        return {
            "name": self.name(version),
            "store": version.where.store,
            "path": version.where.path,
            "text": version.item.text,
            "version": version.item.digest,
            "content": self.content(version),
            "size": version.item.size,
            "made": _made(maker.activity) if maker else None,
            "used": _used(used) if used else None,
        }

    def history(self, version: Version) -> dict[str, object]:
        """One version with all its makers and users, newest first."""
        made = [_made(each) for each in reversed(version.made)]
        used = [_used(each) for each in reversed(version.used)]
        return {**self.version(version), "makers": made, "users": used}

    def levels(self, levels: Iterable[Level]) -> list[dict[str, object]]:
        """The step runs of a walk."""
        return [self._level(each) for each in levels]

    def _level(self, level: Level) -> dict[str, object]:
        activity = level.activity
        read = self.lineage.inputs(activity)
        return {
            "level": level.level,
            **_run(activity),
            "started": activity.started,
            "ended": activity.ended,
            "inputs": [
                {"name": name, **_told(each.item), "made": self._origins(each, activity)} for name, each in read
            ],
            "outputs": [{"name": activity.names.get(each.text, ""), **_told(each)} for each in activity.outputs],
        }

    def _origins(self, version: Version, user: Activity) -> list[dict[str, object]]:
        return [_run(each.activity) for each in self.lineage.origins(version, user)]


def _told(item: Item) -> dict[str, object]:
    return {"text": item.text, "version": item.digest, "size": item.size}


def _run(activity: Activity) -> dict[str, object]:
    return {"step": activity.step, "run": activity.run, "outcome": activity.outcome.value}


def _made(activity: Activity) -> dict[str, object]:
    return {**_run(activity), "ended": activity.ended}


def _used(use: Use) -> dict[str, object]:
    return {**_run(use.activity), "started": use.activity.started, "input": use.name}
