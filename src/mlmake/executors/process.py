"""Jobs as processes of this machine: a session each, output straight into the log, nothing left behind."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mlmake.executors.base import Bring, Setting, Traits
from mlmake.model.job import Entry, Finished, Job
from mlmake.model.project import Compute
from mlmake.transports.agent import guard
from mlmake.transports.agent.gauge import Gauge

_POLL = 0.02
"""Seconds between looks where the system tells nothing: no pidfd, or a group whose leader has ended."""
_CAN_PEEK = hasattr(os, "waitid")
"""Whether the end of a child can be seen without letting go of its number; macOS learnt that late."""
_WAKE, _LOOK = b"!", b"?"
"""To a `wait` on its way: return, or look again at what is due."""
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of what `getrusage` counts memory in."""
_RECENT = 5.0
"""Seconds within which process ids surely have not gone round."""


class ProcessExecutor:
    """Runs jobs here. `token` marks every process of this build, so that none can hide from the guard."""

    traits = Traits(shared_disk=True)

    @classmethod
    def of(cls, _: Compute, setting: Setting) -> ProcessExecutor:
        return cls(setting.token)

    def __init__(self, token: str) -> None:
        self._token = token
        self._numbers = itertools.count(1)
        self._running: dict[str, _Child] = {}
        self._logs: dict[str, str] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._wakeup, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._lock = threading.Lock()
        _heed_children()

    def connect(self) -> Mapping[str, Any]:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return {"python": sys.executable, "cpus": cpus}

    def submit(self, job: Job) -> str:
        self._start_guard()
        number = next(self._numbers)
        mark = f"{self._token}/{number}."
        process = _start(job, {**job.env, guard.TOKEN: mark})
        child = _Child(process, f"{number}:{job.name}", mark, Gauge(_gpus(job)))
        self._running[child.handle] = child
        self._logs[child.handle] = job.log
        self._tell_guard(f"+{child.pid}")
        return child.handle

    def wait(self, handles: Collection[str], timeout: float | None) -> list[Finished]:
        children = [child for handle in handles if (child := self._running.get(handle))]
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            woken = self._look(children, until)
            done = [child.finished for child in children if child.finished is not None]
            if done or woken or (until is not None and time.monotonic() >= until):
                for finished in done:
                    self._running.pop(finished.handle, None)
                return done

    def wake(self) -> None:
        self._nudge(_WAKE)

    def cancel(self, handle: str, grace: float) -> None:
        child = self._running.get(handle)
        if child is not None:
            with self._lock:
                child.cancel(grace)
            self._nudge(_LOOK)

    def read_log(self, handle: str, offset: int) -> bytes:
        with open(self._logs[handle], "rb") as file:
            file.seek(offset)
            return file.read()

    def collect(self, handle: str, places: Mapping[str, str], bring: Bring) -> None:
        """Nothing to bring: jobs write to this machine's disk."""

    def keep(self, handle: str, paths: Sequence[str]) -> Mapping[str, tuple[Entry, ...]]:
        """Nothing stays: jobs write to this machine's disk."""
        return {}

    def take(self, wanted: Sequence[tuple[Entry, str]], bring: Bring) -> None:
        """Nothing to bring, as nothing stayed."""

    def forget(self, handle: str) -> None:
        self._logs.pop(handle, None)

    def close(self) -> None:
        for child in list(self._running.values()):
            guard.kill_group(child.pid)
            self._bury(child)
        self._running.clear()
        if self._guard is not None and self._guard.stdin is not None:
            self._tell_guard("bye")
            with suppress(OSError):
                self._guard.stdin.close()
            self._guard.wait()
            self._guard = None
        for handle in (self._waker, self._wakeup):
            with suppress(OSError):
                os.close(handle)
        self._waker = self._wakeup = -1

    def _look(self, children: list[_Child], until: float | None) -> bool:
        """Wait for a job to end, a wake-up, or until one is due to be killed; take what has ended. True if woken."""
        limits = [limit for limit in [until, *(child.kill_at for child in children)] if limit is not None]
        limits += [time.monotonic() + _POLL for child in children if child.pidfd is None]
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        by_handle = {child.pidfd: child for child in children if child.pidfd is not None}
        for pidfd in by_handle:
            poller.register(pidfd, select.POLLIN)
        events = poller.poll(max(0.0, min(limits) - time.monotonic()) * 1000 if limits else None)
        told = [by_handle[number] for number, _ in events if number in by_handle]
        for child in [*told, *(child for child in children if child.pidfd is None)]:
            if child.has_ended():
                self._bury(child)
        for child in children:
            child.kill_if_due()
        return any(number == self._wakeup for number, _ in events) and _WAKE in os.read(self._wakeup, 1 << 16)

    def _nudge(self, what: bytes) -> None:
        with suppress(OSError):
            os.write(self._waker, what)

    def _bury(self, child: _Child) -> None:
        """End what is left of a job and take its exit code; until then its number cannot become another's."""
        guard.kill_group(child.pid)
        is_lost = child.await_end()
        guard.kill_marked(child.mark, after=child.pid if time.monotonic() - child.started < _RECENT else 0)
        self._tell_guard(f"-{child.pid}")
        with self._lock:
            child.take_exit_code(is_lost)

    def _start_guard(self) -> None:
        if self._guard is None:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, self._token],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={name: value for name, value in os.environ.items() if name != guard.TOKEN},
            )

    def _tell_guard(self, word: str) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            with suppress(OSError, ValueError):
                os.write(self._guard.stdin.fileno(), f"{word}\n".encode())


