"""The runner of one job: starts it, waits for it, ends it when asked to, and writes down how it ended.

It lives in a session of its own, so that a lost connection ends neither it nor the job.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from typing import IO, Any

from . import files, guard

_BEAT = 5.0
_GPU_PAUSE = 0.2
_SUBREAPER = 36
"""Linux's PR_SET_CHILD_SUBREAPER (include/uapi/linux/prctl.h): orphans of the job become our children."""


def main(folder: str) -> None:
    """Run the job in a folder to its end, unless another runner does."""
    held = files.lock(os.path.join(folder, "lock"), is_patient=False)
    if held is None or os.path.exists(os.path.join(folder, "exit.json")):
        return
    spec = files.read_json(os.path.join(folder, "spec.json"))
    waker = _heed_signals()
    began = time.time()
    try:
        files.write_json(os.path.join(folder, "pid.json"), {"runner": os.getpid(), "process": 0})
        gpus = _leased(folder, spec)
        ended = _Run(folder, spec, waker, gpus).run()
    except OSError as error:
        ended = {"code": 127, "problem": "cannot start {}: {}".format(spec["argv"][0], error.strerror or error)}
    files.write_json(os.path.join(folder, "exit.json"), dict(ended, began=began, ended=time.time()))


class _Run:
    """One process and its end."""

    def __init__(self, folder: str, spec: dict[str, Any], waker: int, gpus: list[int]) -> None:
        self._folder = folder
        self._spec = spec
        self._waker = waker
        self._gpus = gpus
        self._kill_at: float | None = None
        self._is_overdue = False

    def run(self) -> dict[str, Any]:
        """Raises OSError if it cannot start."""
        pid = os.path.join(self._folder, "pid.json")
        process = self._start()
        files.write_json(pid, {"runner": os.getpid(), "process": process.pid, "started": time.time()})
        timeout = self._spec.get("timeout") or 0
        due = time.monotonic() + timeout if timeout else None
        while not self._has_ended(process):
            os.utime(pid)
            self._wait(due)
            if due is not None and time.monotonic() >= due:
                due, self._is_overdue = None, True
                self._end(process, self._spec.get("grace", 5.0))
            self._heed_cancel(process)
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                guard.kill_group(process.pid)
        guard.kill_group(process.pid)
        guard.kill_marked(self._mark)
        return self._told(process.wait())

    @property
    def _mark(self) -> str:
        return f"{os.path.basename(self._folder)}/"

    def _start(self) -> subprocess.Popen[bytes]:
        tree = os.path.join(self._folder, "tree")
        env = dict(os.environ, **self._spec["env"])
        search = [os.path.join(tree, folder) for folder in self._spec.get("search", ())]
        if search:
            env["PYTHONPATH"] = os.pathsep.join([*search, *filter(None, [os.environ.get("PYTHONPATH")])])
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = env["NVIDIA_VISIBLE_DEVICES"] = ",".join(map(str, self._gpus))
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
        if process.poll() is None:
            return False
        return self._kill_at is None or time.monotonic() >= self._kill_at or not _lives(process.pid)

    def _wait(self, due: float | None) -> None:
        limits = [limit - time.monotonic() for limit in (due, self._kill_at) if limit is not None]
        patience = max(0.0, min([_BEAT, *limits]))
        if self._kill_at is not None:
            patience = min(patience, 0.02)
        select.select([self._waker], [], [], patience)
        with contextlib.suppress(BlockingIOError):
            os.read(self._waker, 1 << 12)

    def _heed_cancel(self, process: subprocess.Popen[bytes]) -> None:
        asked = files.read_json(os.path.join(self._folder, "cancel.json"))
        if asked:
            os.unlink(os.path.join(self._folder, "cancel.json"))
            self._end(process, asked["grace"])

    def _end(self, process: subprocess.Popen[bytes], grace: float) -> None:
        kill_at = time.monotonic() + grace
        if self._kill_at is None and grace > 0:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        self._kill_at = min(kill_at, self._kill_at or kill_at)

    def _told(self, code: int) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 1 if sys.platform == "darwin" else 1024
        told: dict[str, Any] = {"code": code, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * unit}
        if self._is_overdue:
            told["timed_out"] = True
        return told


_HELD: list[IO[str]] = []
"""Locks that end with this process."""


def _leased(folder: str, spec: dict[str, Any]) -> list[int]:
    """The GPUs of a job, by index, once as many as it wants are free; they are its own until the runner ends."""
    wanted = spec.get("gpus") or 0
    place = os.path.join(os.path.dirname(os.path.dirname(folder)), "gpus")
    while True:
        locks: dict[int, IO[str]] = {}
        for gpu in range(spec.get("gpus_offered") or 0):
            held = files.lock_gpu(place, gpu) if len(locks) < wanted else None
            if held is not None:
                locks[gpu] = held
        if len(locks) >= wanted:
            _HELD.extend(locks.values())
            return list(locks)
        for held in locks.values():
            held.close()
        if os.path.exists(os.path.join(folder, "cancel.json")):
            return []
        time.sleep(_GPU_PAUSE)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
        return True
    except (ProcessLookupError, PermissionError):
        return False


def _heed_signals() -> int:
    """A handle that becomes readable with every signal; a hang-up is none of ours."""
    reader, writer = os.pipe()
    for handle in (reader, writer):
        os.set_blocking(handle, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for heeded in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(heeded, lambda *_: None)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
    return reader
