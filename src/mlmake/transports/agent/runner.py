"""The runner of one job: starts it, waits for it, ends it when asked to, and writes down how it ended.

It lives in a session of its own, so that a lost connection ends neither it nor the job.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO, Any, Tuple

from . import files, guard
from .gauge import Gauge

_BEAT = 5.0
_GPU_PAUSE = 0.2
_ASKING = 60.0
_GRACE = 5.0
_SOON = 0.02
_SUBREAPER = 36
"""Linux's PR_SET_CHILD_SUBREAPER (include/uapi/linux/prctl.h): orphans of the job become our children."""
_CAN_PEEK = hasattr(os, "waitid")
_TRIES = 50
RESERVED = 4096
"""Bytes of the file that will tell the end: they are there from the start, for when the disk is full by then."""

_Process = Tuple[int, str, int, int]
"""Number, state, parent, group."""


def main(folder: str) -> None:
    """Run the job in a folder to its end, unless another runner does."""
    held = _locked(folder)
    if held is None:
        return
    spec = files.read_json(os.path.join(folder, "spec.json"))
    waker = _heed_signals()
    began = time.time()
    try:
        gpus = _leased(folder, spec)
        ended = _Run(folder, spec, waker, gpus).run()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte, or `=` in a variable's name
        problem = str(getattr(error, "strerror", None) or error)
        ended = {"code": 127, "problem": f"cannot start {spec['argv'][0][:500]}: {problem[:500]}"}
    _tell(folder, dict(ended, began=began, ended=time.time()))


def _locked(folder: str) -> Any:
    """The lock of a job that has not ended; None if another has it. Others hold it for a moment, to look."""
    for _ in range(_TRIES):
        if os.path.exists(os.path.join(folder, "exit.json")):
            return None
        held = files.lock(os.path.join(folder, "lock"), is_patient=False)
        if held is not None or os.path.exists(os.path.join(folder, "pid.json")):
            return held
        time.sleep(_SOON)
    return None


def _tell(folder: str, told: dict[str, Any]) -> None:
    new = os.path.join(folder, "exit.json.new")
    with open(new, "r+b") as file:
        file.write(json.dumps(told).encode().ljust(RESERVED))
    os.replace(new, os.path.join(folder, "exit.json"))


