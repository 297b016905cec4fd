"""What a person sees: a real terminal (a pseudo-terminal of 100 columns), with the live view."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

from projects import Folder

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(project: Folder, *args: str, **env: str) -> tuple[int, str]:
    """Run mlmake on a pseudo-terminal: its exit code and all that it drew."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "mlmake", *args],
        cwd=project.root,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **env},
        start_new_session=True,
    )
    os.close(theirs)
    drawn = b""
    try:
        while block := os.read(ours, 65536):
            drawn += block
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    return process.wait(), drawn.decode()


def test_the_live_view_shows_what_runs_and_leaves_lines_behind(project: Folder) -> None:
    project.steps("""
        [wait]
        command = "sleep 0.6; touch {outputs.x}"
        matrix = { n = [1, 2, 3] }
        outputs = { x = "build/{matrix.n}" }
    """)
    code, drawn = on_terminal(project, "-j", "2")
    text = ESCAPES.sub("", drawn)
    assert code == 0
    assert re.search(r"wait\[n=1\]\s+0\.\d s", text), "a running step with its time"
    assert "0/3" in text
    assert "wait[n=3] done in" in text
    assert "3 ran, 0 fresh" in text
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h"), "the cursor is shown again"
    project.cli("clean", "--all")
    assert "left" in ESCAPES.sub("", on_terminal(project, "-j", "1")[1]), "an estimate, from the run before"


def test_colours_are_for_those_who_want_them(project: Folder) -> None:
    project.steps('[one]\ncommand = "touch {outputs.x}"\noutputs = { x = "x" }')
    assert "\x1b[32m" in on_terminal(project, "status")[1] or "\x1b[33m" in on_terminal(project, "status")[1]
    plain = on_terminal(project, "status", NO_COLOR="1")[1]
    assert "\x1b[3" not in plain
    on_terminal(project)
    assert "\x1b[3" not in on_terminal(project, NO_COLOR="1")[1]


def test_a_failed_step_on_a_terminal(project: Folder) -> None:
    project.steps('[one]\ncommand = "echo oh no; exit 4"\noutputs = { x = "x" }')
    code, drawn = on_terminal(project)
    assert code == 1
    assert "  | oh no" in ESCAPES.sub("", drawn)
