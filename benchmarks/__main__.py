"""`python -m benchmarks [--quick|--full]` measures and prints Markdown; see README.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.bench import Bench, tell
from benchmarks.figures import Results, load, save
from benchmarks.machine import machine, version
from benchmarks.measures import MEASURES
from benchmarks.profiles import FULL, QUICK, Profile
from benchmarks.scratch import scratch
from benchmarks.tables import markdown
from benchmarks.timing import Timer
from benchmarks.tools import MLMAKE, TOOLS, Tool


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or read what was measured; print; keep."""
    options = _parser().parse_args(arguments)
    if options.write and find_spec("matplotlib") is None:
        raise SystemExit("--write draws a plot with matplotlib: pip install matplotlib")
    try:
        results = load(Path(options.read)) if options.read else _measured(options)
    except KeyboardInterrupt:
        tell("interrupted; nothing is left behind")
        return 130
    if options.json:
        save(results, Path(options.json))
    print(markdown(results))
    if options.write:
        from benchmarks.page import write

        write(results)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quick", action="store_true", help="a few minutes (the default)")
    group.add_argument("--full", action="store_true", help="up to 45 minutes: more steps, larger files")
    group.add_argument("--read", metavar="FILE", help="measure nothing; take the results that --json kept")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), metavar="WHAT", help=", ".join(MEASURES))
    parser.add_argument("--tools", nargs="+", metavar="TOOL", help=f"of: {', '.join(tool.name for tool in TOOLS[1:])}")
    parser.add_argument("--most", type=int, metavar="N", help="at most so many steps")
    parser.add_argument("--repeat", type=int, metavar="N", help="pairs of runs")
    parser.add_argument("--minutes", type=float, metavar="N", help="start nothing any more after that")
    parser.add_argument("--peers", metavar="DIR", default="", help="a folder with programs of other tools")
    parser.add_argument("--mlmake", metavar="FILE", help="the mlmake to measure; by default that of this Python")
    parser.add_argument("--scratch", metavar="DIR", help="where the projects are made and removed")
    parser.add_argument("--json", metavar="FILE", help="keep the results")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and docs/performance.svg")
    return parser


def _measured(options: argparse.Namespace) -> Results:
    path = os.pathsep.join([options.peers, os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    programs = {tool.program: found for tool in TOOLS if (found := tool.found(path))}
    if options.mlmake:
        programs[MLMAKE.program] = os.path.abspath(options.mlmake)
    if MLMAKE.program not in programs:
        raise SystemExit("no mlmake beside this Python or on the PATH; name it with --mlmake")
    wanted = [tool for tool in TOOLS if tool is MLMAKE or not options.tools or tool.name in options.tools]
    present = tuple(tool for tool in wanted if tool.program in programs)
    absent = tuple(tool.name for tool in wanted if tool.program not in programs)
    profile = _profile(options)
    with scratch(options.scratch) as folder:
        results = Results(machine=machine(folder), versions=_versions(present, programs), absent=absent)
        bench = Bench(
            profile=profile,
            timer=Timer(scratch=folder, ends=time.monotonic() + 60 * profile.minutes),
            scratch=folder,
            tools=present,
            programs=programs,
            python=_interpreter(programs[MLMAKE.program]),
            jobs=os.cpu_count() or 1,
        )
        for name, measure in MEASURES.items():
            if not options.only or name in options.only:
                results.figures.extend(measure(bench))
    return results


def _profile(options: argparse.Namespace) -> Profile:
    profile = FULL if options.full else QUICK
    most = options.most or sys.maxsize
    return replace(
        profile,
        minutes=options.minutes or profile.minutes,
        repeat=options.repeat or profile.repeat,
        steps={shape: tuple(size for size in sizes if size <= most) for shape, sizes in profile.steps.items()},
        first={shape: tuple(size for size in sizes if size <= most) for shape, sizes in profile.first.items()},
    )


def _versions(tools: Sequence[Tool], programs: dict[str, str]) -> dict[str, str]:
    named = {tool.program: tool for tool in tools if not tool.is_floor}
    return {name: version((programs[name], *tool.version[1:])) for name, tool in named.items()}


def _interpreter(script: str) -> str:
    """The Python that a console script names in its first line."""
    with open(script, "rb") as file:
        first = file.readline()
    return os.fsdecode(first[2:].strip().split()[0]) if first.startswith(b"#!/") else sys.executable


if __name__ == "__main__":
    sys.exit(main())