class _Run:
    """One process and its end."""

    def __init__(self, folder: str, spec: dict[str, Any], waker: int, gpus: list[int]) -> None:
        self._folder = folder
        self._spec = spec
        self._waker = waker
        self._gpus = gpus
        self._kill_at: float | None = None
        self._is_asked = False
        self._is_overdue = False
        self._is_killed = False

    def run(self) -> dict[str, Any]:
        """Raises OSError, ValueError if it cannot start."""
        pid = os.path.join(self._folder, "pid.json")
        self._ask("first")
        process = self._start()
        gauge = Gauge([str(gpu) for gpu in self._gpus or self._spec.get("watched", ())])
        try:
            with contextlib.suppress(OSError):
                files.write_json(pid, {"runner": os.getpid(), "process": process.pid, "started": time.time()})
            self._see_through(process, pid)
        finally:
            gpu_memory = gauge.close()
            self._end_all(process)
        told = dict(self._told(process.wait()), gpu_memory=gpu_memory)
        said = self._ask("after")
        self._ask("last")
        return dict(told, said=said) if said else told

    def _ask(self, what: str) -> str:
        """Run a command of the job's that looks after it, and give what it says: one before it, two after."""
        argv = self._spec.get(what)
        if not argv:
            return ""
        env = dict(os.environ, **self._spec["env"])
        try:
            asked = subprocess.run(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_ASKING,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return asked.stdout.decode("utf-8", "replace").strip()

    def _see_through(self, process: subprocess.Popen[bytes], pid: str) -> None:
        timeout = self._spec.get("timeout") or 0
        due = time.monotonic() + timeout if timeout else None
        while not self._has_ended(process):
            with contextlib.suppress(OSError):
                os.utime(pid)
            self._wait(due)
            if due is not None and time.monotonic() >= due:
                due, self._is_overdue = None, True
                self._end(process, self._spec.get("grace", _GRACE))
            self._heed_cancel(process)
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._is_killed = self._is_killed or not _has_exited(process)
                guard.kill_group(process.pid)
            _reap(process.pid)

    @property
    def _mark(self) -> str:
        return f"{self._folder}/"

    def _start(self) -> subprocess.Popen[bytes]:
        tree = os.path.join(self._folder, "tree")
        env = dict(os.environ, **self._spec["env"])
        search = [os.path.join(tree, folder) for folder in self._spec.get("search", ())]
        if search:
            env["PYTHONPATH"] = os.pathsep.join([*search, *filter(None, [os.environ.get("PYTHONPATH")])])
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = env["NVIDIA_VISIBLE_DEVICES"] = ",".join(map(str, self._gpus))
            env.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # so that CUDA counts them as nvidia-smi does
        env[guard.TOKEN] = self._mark
        with open(os.path.join(self._folder, "log"), "ab") as log:
            return subprocess.Popen(
                self._spec["argv"],
                cwd=tree,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _has_ended(self, process: subprocess.Popen[bytes]) -> bool:
        """The leader has ended; where it was asked to, the rest of its group has too or has no time left."""
        if not _has_exited(process):
            return False
        return self._kill_at is None or time.monotonic() >= self._kill_at or not _lives(process.pid)

    def _wait(self, due: float | None) -> None:
        limits = [limit - time.monotonic() for limit in (due, self._kill_at) if limit is not None]
        patience = max(0.0, min([_BEAT, *limits]))
        if self._kill_at is not None:
            patience = min(patience, _SOON)
        select.select([self._waker], [], [], patience)
        with contextlib.suppress(BlockingIOError):
            self._is_asked = signal.SIGTERM in os.read(self._waker, 1 << 12)

    def _heed_cancel(self, process: subprocess.Popen[bytes]) -> None:
        """End the job if somebody asks for it: in a file, or the system by the signal alone."""
        asked, taken = (os.path.join(self._folder, f"cancel.{end}") for end in ("json", "taken"))
        is_asked, self._is_asked = self._is_asked, False
        try:
            os.replace(asked, taken)  # so that none that comes meanwhile is lost
        except OSError:
            if is_asked and self._kill_at is None:
                self._end(process, _GRACE)
            return
        self._end(process, (files.read_json(taken) or {}).get("grace", _GRACE))

    def _end(self, process: subprocess.Popen[bytes], grace: float) -> None:
        kill_at = time.monotonic() + grace
        if self._kill_at is None and grace > 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGTERM)
        self._kill_at = min(kill_at, self._kill_at or kill_at)

    def _end_all(self, process: subprocess.Popen[bytes]) -> None:
        """End what is left: the group, what has become our child, and what carries the job's mark."""
        for _ in range(_TRIES):
            guard.kill_group(process.pid)
            left = [pid for pid, state, _, _ in _children() if state != "Z" and pid != process.pid]
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            _reap(process.pid)
            if not left:
                break
            time.sleep(_SOON)
        guard.kill_marked(self._mark)

    def _told(self, code: int) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 1 if sys.platform == "darwin" else 1024
        told: dict[str, Any] = {"code": code, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * unit}
        if self._spec.get("use"):
            told.update(_used(os.path.join(self._folder, "tree", self._spec["use"])))
        if self._is_overdue:
            told["timed_out"] = True
        if self._is_killed:
            told["killed"] = True
        return told


def _used(path: str) -> dict[str, Any]:
    """What a container's cgroup told at its end: bytes, and CPU time in nanoseconds or as `usage_usec` and a number."""
    used: dict[str, Any] = {"cpu": 0.0, "memory": 0}
    with contextlib.suppress(OSError, ValueError, IndexError), open(path, encoding="ascii") as file:
        for line in file:
            name, *values = line.split()
            amount = int(values[-1])
            if name in used:
                used[name] = amount if name == "memory" else amount / (1e6 if len(values) > 1 else 1e9)
    return used


_HELD: list[IO[bytes]] = []
"""Locks that end with this process."""


def _leased(folder: str, spec: dict[str, Any]) -> list[int]:
    """The GPUs of a job, by index, once as many as it wants are free; they are its own until the runner ends.

    Raises OSError if it was cancelled meanwhile.
    """
    wanted = spec.get("gpus") or 0
    place = os.path.join(os.path.dirname(os.path.dirname(folder)), "gpus")
    while True:
        locks: dict[int, IO[bytes]] = {}
        for gpu in range(spec.get("gpus_offered") or 0):
            held = files.lock_gpu(place, gpu) if len(locks) < wanted else None
            if held is not None:
                locks[gpu] = held
        if len(locks) >= wanted:
            _HELD.extend(locks.values())
            return list(locks)
        for held in locks.values():
            held.close()
        files.write_json(os.path.join(folder, "pid.json"), {"runner": os.getpid(), "process": 0})
        if os.path.exists(os.path.join(folder, "cancel.json")):
            raise OSError(errno.EINTR, "cancelled while it waited for a GPU")
        time.sleep(_GPU_PAUSE)


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether the leader has ended; its exit code stays where it is, so that its number cannot become another's."""
    if not _CAN_PEEK:
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _lives(group: int) -> bool:
    """A process of the group still runs, its dead leader apart."""
    if os.path.isdir("/proc/self"):
        return any(its_group == group and state not in ("Z", "X") for _, state, _, its_group in _processes())
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _children() -> list[_Process]:
    return [each for each in _processes() if each[2] == os.getpid()]


def _processes() -> Iterator[_Process]:
    """Every process (on systems with /proc)."""
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent, group = file.read().rpartition(b")")[2].split()[:3]
                yield int(name), state.decode(), int(parent), int(group)


def _reap(leader: int) -> None:
    """Let go of orphans that have ended."""
    for pid, state, _, _ in _children():
        if state == "Z" and pid != leader:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _heed_signals() -> int:
    """A handle that becomes readable with every signal.

    None is ignored, as the job would inherit that; a hang-up and an interrupt are heeded and lead to nothing.
    """
    reader, writer = os.pipe()
    for handle in (reader, writer):
        os.set_blocking(handle, False)
    signal.set_wakeup_fd(writer)
    for heeded in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(heeded, lambda *_: None)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
    return reader
