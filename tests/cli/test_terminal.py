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
from pathlib import Path

from hosts import Door
from projects import Folder

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(project: Folder, *args: str, answer: tuple[str, str] = ("", ""), **env: str) -> tuple[int, str]:
    """Run mlmake on a pseudo-terminal: its exit code and all that it drew; `answer` is typed at the question."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", sys.executable, "-m", "mlmake", *args],
        cwd=project.root,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **env},
    )
    os.close(theirs)
    drawn = b""
    try:
        while block := os.read(ours, 65536):
            drawn += block
            question, typed = (text.encode() for text in answer)
            if question and question in drawn:
                os.write(ours, typed)
                answer = ("", "")
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


def test_a_passphrase_is_asked_once_and_the_view_waits(project: Folder, box: Door, tmp_path: Path) -> None:
    """`ssh` asks on the terminal itself: nothing is drawn over its question, and the second conversation needs none."""
    key = tmp_path / "locked"
    key.write_bytes(box.server.key.read_bytes())
    key.chmod(0o600)
    lock = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(key)]
    subprocess.run(lock, check=True, stdout=subprocess.DEVNULL)
    project.head = f"[compute.box]\n{box.table(tmp_path / 'root', cpus=4, key=str(key))}\n"
    project.write({"i.txt": "one"})
    project.steps("""
        [copy]
        command = "cp {inputs.i} {outputs.o}"
        inputs = { i = "i.txt" }
        outputs = { o = "o.txt" }
        compute = "box"
    """)
    code, drawn = on_terminal(project, answer=("Enter passphrase for key", "open sesame\n"), SSH_AUTH_SOCK="")
    assert code == 0
    assert project.read("o.txt") == "one"
    assert drawn.count("Enter passphrase") == 1
    before, _, after = drawn.partition("Enter passphrase")
    assert before.count("\x1b[?25l") == before.count("\x1b[?25h"), "the view has let go of the terminal"
    assert after.startswith(f" for key '{key}': \r\n")
    assert "sesame" not in drawn
