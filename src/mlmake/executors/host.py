"""Jobs on a host by way of an agent: their files go there by content, they outlive the connection and mlmake itself."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from mlmake.errors import HostError, HostUnavailable
from mlmake.executors import freight
from mlmake.executors.base import Bring, Setting, Traits
from mlmake.model.job import Finished, Job, Shipment
from mlmake.model.project import Compute
from mlmake.transports.agent.wire import Head
from mlmake.transports.base import Transport
from mlmake.transports.link import Link
from mlmake.transports.ssh import Ssh

T = TypeVar("T")
PATIENCE = 300.0
"""Seconds for which a host that is out of reach is tried again."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0


class HostExecutor:
    """Runs jobs on the host behind a transport. `notice` takes words for the user, from any thread."""

    traits = Traits(shared_disk=False, reattach=True)

    @classmethod
    def of(cls, compute: Compute, setting: Setting) -> HostExecutor:
        gpus = compute.offers.gpus if compute.offers else 0
        return cls(Ssh.of(compute, setting.root), setting.notice, gpus=gpus)

    def __init__(
        self,
        transport: Transport,
        notice: Callable[[str], None] = lambda _: None,
        patience: float = PATIENCE,
        gpus: int = 0,
    ) -> None:
        """`gpus` is how many the host offers: a job gets those by index that no other job there has."""
        self._gpus = gpus
        self._transport = transport
        self._notice = notice
        self._patience = patience
        self._news = threading.Condition()
        self._connecting = threading.Lock()
        self._moving = threading.Lock()
        self._link: Link | None = None
        self._freight: Link | None = None
        self._logs: dict[str, str] = {}
        self._finished: dict[str, Finished] = {}
        self._is_lost = False
        self._is_woken = False
        self._is_closed = False

    def connect(self) -> Head:
        """What the host says of itself; the first call connects. Raises HostError, HostUnavailable."""
        return self._linked().hello

    def submit(self, job: Job) -> str:
        assert job.shipment is not None, "a host has no disk of ours"
        shipment = job.shipment
        spec = json.dumps(_spec(job, shipment, self._gpus)).encode()
        while lacking := self._do("submit", spec, job=shipment.name).get("missing"):
            self._move(partial(freight.send, files=shipment.files, lacking=lacking))
        with self._news:
            self._logs[shipment.name] = job.log
        self._do("watch", job=shipment.name, offset=0)
        return shipment.name

    def wait(self, handles: Collection[str], timeout: float | None) -> list[Finished]:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._news:
                done = [self._finished.pop(handle) for handle in handles if handle in self._finished]
                woken, self._is_woken = self._is_woken, False
                rest = None if until is None else until - time.monotonic()
                if done or woken or (rest is not None and rest <= 0):
                    return done
                if not self._is_lost:
                    self._news.wait(rest)
                    continue
            self._find_again(handles)

    def wake(self) -> None:
        with self._news:
            self._is_woken = True
            self._news.notify_all()

    def cancel(self, handle: str, grace: float) -> None:
        threading.Thread(target=self._cancel, args=(handle, grace), name="mlmake-cancel", daemon=True).start()

    def collect(self, handle: str, places: Mapping[str, str], bring: Bring) -> None:
        """Bring what a job wrote to its places. Raises OSError, HostError, HostUnavailable."""
        self._move(lambda link: freight.fetch(link, handle, places, bring))

    def forget(self, handle: str) -> None:
        """Let the host remove a job that has ended; later, if it is out of reach."""
        with self._news:
            self._logs.pop(handle, None)
        if self._link is not None and not self._is_lost:
            with suppress(HostError):
                self._link.tell("forget", job=handle, quiet=True)

    def read_log(self, handle: str, offset: int) -> bytes:
        with open(self._logs[handle], "rb") as file:
            file.seek(offset)
            return file.read()

    def close(self) -> None:
        self._is_closed = True
        self.wake()
        for link in (self._freight, self._link):
            if link is not None:
                link.close()
        self._transport.close()

    # The connection.

    def _linked(self) -> Link:
        """The conversation, anew if it was lost. Raises HostError; HostUnavailable when patience has ended."""
        with self._connecting:
            if self._link is None or self._is_lost:
                link = self._patiently(lambda: Link(self._transport, self._heard, self._lose))
                with self._news:
                    self._link, self._is_lost = link, False
            return self._link

    def _patiently(self, try_: Callable[[], T]) -> T:
        until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            try:
                return try_()
            except HostUnavailable as error:
                if self._is_closed or time.monotonic() + pause > until:
                    raise
                self._notice(f"{error.message}; trying again in {pause:g} s")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _do(self, op: str, body: bytes = b"", **head: Any) -> Head:
        """Ask, on a new connection if this one breaks: every question may be asked twice. Raises OSError, HostError."""
        return self._patiently(lambda: self._linked().ask(op, body, **head)[0])

    def _move(self, work: Callable[[Link], object]) -> None:
        """Move contents over a conversation of their own, so that they hold up nothing else."""
        with self._moving:
            self._patiently(lambda: work(self._freighter()))

    def _freighter(self) -> Link:
        self._linked()
        if self._freight is None or not self._freight.is_alive:
            self._freight = Link(self._transport)
        return self._freight

    def _lose(self) -> None:
        with self._news:
            self._is_lost = True
            self._news.notify_all()

    def _find_again(self, handles: Collection[str]) -> None:
        """After a loss: connect, and hear of the jobs from where we left off; or give up, and say so for each."""
        try:
            for handle in handles:
                log = self._logs.get(handle, "")
                offset = os.path.getsize(log) if os.path.exists(log) else 0
                self._do("watch", job=handle, offset=offset)
        except HostError as error:
            with self._news:
                for handle in handles:
                    self._finished[handle] = Finished(handle, 255, f"{error.message}; the job may go on there", True)

    # News.

    def _heard(self, head: Head, body: bytes) -> None:
        job = head["job"]
        if head["ev"] == "log":
            self._write_log(job, head["offset"], body)
            return
        with self._news:
            self._finished[job] = _finished(head)
            self._news.notify_all()

    def _write_log(self, job: str, offset: int, block: bytes) -> None:
        log = self._logs.get(job)
        if log:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(handle, block, offset)
            finally:
                os.close(handle)

    def _cancel(self, handle: str, grace: float) -> None:
        try:
            if self._is_lost or self._link is None:
                raise HostUnavailable(f"host {self._transport.name!r} is out of reach")
            self._link.ask("cancel", job=handle, grace=grace)
        except (HostError, OSError) as error:
            with self._news:
                self._finished[handle] = Finished(handle, 255, f"{error}; the job may go on there", True)
                self._news.notify_all()


def _spec(job: Job, shipment: Shipment, gpus_offered: int) -> dict[str, Any]:
    """What the agent is told of a job."""
    return {
        "argv": job.argv,
        "env": dict(job.env),
        "files": [(each.path, each.digest, each.size, each.is_executable) for each in shipment.files],
        "folders": shipment.folders,
        "search": shipment.search,
        "timeout": job.timeout,
        "gpus": job.resources.gpus,
        "gpus_offered": gpus_offered,
        "is_new": shipment.is_new,
        "step": job.name,
    }


def _finished(head: Head) -> Finished:
    if head.get("timed_out"):
        return Finished(head["job"], head["code"], "ended after its timeout")
    return Finished(
        head["job"],
        head["code"],
        head.get("problem", ""),
        cpu_seconds=head.get("cpu", 0.0),
        peak_memory=head.get("memory", 0),
    )
