"""A conversation that is begun again when it breaks, as long as patience lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from mlmake.errors import HostUnavailable
from mlmake.transports.agent.wire import Head
from mlmake.transports.base import Transport
from mlmake.transports.link import Check, Link, News, never

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0
_LOOK = 0.1
_HELD = 30.0
"""Seconds after which a conversation that breaks had gone well, and patience begins anew."""


class Lasting:
    """Conversations with one host, one after the other. Every method may be called from any thread."""

    def __init__(
        self,
        transport: Transport,
        patience: float,
        notice: Callable[[str], None] = lambda _: None,
        is_stopping: Check = never,
        news: News | None = None,
        broke: Callable[[], None] | None = None,
    ) -> None:
        """`patience` is for how many seconds a host out of reach is tried again; `broke` is told of a break."""
        self._transport = transport
        self._patience = patience
        self._notice = notice
        self._is_stopping = is_stopping
        self._news = news
        self._broke = broke
        self._connecting = threading.Lock()
        self._link: Link | None = None
        self._is_closed = False

    @property
    def current(self) -> Link | None:
        """The conversation as it is; None if there is none."""
        link = self._link
        return link if link is not None and link.is_alive else None

    def ask(self, op: str, body: bytes = b"", **head: Any) -> Head:
        """Ask, again if the conversation breaks: every question may be asked twice.

        Raises Refused, HostError, HostUnavailable.
        """
        return self.patiently(lambda link: link.ask(op, body, **head)[0])

    def patiently(self, work: Callable[[Link], T]) -> T:
        """Do some work, from its start if the conversation breaks. Raises what the work does."""
        until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                return work(self._linked())
            except HostUnavailable as error:
                now = time.monotonic()
                if now - began > _HELD:
                    until, pause = now + self._patience, _FIRST_PAUSE
                if self.is_over or now + pause > until:
                    raise
                self._notice(f"{error.message}; trying again in {pause:g} s")
            self._rest(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    @property
    def is_over(self) -> bool:
        """Nobody wants to wait for the host any more."""
        return self._is_closed or self._is_stopping()

    def hang_up(self) -> None:
        """End the conversation; the next question begins another."""
        link = self._link
        if link is not None:
            link.close()

    def close(self) -> None:
        """End the conversation for good."""
        self._is_closed = True
        self.hang_up()

    def _linked(self) -> Link:
        with self._connecting:
            if self._link is None or not self._link.is_alive:
                self._link = Link(self._transport, self._news, self._broke, lambda: self.is_over)
                if self._is_closed:
                    self._link.close()
            return self._link

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.is_over and time.monotonic() < until:
            time.sleep(_LOOK)
