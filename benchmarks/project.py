"""A pipeline written for one tool in a folder of its own, and what is done with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.scratch import remove
from benchmarks.shapes import OUTPUTS, Graph, edit_input, write_inputs, write_outputs
from benchmarks.timing import Broken, Sample, Timer
from benchmarks.tools.base import Tool, Words

_LOOKED_AT = 200


@dataclass(frozen=True, kw_only=True)
class Project:
    """`graph` written for `tool` in `folder`.

    Attributes:
        programs: name of a program -> its full path.
        links: path in the project -> the file or folder that stands there.
    """

    tool: Tool
    graph: Graph
    folder: Path
    timer: Timer
    programs: Mapping[str, str]
    links: Mapping[str, Path]

    def write(self, limit: float) -> None:
        """Write the pipeline and its inputs. Raises Overdue, Broken."""
        write_inputs(self.graph, str(self.folder))
        for path, content in self.tool.files(self.graph).items():
            (self.folder / path).write_text(content, encoding="utf-8")
        for path, source in self.links.items():
            _link(source, self.folder / path)
        for command in self.tool.setup:
            self.run(command, limit)

    def ready(self, jobs: int, limit: float) -> None:
        """Bring everything up to date, and look once more so that all is warm. Raises Overdue, Broken."""
        if self.tool.prime is None:
            self.run(self.building(jobs), limit)
        else:
            write_outputs(self.graph, str(self.folder))
            for command in self.tool.prime:
                self.run(command, limit)
        missing = [path for path in islice(self.graph.finals(), _LOOKED_AT) if not (self.folder / path).exists()]
        if missing:
            raise Broken(f"{self.tool.name} did not make {missing[0]}")
        self.run(self.building(1), limit)

    def building(self, jobs: int) -> Words:
        """The command that builds, with one job where the tool knows no other."""
        command = self.tool.build(jobs) or self.tool.build(1)
        if command is None:
            raise Broken(f"{self.tool.name} builds nothing")
        return command

    def forget(self) -> None:
        """Remove outputs and state."""
        for name in (OUTPUTS, *self.tool.state):
            path = self.folder / name
            if path.is_dir():
                remove(path)
            else:
                path.unlink(missing_ok=True)
        (self.folder / OUTPUTS).mkdir()

    def run(self, command: Words, limit: float) -> Sample:
        """Run one of the tool's commands. Raises Overdue, Broken."""
        return self.timer.run((self.programs.get(command[0], command[0]), *command[1:]), self.folder, limit)

    def edit(self, number: int) -> str:
        """Change an input; gives what it holds now."""
        return edit_input(self.graph, str(self.folder), number)

    def check_holds(self, text: str) -> None:
        """See that an edit has reached the end. Raises Broken."""
        if text not in (self.folder / self.graph.final).read_text(encoding="ascii"):
            raise Broken(f"{self.tool.name} left {self.graph.final} stale")

    def stamps(self) -> list[int]:
        """When outputs were written."""
        return [os.stat(self.folder / path).st_mtime_ns for path in islice(self.graph.finals(), _LOOKED_AT)]


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=os.link)
    else:
        os.link(source, target)
