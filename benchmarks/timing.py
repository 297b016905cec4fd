"""Runs a command to its end or to its time limit, and says what it took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CLOCK = str(Path(__file__).with_name("clock.py"))
OUT_OF_TIME = "not measured: the run was out of time"
_MARK = "MLMAKE_BENCHMARK"
_GRACE = 5.0
_DROPPED = ("MLMAKE_", "MAKE", "MFLAGS", "NINJA_", "PYTHON", "VIRTUAL_ENV", "DVC_", "SNAKEMAKE_", "DOIT_", "XDG_")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: wall seconds, user and system seconds, and the peak bytes of its largest process."""

    wall: float
    cpu: float
    memory: int


class Overdue(Exception):
    """A command ran past its time limit and was ended."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"over {limit:.0f} s")


class Broken(Exception):
    """A command failed, or did something else than it should."""


@dataclass(frozen=True, kw_only=True)
class Timer:
    """Runs commands with a home folder of their own below `scratch`.

    Attributes:
        ends: `time.monotonic()` after which nothing may run.
        mark: what the environment of every process that was started here holds.
    """

    scratch: Path
    ends: float
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.ends - time.monotonic()

    def run(self, command: Sequence[str], folder: Path, limit: float) -> Sample:
        """Run to the end. Raises Overdue, Broken."""
        return self.read(command, folder, limit)[0]

    def read(self, command: Sequence[str], folder: Path, limit: float) -> tuple[Sample, str]:
        """As `run`, with what the command printed."""
        if self.left <= 0:
            raise Broken(OUT_OF_TIME)
        log = self.scratch / "log.txt"
        reader, writer = os.pipe()
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", CLOCK, str(writer), *command],
                    cwd=folder,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(writer,),
                    start_new_session=True,
                )
            os.close(writer)
            self._wait(process, min(limit, self.left))
            with open(reader, closefd=False) as report:
                told = report.read().split()
        finally:
            os.close(reader)
        printed = log.read_text(errors="replace")
        if len(told) != 4 or told[3] != "0":
            raise Broken(_tail(command, told, printed))
        return Sample(float(told[0]), float(told[1]), int(told[2])), printed

    def _wait(self, process: subprocess.Popen[bytes], limit: float) -> None:
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            self._end(process)
            if self.left <= 0:
                raise Broken(OUT_OF_TIME) from None
            raise Overdue(limit) from None
        except BaseException:
            self._end(process)
            raise

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the command, what it started, and what left its group."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for left in self._marked():
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)

    def _marked(self) -> list[int]:
        """Processes that carry our mark (where /proc tells)."""
        word = f"{_MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if word in entry.read_bytes().split(b"\0"):
                    found.append(int(entry.parent.name))
        return found

    def _environment(self) -> Mapping[str, str]:
        home = self.scratch / "home"
        home.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
        own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "LC_ALL": "C.UTF-8", _MARK: self.mark}
        dvc = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(home / "dvc"), "DVC_GLOBAL_CONFIG_DIR": str(home)}
        return {**kept, **own, **dvc}


def _tail(command: Sequence[str], told: list[str], printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    code = told[3] if len(told) == 4 else "?"
    name = os.path.basename(command[0])
    return f"{name} exited with {code}: {lines[-1].strip()[:120] if lines else 'no output'}"
