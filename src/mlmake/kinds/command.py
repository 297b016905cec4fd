"""Kind `command`: any command line; text runs in `sh`, a list runs as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from mlmake.model.step import Code
from mlmake.model.template import Call

_BREAKS = re.compile(r"[\s;|&()<>\"'`=]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command line. Project files that it names (`python steps/report.py`) are its code."""

    name: ClassVar[str] = "command"
    version: ClassVar[int] = 1

    command: str | tuple[str, ...]

    def words(self) -> tuple[str, ...]:
        return (self.command,) if isinstance(self.command, str) else self.command

    def code(self) -> Code:
        words = _BREAKS.split(self.command) if isinstance(self.command, str) else self.command
        return Code(mentioned=tuple(dict.fromkeys(word for word in words if word and "{" not in word)))

    def argv(self, call: Call) -> tuple[str, ...]:
        if isinstance(self.command, str):
            return ("/bin/sh", "-c", call.quoted(self.command))
        return call.spliced(self.command)
