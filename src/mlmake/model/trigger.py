"""When a pipeline is built without being asked for: when files arrive, at intervals, at times of the clock."""

from __future__ import annotations

from dataclasses import dataclass

from mlmake.model.data import Location


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """What a watch builds a pipeline on.

    Attributes:
        on_change: files, folders and globs: whenever one of them changes, comes or goes.
        every: seconds from one build to the next; 0 for none.
        cron: times of the clock, as in a crontab; "" for none.
        timezone: whose clock: an IANA name such as `Europe/Berlin`; "" for this machine's.
    """

    on_change: tuple[Location, ...] = ()
    every: float = 0.0
    cron: str = ""
    timezone: str = ""