class _Child:
    """The leader of one job's process group, and what is known of its end."""

    def __init__(self, process: subprocess.Popen[bytes], handle: str, mark: str, gauge: Gauge) -> None:
        self.gauge = gauge
        self.process = process
        self.pid = process.pid
        self.handle = handle
        self.mark = mark
        self.started = time.monotonic()
        self.pidfd = _pidfd(process.pid)
        self.kill_at: float | None = None
        self.finished: Finished | None = None

    def has_ended(self) -> bool:
        """The leader has ended, and so has the rest of its group where it was asked to end and has time left."""
        if not self._has_exited():
            return False
        if self.kill_at is not None and self.kill_at > time.monotonic() and _lives(self.pid):
            self._close_pidfd()
            return False
        return True

    def cancel(self, grace: float) -> None:
        """SIGTERM to the group; with no grace, or when it is over, SIGKILL."""
        if self.finished is not None:
            return
        kill_at = time.monotonic() + grace
        is_asked = self.kill_at is not None
        self.kill_at = min(kill_at, self.kill_at or kill_at)
        if grace <= 0:
            guard.kill_group(self.pid)
        elif not is_asked:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGTERM)

    def kill_if_due(self) -> None:
        if self.kill_at is not None and self.kill_at <= time.monotonic() and self.finished is None:
            guard.kill_group(self.pid)
            self.kill_at = None

    def await_end(self) -> bool:
        """Wait for the leader's end, leaving its exit code where it is; True if another has taken that."""
        try:
            if _CAN_PEEK:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return True
        return False

    def _has_exited(self) -> bool:
        if not _CAN_PEEK:
            return self.process.poll() is not None
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        return True

    def take_exit_code(self, is_lost: bool) -> None:
        """Let the leader go; from now on its number may be another's."""
        gpu_memory = self.gauge.close()
        code, cpu_seconds, peak = self._reaped()
        if is_lost:
            problem = "its exit code was lost: something else in this program waits for all children"
            self.finished = Finished(self.handle, 255, problem)
        else:
            self.finished = Finished(
                self.handle, code, cpu_seconds=cpu_seconds, peak_memory=peak, gpu_memory=gpu_memory
            )
        self._close_pidfd()

    def _reaped(self) -> tuple[int, float, int]:
        """Exit code, CPU seconds, and bytes of the largest process: 0 where it was smaller than this one.

        A child begins as large as its parent, and Linux remembers that of it.
        """
        try:
            _, status, used = os.wait4(self.pid, 0)
        except ChildProcessError:  # its end was seen by other means
            return self.process.wait(), 0.0, 0
        self.process.returncode = os.waitstatus_to_exitcode(status)
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = used.ru_maxrss * _RSS_UNIT if used.ru_maxrss > ours else 0
        return self.process.returncode, used.ru_utime + used.ru_stime, peak

    def _close_pidfd(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


def _start(job: Job, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The job's process. Raises OSError."""
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        return subprocess.Popen(
            job.argv,
            cwd=job.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    except ValueError as error:  # a NUL byte, or `=` in a variable's name
        raise OSError(errno.EINVAL, str(error)) from None
    finally:
        os.close(log)


def _gpus(job: Job) -> list[str]:
    """What CUDA is told of a job's GPUs: where mlmake was given only some, these are not counted as it counts."""
    return job.env.get("CUDA_VISIBLE_DEVICES", "").split(",") if job.gpus else []


def _pidfd(pid: int) -> int | None:
    """What tells the end of a process; None where the system has no such thing, forbids it or has no more."""
    if sys.platform != "linux":
        return None
    with suppress(OSError, AttributeError):
        return os.pidfd_open(pid)
    return None


def _lives(group: int) -> bool:
    """A process of the group still runs, its dead leader apart (on systems with /proc)."""
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, _, its_group = file.read().rpartition(b")")[2].split()[:3]
                if int(its_group) == group and state not in (b"Z", b"X"):
                    return True
    return False


def _heed_children() -> None:
    """Where a parent ignored SIGCHLD, the kernel would throw the exit codes of jobs away, and all would look like 0."""
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        with suppress(ValueError):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
