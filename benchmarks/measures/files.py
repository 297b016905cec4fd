"""Hashing: one large file beside reading and copying it; a folder of small files beside looking at each of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench, figure_of, tell
from benchmarks.figures import Figure, Measure
from benchmarks.project import Project
from benchmarks.scratch import remove
from benchmarks.shapes import BIG_FILE, BIG_FOLDER, Graph, Shape
from benchmarks.timing import Broken, Overdue, Sample
from benchmarks.tools import MLMAKE
from benchmarks.turns import Run, in_turn

READ = "read the file"
COPY = "copy the file"
READ_ALL = "read every file"
LOOK = "scandir + stat"
_PROBES = str(Path(__file__).parents[1] / "probes.py")
_BLOCK = 1 << 24
_FOLDER = 1_000
_CONTENT = 4_096


def measure(bench: Bench) -> Iterator[Figure]:
    """The large files one after another, then the folder."""
    for size in bench.profile.large:
        if room := _lacks(bench.scratch, 3 * size):
            tell(f"a file of {size >> 20:,} MiB: {room}")
            continue
        big = bench.scratch / "big.bin"
        try:
            tell(f"a file of {size >> 20:,} MiB: writing it")
            _write_file(big, size)
            yield from _hash_file(bench, big, size)
            yield from _touched(bench, big, size)
        finally:
            big.unlink(missing_ok=True)
    folder = bench.scratch / "data"
    try:
        tell(f"a folder of {bench.profile.files:,} files: writing it")
        _write_folder(folder, bench.profile.files)
        yield from _hash_folder(bench, folder)
        yield from _folder_commands(bench, folder)
    finally:
        remove(folder)


# In the process: seconds are what a probe prints, so that starting it does not count.


def _hash_file(bench: Bench, big: Path, size: int) -> Iterator[Figure]:
    tell(f"a file of {size >> 20:,} MiB: hashing it")
    rivals: Mapping[str, Run] = {READ: _probe(bench, "read", big), COPY: _probe(bench, "copy", big)}
    yield from _digests(bench, f"{size >> 20:,} MiB", size, _probe(bench, "digest", big), rivals)


def _hash_folder(bench: Bench, folder: Path) -> Iterator[Figure]:
    files = bench.profile.files
    tell(f"a folder of {files:,} files: hashing it")
    first = _probe(bench, "digest", folder)
    yield from _digests(bench, "files, first", files, first, {READ_ALL: _probe(bench, "read-all", folder)})
    known = _probe(bench, "digest-known", folder)
    yield from _digests(bench, "files, known", files, known, {LOOK: _probe(bench, "look", folder)})


def _digests(bench: Bench, case: str, size: int, ours: Run, rivals: Mapping[str, Run]) -> Iterator[Figure]:
    figures = []
    for name, rival in rivals.items():
        turns = in_turn(ours, rival, bench.profile.repeat, 3 * bench.profile.pair)
        figures.append(figure_of(Measure.DIGEST, case, size, name, turns))
    samples = tuple(sample for figure in figures for sample in figure.beside)
    note = "" if samples else figures[0].note
    yield Figure(measure=Measure.DIGEST, case=case, size=size, tool=MLMAKE.name, samples=samples, note=note)
    yield from figures


def _probe(bench: Bench, name: str, path: Path) -> Run:
    command = (bench.python, _PROBES, name, str(path))

    def run() -> Sample:
        folder = bench.scratch / "probe"
        folder.mkdir()
        try:
            sample, printed = bench.timer.read(command, folder, bench.profile.limit)
        finally:
            remove(folder)
        return replace(sample, wall=float(printed))

    return run


# Whole commands, of tools that compare content.


def _touched(bench: Bench, big: Path, size: int) -> Iterator[Figure]:
    def touched(project: Project) -> Run:
        def run() -> Sample:
            os.utime(big)
            return project.run(project.building(1), bench.profile.limit)

        return run

    graph = Graph(shape=Shape.FILE, size=1)
    yield from _commands(bench, graph, {BIG_FILE: big}, Measure.TOUCHED, f"{size >> 20:,} MiB", touched)


def _folder_commands(bench: Bench, folder: Path) -> Iterator[Figure]:
    def first(project: Project) -> Run:
        def run() -> Sample:
            project.forget()
            return project.run(project.building(1), bench.profile.limit)

        return run

    def known(project: Project) -> Run:
        return lambda: project.run(project.building(1), bench.profile.limit)

    graph = Graph(shape=Shape.FOLDER, size=1)
    case = f"{bench.profile.files:,} files"
    yield from _commands(bench, graph, {BIG_FOLDER: folder}, Measure.FOLDER_FIRST, case, first)
    yield from _commands(bench, graph, {BIG_FOLDER: folder}, Measure.FOLDER_KNOWN, case, known)


def _commands(
    bench: Bench,
    graph: Graph,
    links: Mapping[str, Path],
    measure: Measure,
    case: str,
    doing: Callable[[Project], Run],
) -> Iterator[Figure]:
    figures: list[Figure] = []
    try:
        with bench.ready(MLMAKE, graph, links) as project:
            ours = doing(project)
            for tool in bench.peers(graph.shape):
                tell(f"{measure.value}, {case}: {tool.name}")
                try:
                    with bench.ready(tool, graph, links) as other:
                        turns = in_turn(ours, doing(other), bench.profile.repeat, bench.profile.pair)
                        figures.append(figure_of(measure, case, 1, tool.name, turns))
                except (Broken, Overdue) as problem:
                    figures.append(Figure(measure=measure, case=case, size=1, tool=tool.name, note=str(problem)))
            yield replace(bench.own(figures, measure, graph, ours), case=case)
    except (Broken, Overdue) as problem:
        yield Figure(measure=measure, case=case, size=1, tool=MLMAKE.name, note=str(problem))
    yield from figures


# Data.


def _lacks(folder: Path, size: int) -> str:
    """Why `size` bytes are too much for the disk or, as everything is to be read from memory, for the memory."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < 2 * size:
        return "skipped, the disk has too little room"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "skipped, the memory cannot hold it" if memory < 1.5 * size else ""


def _write_file(path: Path, size: int) -> None:
    """Bytes that no file system can leave out or share: random ones, each block marked with its number."""
    block = os.urandom(_BLOCK)
    with path.open("wb") as file:
        for number in range(size // _BLOCK):
            file.write(number.to_bytes(8, sys.byteorder))
            file.write(memoryview(block)[8:])


def _write_folder(folder: Path, files: int) -> None:
    content = os.urandom(_CONTENT)
    for number in range(files):
        if number % _FOLDER == 0:
            (folder / f"{number // _FOLDER:03d}").mkdir(parents=True)
        path = folder / f"{number // _FOLDER:03d}" / f"{number:06d}.bin"
        path.write_bytes(number.to_bytes(8, sys.byteorder) + content[8:])
