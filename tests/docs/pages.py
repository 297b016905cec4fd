"""The pages of the documentation, their blocks, and a folder in which the blocks of one page are tried in order.

A console block holds commands after `$ ` and, below each, what it prints; a line `...` stands for any lines. A comment
right above a block says what is special about it:

    <!-- no-run -->           a console block that is only read
    <!-- file: PATH -->       the block is written to PATH
    <!-- shows: PATH -->      the block's lines stand in PATH, in one piece

A diff block is applied: in the file that its `+++` line names, the lines after `-` become those after `+`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)$")
_MARK = re.compile(r"^<!-- (.*) -->$")
_INSTALLS = re.compile(r"^(python3? -m )?(uv )?pip |venv|^\. |^source ")
_STEP_LINE = re.compile(r"^\S+ (started: |done in )|^(done|failed|cancelled|lost) {2}")
_MASKS = [
    (re.compile(r"\b\d+(\.\d)? s\b|\b\d+ min \d\d s\b"), "0.0 s"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "DATE"),
    (re.compile(r"\bsince \d\d:\d\d:\d\d\b"), "since TIME"),
    (re.compile(r"\bon \S+ \(pid \d+\)"), "on HOST (pid 1)"),
    (re.compile(r"\bpid \d+ on \S+,"), "pid 1 on HOST,"),
    (re.compile(r"\b([0-9a-f]{32}|[0-9a-f]{12})\b"), "DIGEST"),
    (re.compile(r"(?<=\S) {2,}"), "  "),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One fenced block; `place` is its page and line, `mark` the comment above it."""

    place: str
    language: str
    mark: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    def marked(self, word: str) -> str:
        """What stands after `word: ` in the mark, or ""."""
        return self.mark.removeprefix(f"{word}: ") if self.mark.startswith(f"{word}: ") else ""


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start, mark = None, ""
    for number, line in enumerate(lines):
        if start is not None:
            if line == "```":
                language = lines[start].removeprefix("```")
                place = f"{page.relative_to(ROOT)}:{start + 1}"
                yield Block(place=place, language=language, mark=mark, lines=tuple(lines[start + 1 : number]))
                start, mark = None, ""
        elif _FENCE.match(line):
            start = number
        elif line.strip():
            found = _MARK.match(line)
            mark = found[1] if found else ""
    assert start is None, f"{page}: a block is not closed"


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the lines that it should print."""
    command, output = "", list[str]()
    for line in block.lines:
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], []
        elif command.endswith("\\") and not output:
            command = f"{command}\n{line}"
        else:
            output.append(line)
    if command:
        yield command, output


class Reader:
    """Does in `folder` what a page says, as its reader would."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.folder = folder
        (folder / ".cwd").touch()

    def follow(self, block: Block) -> None:
        """Write, change, compare or run what a block holds."""
        if path := block.marked("file"):
            self._write(path, block.text)
        elif path := block.marked("shows"):
            assert block.text in (self.folder / path).read_text(), f"{block.place}: {path} holds something else"
        elif block.language == "diff":
            self._change(block)
        elif block.language == "console" and block.mark != "no-run":
            for command, expected in commands(block):
                if not _INSTALLS.search(command):
                    self._compare(block, command, expected)

    def _write(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def _change(self, block: Block) -> None:
        path = self.folder / next(line[4:] for line in block.lines if line.startswith("+++ "))
        body = [line for line in block.lines if not line.startswith(("--- ", "+++ "))]
        old = "".join(f"{line[1:]}\n" for line in body if line[:1] != "+")
        new = "".join(f"{line[1:]}\n" for line in body if line[:1] != "-")
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{block.place}: these lines do not stand once in {path.name}:\n{old}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def _compare(self, block: Block, command: str, expected: list[str]) -> None:
        told = self.run(command)
        wanted, got = masked(expected), masked(told.splitlines())
        problem = f"{block.place}: $ {command}\n--- it should print\n{chr(10).join(expected)}\n--- it prints\n{told}"
        assert _matches(wanted, got), problem

    def run(self, command: str) -> str:
        """What a command prints; the next one starts in the folder where it ended."""
        script = f"{command}\nstatus=$?\npwd > {self.home}/.cwd\nexit $status"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=_environment(self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.folder = Path((self.home / ".cwd").read_text().strip() or self.folder)
        return done.stdout.replace(str(self.home), "/home/you")


def masked(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run; steps that run side by side end in any order."""
    for pattern, word in _MASKS:
        lines = [pattern.sub(word, line.rstrip()) for line in lines]
    of_steps = iter(sorted(line for line in lines if _STEP_LINE.match(line)))
    return [next(of_steps) if _STEP_LINE.match(line) else line for line in lines]


def _matches(wanted: list[str], got: list[str]) -> bool:
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else f"{re.escape(line)}\n" for line in _trimmed(wanted))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _trimmed(got))) is not None


def _trimmed(lines: list[str]) -> list[str]:
    """Without empty lines at the end: a page may leave room between a command's output and the next command."""
    end = len(lines)
    while end and not lines[end - 1]:
        end -= 1
    return lines[:end]


def _environment(home: Path) -> dict[str, str]:
    dropped = ("MLMAKE_", "NO_COLOR", "FORCE_COLOR", "PYTEST_", "PYTHONPATH", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    path = os.pathsep.join([os.path.dirname(sys.executable), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8"}
