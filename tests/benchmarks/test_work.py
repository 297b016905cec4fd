"""What a build with little to do does, counted and not timed: system calls, files, statements, modules, processes.

Two projects, one with twice the steps of the other, go through the same command; what the larger one does more,
divided by the steps it has more, is the work of a step. Clocks play no part, so a busy machine changes nothing.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from projects import Folder

FEW, MANY = 200, 400
LOOKS = frozenset({"stat", "lstat", "fstatat64", "newfstatat", "statx", "access", "faccessat", "faccessat2"})
OPENS = frozenset({"open", "openat", "openat2", "creat"})
WRITES = frozenset({"write", "pwrite64", "writev", "rename", "renameat", "renameat2", "fsync", "fdatasync"})
STARTS = frozenset({"fork", "vfork", "execve", "execveat"})
HEAVY = frozenset(
    {
        *("doit", "rich", "fsspec", "paramiko", "docker", "watchdog", "cattrs", "attr", "attrs", "pygments"),
        *("cloudpickle", "cryptography", "invoke", "requests", "urllib3", "numpy", "pandas", "matplotlib", "yaml"),
        *("asyncio", "multiprocessing", "concurrent", "http", "ssl", "email", "unittest", "importlib.metadata"),
    }
)
"""Packages whose loading alone takes longer than looking at hundreds of steps."""
LANGUAGE = frozenset({"cattrs", "attr", "attrs"})
"""Those that reading pipelines.toml needs, which only a build or status with nothing to do can leave out."""

_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TOLD = re.compile(r"^told (.*)$", re.MULTILINE)

_RUN = """
import atexit, runpy, sys
sys.argv = ["mlmake", *sys.argv[1:]]
{before}
atexit.register(lambda: sys.__stderr__.write(f"told {{{told}}}\\n"))
runpy.run_module("mlmake", run_name="__main__")
"""
_MODULES = _RUN.format(before="", told="sorted(sys.modules)")
_STATEMENTS = _RUN.format(
    before="""
import sqlite3
statements, connect = [], sqlite3.connect
def traced(*args, **options):
    connection = connect(*args, **options)
    connection.set_trace_callback(statements.append)
    return connection
sqlite3.connect = sqlite3.dbapi2.connect = traced
""",
    told="len(statements)",
)
_FUNCTIONS = _RUN.format(
    before="""
