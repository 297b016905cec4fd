"""A watch for a long time, with people who edit, files that pour in and steps that are killed.

python tests/soak_watch.py --minutes 60

In the end outputs are what a clean build gives, and nothing was leaked: no watch, descriptor, thread or process, and no
more memory than after the first minutes. `tests/services/test_watch_soak.py` runs it for some seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from projects import Folder, until

STEPS = """
    [words]
    script = "steps/words.py"
    inputs = { texts = "data/**/*.txt" }
    outputs = { table = "build/words", parts = "build/parts/" }
    [tree]
    command = "find {inputs.t} -type f | sort | xargs cat > {outputs.o}"
    inputs = { t = "tree/" }
    outputs = { o = "build/tree" }
    [slow]
    command = "sleep 0.2; cat {inputs.one} > {outputs.o}"
    matrix = { n = [1, 2, 3] }
    inputs = { one = "one/{matrix.n}" }
    outputs = { o = "build/slow-{matrix.n}" }
    [sum]
    command = "cat {inputs.a} {inputs.b} {inputs.c} > {outputs.all}"
    inputs = { a = "@words.table", b = "@tree", c = "@slow" }
    outputs = { all = "build/all" }
"""
SCRIPT = """
import os, sys
import rules
texts = sys.argv[sys.argv.index("--texts") + 1 : sys.argv.index("--table")]
parts = sys.argv[sys.argv.index("--parts") + 1]
table = sys.argv[sys.argv.index("--table") + 1]
words = sorted(rules.TAKE(open(text).read()) for text in texts)
os.makedirs(f"{parts}/inner", exist_ok=True)
open(f"{parts}/inner/first", "w").write("".join(words[:1]))
open(table, "w").write("\\n".join(words))
"""


@dataclass(frozen=True)
class Use:
    """What a watch holds on to."""

    watches: int
    descriptors: int
    threads: int
    children: int
    memory: int


def use_of(process: psutil.Process) -> Use:
    """What a process holds on to now; `memory` in bytes."""
    folder = Path(f"/proc/{process.pid}")
    watches = 0
    for descriptor in (folder / "fdinfo").iterdir():
        with suppress(OSError):
            watches += descriptor.read_text().count("inotify wd:")
    return Use(
        watches, process.num_fds(), process.num_threads(), len(process.children(recursive=True)),
        process.memory_info().rss,
    )  # fmt: skip


class Crowd:
    """People and programs that do something to a project, at random."""

    def __init__(self, project: Folder, seed: int) -> None:
        self._project = project
        self._root = project.root
        self._chance = random.Random(seed)
        self.done: list[str] = []
        self._acts: list[Callable[[], None]] = [
            self.edit, self.edit, self.edit, self.script, self.storm, self.drop, self.move_folder, self.break_toml,
            self.kill, self.scratch,
        ]  # fmt: skip

    def act(self) -> None:
        act = self._chance.choice(self._acts)
        self.done.append(act.__name__)
        act()

    def edit(self) -> None:
        number = self._chance.randint(1, 3)
        name = self._chance.choice([f"one/{number}", f"tree/{number}/x", f"data/{number}.txt"])
        new = self._root / "edited.new"
        new.write_text(f"{self._chance.random()}\n")
        (self._root / name).parent.mkdir(exist_ok=True)
        if self._chance.random() < 0.5:
            new.rename(self._root / name)
        else:
            shutil.copyfile(new, self._root / name)

    def script(self) -> None:
        self._project.write({"steps/rules.py": f"TAKE = lambda text: text.strip()[:{self._chance.randint(3, 9)}]\n"})

    def storm(self) -> None:
        self._project.write({f"data/storm/{number}.txt": str(number) for number in range(self._chance.randint(1, 400))})

    def drop(self) -> None:
        shutil.rmtree(self._root / self._chance.choice(["data/storm", "tree/3", "build"]), ignore_errors=True)

    def move_folder(self) -> None:
        (self._root / "tree").rename(self._root / "away")
        time.sleep(self._chance.choice([0.0, 0.3]))
        (self._root / "away").rename(self._root / "tree")

    def break_toml(self) -> None:
        good = self._project.read("pipelines.toml")
        self._project.toml(good.replace("[pipelines", "[pipelnes", 1))
        time.sleep(0.3)
        self._project.toml(good)

    def kill(self) -> None:
        for each in self._project.processes():
            with suppress(psutil.Error):
                if "sleep" in each.cmdline()[:1]:
                    each.send_signal(signal.SIGKILL)

    def scratch(self) -> None:
        for name in ("data/.1.txt.swp", "tree/1/4913", "notes"):
            self._project.write({name: "?"})
            os.unlink(self._root / name)


def prepare(project: Folder) -> None:
    project.steps(STEPS)
    project.write({"steps/words.py": SCRIPT, "steps/rules.py": "TAKE = str.strip\n"})
    for number in (1, 2, 3):
        project.write({f"one/{number}": "1\n", f"tree/{number}/x": "x\n", f"data/{number}.txt": "word\n"})


def results(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in (root / "build").rglob("*") if path.is_file()}


def soak(project: Folder, seconds: float, seed: int, say: Callable[[str], object] = print) -> None:
    """Let it go on for so long; AssertionError says what was wrong."""
    prepare(project)
    log = open(project.root.parent / "watch.log", "w")  # noqa: SIM115 it is the watch's
    process = psutil.Popen(
        [sys.executable, "-u", "-m", "mlmake", "watch", "--settle", "100ms", "--restart"],
        cwd=project.root, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: project.has("build/all"), "the first build")
        crowd, first, end = Crowd(project, seed), None, time.monotonic() + seconds
        while time.monotonic() < end:
            crowd.act()
            time.sleep(crowd._chance.random() * 0.4)
            assert process.poll() is None, (project.root.parent / "watch.log").read_text()[-3000:]
            if first is None and time.monotonic() > end - seconds * 0.8:
                settle(project, process)
                first = use_of(process)
        settle(project, process)
        last = use_of(process)
        say(f"{len(crowd.done)} acts; at first {first}, at last {last}")
        compare(project)
        assert first is not None
        assert (last.descriptors, last.threads, last.children) == (first.descriptors, first.threads, first.children)
        assert abs(last.watches - first.watches) <= 2, "the folder of the storm comes and goes"
        assert last.memory < first.memory * 1.3 + (8 << 20), "memory grows"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
        assert not project.processes()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        log.close()


def settle(project: Folder, process: psutil.Process) -> None:
    """Mend all that stays broken by itself, and wait until everything is fresh and nothing runs."""
    for number in (1, 2, 3):  # a step that was killed waits for a change
        project.write({f"one/{number}": f"{time.time()}\n", f"tree/{number}/x": "x\n", f"data/{number}.txt": "word\n"})
    project.write({"steps/rules.py": f"TAKE = str.strip  # {time.time()}\n"})
    until(lambda: project.cli("status", "--check").returncode == 0, "everything to be fresh")
    until(lambda: not project.processes() and process.status() == psutil.STATUS_SLEEPING)
    time.sleep(0.5)


def compare(project: Folder) -> None:
    """Outputs must be those of a clean build of the same files."""
    clean = project.root.parent / "clean"
    shutil.copytree(project.root, clean, ignore=shutil.ignore_patterns("build", ".mlmake"))
    other = Folder(clean)
    assert other.cli("-q").returncode == 0
    assert results(project.root) == results(clean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "project"
        root.mkdir()
        project = Folder(root)
        try:
            soak(project, options.minutes * 60, options.seed)
        finally:
            project.close()


if __name__ == "__main__":
    main()
