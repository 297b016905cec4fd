"""Jobs as processes of this machine: a session each, output straight into the log, nothing left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import suppress

from mlmake.executors import guard
from mlmake.executors.base import Traits
from mlmake.model.job import Finished, Job

_POLL = 0.02
"""Seconds between looks where the system has no pidfd."""


class ProcessExecutor:
    """Runs jobs here. `token` marks every process of this build, so that none can hide from the guard."""

    traits = Traits(shared_disk=True)

    def __init__(self, token: str) -> None:
        self._token = token
        self._running: dict[str, _Child] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._wakeup, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._lock = threading.Lock()

    def submit(self, job: Job) -> str:
        self._start_guard()
        env = {**job.env, guard.TOKEN: self._token}
        log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            process = subprocess.Popen(
                job.argv,
                cwd=job.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        child = _Child(process, job.log)
        with self._lock:
            self._running[child.handle] = child
        self._tell_guard(f"+{process.pid}")
        self.wake()
        return child.handle

    def wait(self, handles: Collection[str], timeout: float | None) -> list[Finished]:
        children = [child for handle in handles if (child := self._running.get(handle))]
        until = None if timeout is None else time.monotonic() + timeout
        for child in self._ready(children, until):
            child.reap()
        now = time.monotonic()
        for child in children:
            if child.kill_at is not None and child.kill_at <= now and child.exit_code is None:
                guard.kill_group(child.pid)
        done = [child for child in children if child.exit_code is not None]
        for child in done:
            with self._lock:
                self._running.pop(child.handle, None)
            self._tell_guard(f"-{child.pid}")
            child.close()
        return [Finished(child.handle, child.exit_code or 0) for child in done]

    def wake(self) -> None:
        with suppress(BlockingIOError, OSError):
            os.write(self._waker, b"!")

    def cancel(self, handle: str, grace: float) -> None:
        child = self._running.get(handle)
        if child is None or child.exit_code is not None:
            return
        child.kill_at = time.monotonic() + grace
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM if grace > 0 else signal.SIGKILL)
        self.wake()

    def read_log(self, handle: str, offset: int) -> bytes:
        child = self._running[handle]
        with open(child.log, "rb") as file:
            file.seek(offset)
            return file.read()

    def close(self) -> None:
        for child in list(self._running.values()):
            guard.kill_group(child.pid)
            child.reap(wait=True)
            child.close()
        self._running.clear()
        if self._guard is not None and self._guard.stdin is not None:
            self._tell_guard("bye")
            with suppress(OSError):
                self._guard.stdin.close()
            self._guard.wait()
            self._guard = None
        os.close(self._waker)
        os.close(self._wakeup)

    def _ready(self, children: list[_Child], until: float | None) -> list[_Child]:
        """Children that have ended; waits for one, for a wake-up, or for the next child that is due to be killed."""
        due = [at for child in children if (at := child.kill_at) is not None]
        limits = [limit for limit in [until, *due] if limit is not None]
        timeout = max(0.0, min(limits) - time.monotonic()) if limits else None
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        by_handle = {child.pidfd: child for child in children if child.pidfd is not None}
        for pidfd in by_handle:
            poller.register(pidfd, select.POLLIN)
        blind = [child for child in children if child.pidfd is None]
        if blind:
            timeout = _POLL if timeout is None else min(timeout, _POLL)
        events = poller.poll(None if timeout is None else timeout * 1000)
        if any(number == self._wakeup for number, _ in events):
            os.read(self._wakeup, 4096)
        return [by_handle[number] for number, _ in events if number in by_handle] + blind

    def _start_guard(self) -> None:
        if self._guard is None:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, self._token],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )

    def _tell_guard(self, word: str) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            with suppress(OSError, ValueError):
                os.write(self._guard.stdin.fileno(), f"{word}\n".encode())


class _Child:
    """One process and what is known of its end."""

    def __init__(self, process: subprocess.Popen[bytes], log: str) -> None:
        self.process = process
        self.pid = process.pid
        self.log = log
        self.handle = str(process.pid)
        self.exit_code: int | None = None
        self.kill_at: float | None = None
        self.pidfd = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else None

    def reap(self, wait: bool = False) -> None:
        """Take the exit code if there is one. The group goes first, while the dead leader still holds its number."""
        if self.exit_code is not None:
            return
        flags = os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)
        with suppress(ChildProcessError):
            if os.waitid(os.P_PID, self.pid, flags) is None:
                return
        guard.kill_group(self.pid)
        self.exit_code = self.process.wait()

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
