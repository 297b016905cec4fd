"""The triggers of a pipeline: checked where they are declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from mlmake.config.places import locate
from mlmake.config.problems import Problems, Wrong, show
from mlmake.config.tables import TriggersTable
from mlmake.errors import nearest
from mlmake.model.data import Datastore, Location
from mlmake.model.trigger import Trigger

_SHORTEST = 1.0
_FIELDS = "minute hour day-of-month month day-of-week, such as '0 6 * * 1-5'"


def trigger(
    table: TriggersTable, where: str, root: str, stores: Mapping[str, Datastore], problems: Problems
) -> Trigger | None:
    """The trigger of a table; None if it says nothing. What is wrong is added to `problems`."""
    if not (table.on_change or table.every or table.cron):
        problems.tell(where, "it says nothing: give it 'on_change', 'every' or 'cron'")
        return None
    if table.every and table.every < _SHORTEST:
        problems.tell(f"{where}.every", f"a build every {table.every:g} s is too often: at least every second")
    if table.timezone and not table.cron:
        problems.tell(where, "'timezone' is that of 'cron', which is not there")
    for key, wrong in _clock(table):
        problems.tell(f"{where}.{key}", wrong.what, wrong.near)
    locations: list[Location] = []
    for text in table.on_change:
        try:
            locations.append(locate(text, root, stores, True))
        except Wrong as wrong:
            problems.tell(f"{where}.on_change", wrong.what, wrong.near)
    return Trigger(on_change=tuple(locations), every=table.every, cron=table.cron, timezone=table.timezone)


def _clock(table: TriggersTable) -> Iterator[tuple[str, Wrong]]:
    """What is wrong with the times of the clock, by key."""
    if table.cron:
        try:
            next(CronSim(table.cron, datetime.now(UTC)))
        except CronSimError as error:
            yield "cron", Wrong(f"{show(table.cron)} is no cron expression ({error})", move=_FIELDS)
        except StopIteration:
            yield "cron", Wrong(f"{show(table.cron)} never comes")
    if table.timezone:
        try:
            ZoneInfo(table.timezone)
        except (KeyError, ValueError, OSError):  # not found, no path, a folder
            yield "timezone", _no_zone(table.timezone)


def _no_zone(name: str) -> Wrong:
    near = nearest(name[:50], sorted(available_timezones()))
    return Wrong(f"no time zone {show(name)} is known here", near, "" if near else "names are as in 'Europe/Berlin'")
