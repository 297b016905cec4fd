"""Jobs on a host by way of an agent: their files go there by content, they outlive the connection and mlmake itself."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from mlmake.errors import HostError, HostUnavailable
from mlmake.executors import freight
from mlmake.executors.base import Bring, Setting, Traits
from mlmake.model.docker import Ran
from mlmake.model.job import Entry, Finished, Job, Shipment
from mlmake.model.project import Compute
from mlmake.transports.agent.wire import Head
from mlmake.transports.base import Transport
from mlmake.transports.lasting import Lasting
from mlmake.transports.link import Check, Link, never
from mlmake.transports.ssh import Ssh

T = TypeVar("T")
PATIENCE = 300.0
"""Seconds for which a host that is out of reach is tried again."""
_ROUNDS = 4
"""How often what a host lacks is sent to it, before it is told that it keeps nothing."""
_LOOK = 0.1
_GRACE = 5.0
_LAST_ERRANDS = 2.0
"""Seconds for what is still to be said when all is over."""


class HostExecutor:
    """Runs jobs on the host behind a transport. `notice` takes words for the user, from any thread."""

    traits = Traits(shared_disk=False, reattach=True)

    @classmethod
    def of(cls, compute: Compute, setting: Setting) -> HostExecutor:
        gpus = compute.offers.gpus if compute.offers else 0
        return cls(Ssh.of(compute, setting.root), setting.notice, is_stopping=setting.is_stopping, gpus=gpus)

    def __init__(
        self,
        transport: Transport,
        notice: Callable[[str], None] = lambda _: None,
        patience: float = PATIENCE,
        is_stopping: Check = never,
        gpus: int = 0,
    ) -> None:
        """`gpus` is how many the host offers: a job gets those by index that no other job there has."""
        self._gpus = gpus
        self._transport = transport
        self._notice = notice
        self._is_stopping = is_stopping
        self._control = Lasting(transport, patience, notice, is_stopping, self._heard, self._broke)
        self._freight = Lasting(transport, patience, notice, is_stopping)
        self._moving = threading.Lock()
        self._news = threading.Condition()
        self._logs: dict[str, str] = {}
        self._watched: set[str] = set()
        self._finished: dict[str, Finished] = {}
        self._graces: dict[str, float] = {}
        self._owed: set[str] = set()
        self._paying = threading.Lock()
        self._finding = threading.Lock()
        self._is_woken = False
        self._is_unwritable = False

    def connect(self) -> Head:
        """What the host says of itself; the first call connects. Raises HostError, HostUnavailable."""
        return self._control.patiently(lambda link: link.hello)

    def submit(self, job: Job) -> str:
        assert job.shipment is not None, "a host has no disk of ours"
        shipment = job.shipment
        with self._news:
            self._finished.pop(shipment.name, None)
            self._graces.pop(shipment.name, None)
        with self._paying:
            is_new = shipment.is_new or shipment.name in self._owed
            self._owed.discard(shipment.name)
        spec = self.request(job, shipment, is_new)
        if shipment.is_there:
            self._control.ask("find", job=shipment.name)
        else:
            self._ship(shipment, json.dumps(spec).encode())
        with self._news:
            self._logs[shipment.name] = job.log
            self._watched.add(shipment.name)
        self._control.ask("watch", job=shipment.name, offset=0)
        return shipment.name

    def wait(self, handles: Collection[str], timeout: float | None) -> list[Finished]:
        until = None if timeout is None else time.monotonic() + timeout
        with self._news:
            while True:
                done = [self._finished.pop(handle) for handle in handles if handle in self._finished]
                woken, self._is_woken = self._is_woken, False
                rest = None if until is None else until - time.monotonic()
                if done or woken or (rest is not None and rest <= 0):
                    return done
                self._news.wait(rest)

    def wake(self) -> None:
        with self._news:
            self._is_woken = True
            self._news.notify_all()

    def cancel(self, handle: str, grace: float) -> None:
        with self._news:
            if handle not in self._watched or self._graces.get(handle, grace + 1) <= grace:
                return
            self._graces[handle] = grace
        _thread("cancel", self._cancel, handle, grace)

    def collect(self, handle: str, places: Mapping[str, str], bring: Bring) -> None:
        """Bring what a job wrote to its places. Raises OSError, HostError, HostUnavailable."""
        self._move(freight.Fetch(handle, places, bring).go)

    def keep(self, handle: str, paths: Sequence[str]) -> Mapping[str, tuple[Entry, ...]]:
        """Let outputs stay there. Raises OSError, HostError, HostUnavailable."""
        return self._move(partial(freight.keep, job=handle, paths=paths))

    def take(self, wanted: Sequence[tuple[Entry, str]], bring: Bring) -> None:
        """Bring what stayed there. Raises OSError, LostContent, HostError, HostUnavailable."""
        self._move(freight.Take(wanted, bring).go)

    def forget(self, handle: str) -> None:
        """Let the host remove a job that has ended; later, if it is out of reach."""
        with self._news:
            self._logs.pop(handle, None)
            self._watched.discard(handle)
            self._finished.pop(handle, None)
        self._owed.add(handle)
        _thread("forget", self._pay)

    def ask(self, argv: Sequence[str], env: Mapping[str, str], seconds: float) -> Ran:
        """Run a program on the host to its end. Raises OSError, HostError."""
        return self._control.patiently(lambda link: ran(link, argv, env, seconds))

    def environment(self, key: str, probe: Sequence[str], traces: Sequence[str]) -> str:
        """What an environment on the host says of itself, asked with `probe`; "" if it does not stand.

        As long as the conversation lasts nobody removes it. Raises OSError, HostError.
        """
        return str(self._control.ask("environment", json.dumps(probe).encode(), key=key, traces=list(traces))["said"])

    def follow(self, job: Job, go_on: Callable[[], object]) -> Finished:
        """Run a job to its end, beside those of `wait`; what `go_on` raises ends it. Raises OSError, HostError."""
        handle = self.submit(job)
        try:
            while (finished := self._end_of(handle, _LOOK)) is None:
                go_on()
            return finished
        except BaseException:
            self.cancel(handle, _GRACE)
            self._end_of(handle, 2 * _GRACE)
            raise
        finally:
            self.forget(handle)

    def read_log(self, handle: str, offset: int) -> bytes:
        try:
            with open(self._logs[handle], "rb") as file:
                file.seek(offset)
                return file.read()
        except FileNotFoundError:  # it has written nothing yet
            return b""

    def close(self) -> None:
        if self._owed and self._control.current:
            last = _thread("forget", self._pay)
            last.join(_LAST_ERRANDS)
        self._freight.close()
        self._control.close()
        self.wake()
        self._transport.close()

    # What is asked, and what is told.

    def request(self, job: Job, shipment: Shipment, is_new: bool) -> dict[str, Any]:
        """What the agent is told of a job. Raises OSError, HostError."""
        return {
            "argv": job.argv,
            "env": dict(job.env),
            "secrets": dict(job.secrets),
            "files": [(each.path, each.digest, each.size, each.is_executable) for each in shipment.files],
            "folders": shipment.folders,
            "search": shipment.search,
            "timeout": job.timeout,
            "gpus": job.resources.gpus,
            "gpus_offered": self._gpus,
            "is_new": is_new,
            "question": uuid.uuid4().hex,
            "step": job.name,
            "environment": job.environment,
        }

    def ending(self, head: Head) -> Finished:
        """What the agent tells of a job that has ended."""
        if head.get("timed_out"):
            return Finished(head["job"], head["code"], "ended after its timeout")
        return Finished(
            head["job"],
            head["code"],
            head.get("problem", ""),
            cpu_seconds=head.get("cpu", 0.0),
            peak_memory=head.get("memory", 0),
            gpu_memory=head.get("gpu_memory", 0),
        )

    # To the host.

    def _end_of(self, handle: str, seconds: float) -> Finished | None:
        with self._news:
            self._news.wait_for(lambda: handle in self._finished, seconds)
            return self._finished.pop(handle, None)

    def _ship(self, shipment: Shipment, spec: bytes) -> None:
        """Send what the host lacks of a job, until it has all of it and starts the job. Raises OSError, HostError."""
        lacking: list[str] = []
        for _ in range(_ROUNDS):
            lacking = self._control.ask("submit", spec, job=shipment.name).get("missing", [])
            if not lacking:
                return
            try:
                self._move(partial(freight.send, files=shipment.files, lacking=set(lacking)))
            except OSError as error:
                if error.errno != errno.EBADMSG:
                    raise
        kept = f"{self._transport.name} does not keep what is sent to it: {lacking[0]}"
        raise OSError(errno.EIO, kept)

    def _move(self, work: Callable[[Link], T]) -> T:
        """Move contents over a conversation of their own, so that they hold up nothing else."""
        with self._moving:
            try:
                return self._freight.patiently(work)
            except BaseException:
                self._freight.hang_up()  # it may stand in the middle of something
                raise

    def _pay(self) -> None:
        """Let the host forget what it may; not after a job of the same name has begun anew."""
        with self._paying:
            link, names = self._control.current, list(self._owed)
            if link is None or not names:
                return
            try:
                link.ask("forget", json.dumps(names).encode())
            except HostError:
                return
            self._owed.difference_update(names)

    def _cancel(self, handle: str, grace: float) -> None:
        try:
            link = self._control.current
            if link is None:
                raise HostUnavailable(f"host {self._transport.name!r} is out of reach")
            link.ask("cancel", job=handle, grace=grace)
        except (HostError, OSError) as error:
            self._lose(handle, str(error))

    # From the host.

    def _heard(self, head: Head, body: bytes) -> None:
        job = head["job"]
        if head["ev"] == "log":
            self._write_log(job, head["offset"], body)
            return
        with self._news:
            if job in self._watched:
                self._watched.discard(job)
                self._finished[job] = self.ending(head)
                self._news.notify_all()

    def _write_log(self, job: str, offset: int, block: bytes) -> None:
        log = self._logs.get(job)
        if not log:
            return
        try:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(handle, block, offset)
            finally:
                os.close(handle)
        except OSError as error:
            if not self._is_unwritable:
                self._is_unwritable = True
                self._notice(f"cannot write the log {log}: {error.strerror}")

    def _broke(self) -> None:
        if self._watched and not self._control.is_over:
            _thread("find", self._find_again)

    def _find_again(self) -> None:
        """After a loss: connect, and hear of the jobs from where we left off; or give up, and say so for each."""
        with self._finding:
            if self._control.current is None and not self._watched:
                return
            try:
                self._control.patiently(self._watch_all)
                self._pay()
            except (HostError, OSError) as error:
                for handle in tuple(self._watched):
                    self._lose(handle, str(error))

    def _watch_all(self, link: Link) -> None:
        for handle in tuple(self._watched):
            log = self._logs.get(handle, "")
            size = 0
            with suppress(OSError):
                size = os.path.getsize(log)
            link.ask("watch", job=handle, offset=size)

    def _lose(self, handle: str, why: str) -> None:
        with self._news:
            if handle in self._watched:
                self._watched.discard(handle)
                self._finished[handle] = Finished(handle, 255, f"{why}; the job may go on there", True)
                self._news.notify_all()


def ran(link: Link, argv: Sequence[str], env: Mapping[str, str], seconds: float) -> Ran:
    """What a program on the host says, run to its end. Raises OSError, HostError."""
    told, said = link.ask("run", argv=list(argv), env=dict(env), seconds=seconds)
    return Ran(returncode=told["code"], stdout=said.decode("utf-8", "replace"), stderr=told["errors"])


def _thread(what: str, work: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, name=f"mlmake-{what}", daemon=True)
    thread.start()
    return thread
