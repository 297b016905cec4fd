"""How to watch, and what may be said to a watch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from mlmake.services.watch.ears import Lost
from mlmake.services.watch.hooks import Hooks
from mlmake.services.watch.interest import Heard

POLL = 2.0
"""Seconds between two looks at what cannot be heard."""


class Key(Enum):
    """What a person at a terminal may ask for."""

    REBUILD = "r"
    PAUSE = "p"
    QUIT = "q"


@dataclass(frozen=True, slots=True)
class Stop:
    """A signal asks to end."""

    signal: str


Message: TypeAlias = Heard | Lost | Key | Stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to watch; times in seconds.

    Attributes:
        settle: how long nothing may happen before what has changed is taken.
        poll: how often to look where the file system tells nothing.
        only_looks: look at everything so often.
        every: how often datastores that are not on this machine are asked.
        once: end after one build.
        restarts: a change ends running steps that it has made pointless.
        has_keys: somebody may press a key.
    """

    settle: float = 0.2
    poll: float = POLL
    only_looks: bool = False
    every: float = 60.0
    once: bool = False
    restarts: bool = False
    has_keys: bool = False
    hooks: Hooks = field(default_factory=Hooks)
