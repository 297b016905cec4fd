"""A watch of many steps: from a saved file to the start of its step, over the settle time; and what waiting costs.

python -m benchmarks.watch --steps 10000

Each step copies a file of its own. The start is what the step's record says, the time of saving what the file says.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.scratch import scratch

_SETTLE = 0.2
_STEP = """
[pipelines.p.steps.s{0}]
command = ["cp", "{{inputs.x}}", "{{outputs.y}}"]
inputs = {{ x = "in/{0}" }}
outputs = {{ y = "out/{0}" }}
"""


def write(folder: Path, steps: int) -> None:
    """The project, with everything built."""
    (folder / "in").mkdir()
    for number in range(steps):
        (folder / f"in/{number}").write_text(str(number))
    (folder / "pipelines.toml").write_text("".join(map(_STEP.format, range(steps))))
    subprocess.run([sys.executable, "-m", "mlmake", "-q"], cwd=folder, check=True)


@contextmanager
def watch(folder: Path) -> Iterator[psutil.Process]:
    """A watch that waits."""
    argv = [sys.executable, "-u", "-m", "mlmake", "watch", "--settle", str(_SETTLE)]
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        next(line for line in process.stdout if line.startswith("watching"))
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
        drain.wait()


def latency(folder: Path, number: int) -> float:
    """Seconds from saving a file to the start of its step, over the settle time."""
    path = folder / f"in/{number}"
    path.write_text("changed")
    saved = os.stat(path).st_mtime
    with closing(sqlite3.connect(folder / ".mlmake/state.db", timeout=60)) as state:
        query = "SELECT started FROM step_runs WHERE step = ? AND started > ? AND outcome = 'done'"
        while not (row := state.execute(query, (f"p.s{number}", saved)).fetchone()):
            time.sleep(0.01)
    return float(row[0]) - saved - _SETTLE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of waiting that are measured")
    options = parser.parse_args()
    with scratch(None) as folder:
        write(folder, options.steps)
        with watch(folder) as process:
            time.sleep(2)
            before = process.cpu_times()
            time.sleep(options.idle)
            after = process.cpu_times()
            spent = after.user + after.system - before.user - before.system
            turns = []
            for turn in range(options.turns):
                turns.append(latency(folder, turn * options.steps // options.turns) * 1e3)
                time.sleep(1)  # the watch looks once more after each build
            memory = process.memory_info().rss / 1e6
            print(f"steps            {options.steps:,}")
            print(
                f"saved to started {statistics.median(turns):.0f} ms over the settle time, at most {max(turns):.0f} ms"
            )
            print(f"waiting          {100 * spent / options.idle:.2f} % of a CPU, {process.num_threads()} threads")
            print(f"memory           {memory:.0f} MB")


if __name__ == "__main__":
    main()
