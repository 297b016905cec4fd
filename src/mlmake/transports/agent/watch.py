"""What is new of the jobs that an agent was asked to watch: what they wrote, and that they ended."""

from __future__ import annotations

import os
import threading
import time
import traceback

from .jobs import Jobs
from .wire import BROKEN, Broken, Pipe

_SOON, _LATER = 0.005, 0.05
"""Seconds between looks: at first, and when nothing has been new for a while."""
_EACH = 0.001
"""Seconds more for each job, so that thousands of them cost no more than a few."""
_SURE = 1.0
"""Seconds between looks whether a job's runner is still there."""
_ALIVE = 20.0
"""Seconds between signs of life, which tell that an answer takes long and is not lost."""
_BLOCK = 1 << 20
_MOST_BLOCKS = 4
"""How much one job may say until the next has its turn."""


class Watch:
    """A thread that looks and tells."""

    def __init__(self, jobs: Jobs, pipe: Pipe) -> None:
        self._jobs = jobs
        self._pipe = pipe
        self._offsets: dict[str, int] = {}
        self._added = threading.Event()
        self._alive_at = self._sure_at = time.monotonic()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, job: str, offset: int) -> None:
        """Tell of a job, of its log from an offset on."""
        self._offsets[job] = offset
        self._added.set()

    def drop(self, job: str) -> None:
        """Tell no more of a job."""
        self._offsets.pop(job, None)

    def _run(self) -> None:
        try:
            pause = _SOON
            while True:
                self._added.wait(pause if self._offsets else _ALIVE)
                self._added.clear()
                is_news = self._look_at_all()
                pause = _SOON if is_news else min(_LATER, pause * 1.3)
                pause = max(pause, _EACH * len(self._offsets))
                self._tell_alive()
        except Broken:
            os._exit(BROKEN)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # mlmake must not wait for news that nobody would tell

    def _look_at_all(self) -> bool:
        now = time.monotonic()
        is_sure = now - self._sure_at >= _SURE
        if is_sure:
            self._sure_at = now
        news = [self._look(job, is_sure=is_sure) for job in list(self._offsets)]  # all of them: each has its turn
        return any(news)

    def _look(self, job: str, *, is_sure: bool) -> bool:
        ended = self._jobs.exit_of(job)  # before the log, so that nothing it wrote is left out
        if ended is None and is_sure:
            ended = self._jobs.loss_of(job)
        is_longer, is_whole = self._tell_log(job)
        if ended is not None and is_whole and self._offsets.pop(job, None) is not None:
            self._pipe.write(dict(ended, ev="exit", job=job))
        return is_longer or ended is not None

    def _tell_log(self, job: str) -> tuple[bool, bool]:
        """Whether there was more of a job's log, and whether that was all."""
        offset = start = self._offsets.get(job, 0)
        is_longer = False
        try:
            with open(os.path.join(self._jobs.folder(job), "log"), "rb", buffering=0) as log:
                log.seek(offset)
                for _ in range(_MOST_BLOCKS):
                    block = log.read(_BLOCK)
                    if not block:
                        return is_longer, True
                    self._pipe.write({"ev": "log", "job": job, "offset": offset}, block)
                    is_longer, offset = True, offset + len(block)
                    if self._offsets.get(job) == start:  # else another offset was asked for meanwhile
                        self._offsets[job] = start = offset
        except FileNotFoundError:
            return is_longer, True
        return is_longer, False

    def _tell_alive(self) -> None:
        now = time.monotonic()
        if now - self._alive_at >= _ALIVE:
            self._alive_at = now
            self._pipe.write({"ev": "alive"})
