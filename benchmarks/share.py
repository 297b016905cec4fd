"""Many objects into the shared cache and out of it, beside a plain recursive copy of the same files with fsspec.

python -m benchmarks.share --files 10000

Both go to moto's S3 server, a process of its own on this machine, in turn. A ratio is ours over the plain copy, each
the median of its turns; of wall time, in which the server has its share, and of this process's own CPU time.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import s3fs  # type: ignore[import-untyped]

from benchmarks.scratch import remove, scratch
from mlmake.model.caching import Link
from mlmake.state.cache import Action, Kept
from mlmake.state.database import empty
from mlmake.state.digests import Digests
from mlmake.state.objects import Objects, parsed
from mlmake.state.shared import Shared
from mlmake.stores.opening import open_store

KEY = "ab" * 32
_FOLDERS = 100


class Spent(NamedTuple):
    """Seconds of one turn."""

    wall: float
    cpu: float


@contextmanager
def server() -> Iterator[dict[str, Any]]:
    """moto's server with nothing in it; gives the options of a datastore."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = next(filter(None, (re.search(r"http://[\d.]+:\d+", line) for line in process.stderr)))
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield {"key": "key", "secret": "secret", "endpoint_url": found[0]}
    finally:
        process.terminate()
        process.wait()
        drain.wait()


def write(folder: Path, files: int, size: int) -> None:
    """Files of random bytes, spread over a hundred folders."""
    chance = random.Random(files)
    for number in range(files):
        path = folder / f"{number % _FOLDERS:02}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))


def keep(folder: Path, objects: Objects) -> Action:
    """All of a folder in a cache, as a step's output."""
    with closing(empty()) as connection:
        digests = Digests(connection)
        found, listing = digests.of(str(folder)), digests.listing(str(folder))
    assert found is not None
    for member in parsed(listing):
        if member.digest:
            objects.keep(str(folder / member.path), member.digest, Link.COPY)
    objects.keep_text(listing, found.digest)
    return Action(key=KEY, step="p.s", outputs=(Kept("x", found.digest, found.size),))


def spent(work: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def turn(number: int, folder: Path, options: dict[str, Any], one: Objects, action: Action) -> dict[str, Spent]:
    """One turn of each, to a new bucket and into a new folder."""
    plain = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    bucket = f"turn{number}"
    plain.mkdir(bucket)
    back, two = folder / f"back{number}", Objects(str(folder / f"two{number}"))

    def shared(objects: Objects) -> Shared:
        return Shared(open_store("cache", f"s3://{bucket}/cache", options, os.environ), objects)

    def pull() -> None:
        there = shared(two)
        record = there.find(KEY)
        assert record is not None
        assert there.pull(there.lacking([record])) == []

    work: list[tuple[str, Callable[[], object]]] = [
        ("push plain", lambda: plain.put(f"{folder}/files/", f"{bucket}/plain", recursive=True)),
        ("push", lambda: shared(one).push([action])),
        ("pull plain", lambda: plain.get(f"{bucket}/plain", str(back), recursive=True)),
        ("pull", pull),
    ]
    if number % 2:  # who comes first now comes second then
        work = [work[1], work[0], work[3], work[2]]
    times = {name: spent(each) for name, each in work}
    remove(back)
    remove(Path(two.folder))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=4096, help="bytes of each file")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", help="where to work; by default the system's place for temporary files")
    given = parser.parse_args()
    with scratch(given.folder) as folder, server() as options:
        write(folder / "files", given.files, given.size)
        one = Objects(str(folder / "one"))
        action = keep(folder / "files", one)
        turns = [turn(number, folder, options, one, action) for number in range(given.turns)]
    for what in ("push", "pull"):
        ours, plain = [each[what] for each in turns], [each[f"{what} plain"] for each in turns]
        wall = statistics.median(each.wall for each in ours) / statistics.median(each.wall for each in plain)
        cpu = statistics.median(each.cpu for each in ours) / statistics.median(each.cpu for each in plain)
        each_wall = ", ".join(f"{a.wall:.1f}/{b.wall:.1f}" for a, b in zip(ours, plain, strict=True))
        print(f"{what} {given.files:,} files of {given.size:,} bytes: {wall:.2f}x wall ({each_wall} s), {cpu:.2f}x CPU")


if __name__ == "__main__":
    main()