calls = 0
def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")
sys.setprofile(count)
""",
    told="(sys.setprofile(None), calls)[1]",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What one command did.

    Attributes:
        calls: system calls by name.
        opened: paths of the project, relative to it, that were opened.
        programs: what was executed, after mlmake itself; places where a program was looked for in vain do not count.
    """

    calls: Counter[str]
    opened: Counter[str]
    programs: tuple[str, ...]

    def count(self, names: frozenset[str]) -> int:
        return sum(self.calls[name] for name in names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Both:
    """The same command in the project with few steps and in the one with many."""

    few: Work
    many: Work

    def growth(self, names: frozenset[str] | None = None) -> float:
        """Calls per step; of every kind if none is named."""
        names = names or frozenset({*self.few.calls, *self.many.calls})
        return (self.many.count(names) - self.few.count(names)) / (MANY - FEW)


Projects = Mapping[int, Folder]
Writer = Callable[[int], str]
Words = tuple[str, ...]


def independent(steps: int) -> str:
    """Each step reads a file of its own and writes one."""
    return "".join(
        f'[s{i}]\ncommand = ["cp", "{{inputs.x}}", "{{outputs.x}}"]\n'
        f'inputs = {{ x = "in/{i}.txt" }}\noutputs = {{ x = "out/{i}.txt" }}\n'
        for i in range(steps)
    )


def matrix(steps: int) -> str:
    """The same as one table."""
    return (
        f'[s]\nmatrix = {{ i = {list(range(steps))} }}\ncommand = ["cp", "{{inputs.x}}", "{{outputs.x}}"]\n'
        'inputs = { x = "in/{matrix.i}.txt" }\noutputs = { x = "out/{matrix.i}.txt" }\n'
    )


class Workshop:
    """Projects that are up to date and have been looked at since, and what commands did in them, each made once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._projects: dict[Writer, Projects] = {}
        self._nothing: dict[tuple[Writer, Words], Both] = {}
        self._changed: dict[Writer, Both] = {}

    def projects(self, write: Writer) -> Projects:
        if write not in self._projects:
            self._projects[write] = {steps: self._project(write, steps) for steps in (FEW, MANY)}
        return self._projects[write]

    def nothing(self, write: Writer, args: Words) -> Both:
        """A command where nothing has changed."""
        if (write, args) not in self._nothing:
            self._nothing[write, args] = both(self.projects(write), *args)
        return self._nothing[write, args]

    def changed(self, write: Writer) -> Both:
        """A build after one input has changed."""
        if write not in self._changed:
            projects = self.projects(write)
            for folder in projects.values():
                folder.write({f"in/{FEW // 2}.txt": "changed\n"})
            time.sleep(0.1)
            self._changed[write] = both(projects)
            for folder in projects.values():
                settle(folder)
        return self._changed[write]

    def _project(self, write: Writer, steps: int) -> Folder:
        root = self.root / f"{write.__name__}-{steps}"
        root.mkdir()
        folder = Folder(root)
        folder.write({f"in/{i}.txt": f"{i} original\n" for i in range(steps)})
        folder.steps(write(steps))
        settle(folder)
        return folder


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("work").resolve())


@pytest.fixture(params=[independent, matrix], ids=lambda write: str(write.__name__))
def write(request: pytest.FixtureRequest) -> Writer:
    """Both ways of writing the same steps."""
    found: Writer = request.param
    return found


@pytest.fixture
def projects(workshop: Workshop, write: Writer) -> Projects:
    return workshop.projects(write)


@pytest.fixture(params=[(), ("status",), ("--dry-run",)], ids=["build", "status", "dry-run"])
def nothing(request: pytest.FixtureRequest, workshop: Workshop, write: Writer) -> Both:
    return workshop.nothing(write, request.param)


@pytest.fixture
def changed(workshop: Workshop, write: Writer) -> Both:
    return workshop.changed(write)


def settle(folder: Folder) -> None:
    """Build, and look again once the clock has moved on, so that no file is too young to be trusted."""
    for _ in range(3):
        done = folder.cli("--quiet")
        assert done.returncode == 0, done.stderr
        time.sleep(0.1)


def lacking(what: str) -> None:
    """Skip; but where everything is to be tested, fail."""
    if os.environ.get("MLMAKE_CI"):
        pytest.fail(what)
    pytest.skip(what)


def traced(folder: Folder, *args: str) -> Work:
    """What `mlmake ARGS` does, told by strace."""
    strace = shutil.which("strace")
    if strace is None:
        lacking("strace is not installed")
    log = folder.root.parent / f"{folder.root.name}.strace"
    run(folder, [strace or "", "-f", "-qq", "-s", "4096", "-o", str(log), sys.executable, "-m", "mlmake", *args])
    return parsed(log.read_text(errors="replace"), folder.root)


def parsed(trace: str, root: Path) -> Work:
    """A log of strace as counts; a call that was interrupted in the log counts where it began.

    Looks at the environments of other processes are left out: how many there are is their affair.
    """
    lines = [line for line in trace.splitlines() if "/environ" not in line]
    found = [match for line in lines if (match := _CALL.match(line))]
    paths = [(name[1], path[1]) for name in found if (path := _PATH.search(name[2]))]
    opened = Counter(within(path, root) for name, path in paths if name in OPENS)
    del opened[""]
    programs = [path for name, path in paths if name.startswith("execve") and os.access(path, os.X_OK)]
    return Work(calls=Counter(name[1] for name in found), opened=opened, programs=tuple(programs[1:]))


def within(path: str, root: Path) -> str:
    """A path relative to the project, or "" for one outside of it; mlmake runs in the root."""
    relative = os.path.relpath(os.path.join(root, path), root)
    return "" if relative.startswith("..") else relative


def run(folder: Folder, command: Sequence[str]) -> str:
    """Run to the end; what stands in stderr. A strace that may not trace counts as lacking."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLMAKE_")}
    done = subprocess.run(
        command, cwd=folder.root, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode and "ptrace" in done.stderr.casefold():
        lacking(f"strace does not work here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def told(folder: Folder, script: str, *args: str) -> str:
    """What a script that runs mlmake tells in the end."""
    found = _TOLD.search(run(folder, [sys.executable, "-c", script, *args]))
    assert found, "mlmake ended without what is written at its exit"
    return found[1]


def heavy(modules: str) -> set[str]:
    """What is heavy among modules that a script told."""
    names = ast.literal_eval(modules)
    return {name for each in names for name in (each, each.partition(".")[0]) if name in HEAVY}


WAYS = {
    "list": 'command = ["cp", "{inputs.x}", "{outputs.x}"]',
    "text": 'command = "cp {inputs.x} {outputs.x}"',
    "path": f'command = ["{shutil.which("cp")}", "{{inputs.x}}", "{{outputs.x}}"]',
    "script": 'script = "steps/copying.py"\nargs = ["{inputs.x}", "{outputs.x}"]',
    "params": 'command = "echo {params.a} > {outputs.x}"\nparams = { a = "seed" }',
    "folder": 'command = "ls {inputs.all} > {outputs.x}"\ninputs.all = "in/"',
    "glob": 'command = "cat {inputs.all} > {outputs.x}"\ninputs.all = "in/*.txt"',
    "code": 'command = "cp {inputs.x} {outputs.x}"\ncode = ["steps/copying.py"]',
    "in place": 'command = "cp in/0.txt out/0.txt"\nin_place = true',
}
"""Ways of writing a step, each with one input and one output."""
_SCRIPT = "import shutil, sys\nshutil.copyfile(sys.argv[1], sys.argv[2])\n"


def both(projects: Projects, *args: str) -> Both:
    return Both(few=traced(projects[FEW], *args), many=traced(projects[MANY], *args))


def test_nothing_to_do_looks_at_each_file_once(nothing: Both) -> None:
    assert nothing.growth(LOOKS) <= 3, "a step has one input and one output: two looks, and one to spare"


def test_nothing_to_do_opens_no_file_of_a_step(nothing: Both) -> None:
    assert nothing.growth(OPENS) <= 0.02
    assert [path for path in nothing.many.opened if path.startswith(("in/", "out/"))] == []


def test_nothing_to_do_makes_few_system_calls(nothing: Both) -> None:
    assert nothing.growth() <= 4


def test_nothing_to_do_writes_nothing_per_step(nothing: Both) -> None:
    assert nothing.growth(WRITES) <= 0.02


def test_nothing_to_do_starts_no_process(nothing: Both) -> None:
    assert nothing.many.programs == ()
    assert nothing.many.count(STARTS - {"execve"}) == 0


@pytest.mark.parametrize("args", [(), ("status",), ("--dry-run",)], ids=["build", "status", "dry-run"])
def test_nothing_to_do_asks_the_state_no_question_per_step(projects: Projects, args: Words) -> None:
    few, many = (int(told(projects[steps], _STATEMENTS, *args)) for steps in (FEW, MANY))
    assert many == few
    assert many <= 20


@pytest.mark.parametrize("args", [(), ("status",)], ids=["build", "status"])
def test_nothing_to_do_calls_few_functions_per_step(projects: Projects, args: Words) -> None:
    few, many = (int(told(projects[steps], _FUNCTIONS, *args)) for steps in (FEW, MANY))
    assert (many - few) / (MANY - FEW) <= 10


@pytest.mark.parametrize("args", [(), ("status",), ("--version",)], ids=["build", "status", "version"])
def test_heavy_modules_stay_out(projects: Projects, args: Words) -> None:
    assert heavy(told(projects[FEW], _MODULES, *args)) == set()


def test_heavy_modules_stay_out_of_a_dry_run(projects: Projects) -> None:
    assert heavy(told(projects[FEW], _MODULES, "--dry-run")) <= LANGUAGE


def test_one_change_looks_at_each_file_a_few_times(changed: Both) -> None:
    assert changed.growth(LOOKS) <= 4.1


def test_one_change_opens_the_files_of_its_step_only(changed: Both) -> None:
    step = {f"in/{FEW // 2}.txt", f"out/{FEW // 2}.txt"}
    assert {path for path in changed.many.opened if path.startswith(("in/", "out/"))} <= step
    assert changed.growth(OPENS) <= 0.02


def test_one_change_makes_few_system_calls(changed: Both) -> None:
    assert changed.growth() <= 6


def test_one_change_runs_one_step(changed: Both) -> None:
    assert [os.path.basename(program) for program in changed.many.programs].count("cp") == 1


@pytest.mark.parametrize("way", WAYS)
def test_nothing_to_do_is_seen_at_once(project: Folder, way: str) -> None:
    """However a step is written: pipelines.toml is not read, the state is not asked."""
    inputs = "" if "inputs.all" in WAYS[way] else 'inputs = { x = "in/0.txt" }\n'
    project.write({"in/0.txt": "0\n", "steps/copying.py": _SCRIPT})
    project.toml(
        f"[pipelines.p]\nparams = {{ seed = 7 }}\n[pipelines.p.steps.s]\n{WAYS[way]}\n"
        f'{inputs}outputs = {{ x = "out/0.txt" }}\n'
    )
    settle(project)
    assert heavy(told(project, _MODULES)) == set()
    assert told(project, _STATEMENTS) == "0"
