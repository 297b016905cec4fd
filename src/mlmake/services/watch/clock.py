"""When a trigger is due by the clock. All times are seconds since the epoch."""

from __future__ import annotations

import os
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim

from mlmake.model.trigger import Trigger

_LOCAL = "/etc/localtime"


def next_due(trigger: Trigger, now: float) -> float | None:
    """The first time after `now`; None if its clock says none."""
    times = [now + trigger.every] if trigger.every else []
    if trigger.cron:
        start = datetime.fromtimestamp(now, zone(trigger.timezone))
        times += (moment.timestamp() for moment in [next(CronSim(trigger.cron, start), None)] if moment)
    return min(times, default=None)


def zone(name: str) -> tzinfo:
    """A time zone with all its changes; "" for this machine's."""
    if name:
        return ZoneInfo(name)
    local = os.environ.get("TZ", "").lstrip(":")
    try:
        return ZoneInfo(local) if local else _local()
    except (KeyError, ValueError, OSError):  # such as CET-1CEST; the C library tells what that is today
        return datetime.now(UTC).astimezone().tzinfo or UTC


def _local() -> tzinfo:
    with open(_LOCAL, "rb") as file:
        return ZoneInfo.from_file(file)
