"""The console script: a build or `status` with nothing to do answers at once, all else goes to `main`.

Click alone takes 30 ms to import, so the commonest words are understood here without it. What is not understood, and
what is not wholly fresh, is left to the command line proper.
"""

from __future__ import annotations

import os
import sys
import time

from mlmake.cli.verbs import COMMANDS
from mlmake.state import snapshot

_FLAGS = ("-k", "--keep-going", "-v", "--verbose")
_COMPLETION = "_MLMAKE_COMPLETE"
"""The variable by which a shell asks what a word may become; there is no other word then."""
_ENDED = "0 ran, {} fresh, 0 restored, 0 failed in {:.1f} s"


def main() -> None:
    """Run the command line and exit with its code."""
    if not at_once(sys.argv[1:]):
        from mlmake.cli.main import main as proper

        proper()


def at_once(args: list[str]) -> bool:
    """Answer if nothing has changed since the last look at the same selection; False leaves it to others."""
    if _COMPLETION in os.environ:
        return False
    began = time.perf_counter()
    folder, rest = _folder(args)
    words = _understood(rest)
    root = _root(folder) if words is not None else None
    if words is None or root is None:
        return False
    command, quiet, targets = words
    look = snapshot.read(snapshot.path_of(root, targets, folder), os.path.join(root, ".mlmake", "state.db"))
    if look is None or look.head["unsettled"] or look.changed():
        return False
    if command == "status":
        _print("\n".join(_lines(look.head["groups"])))
    elif not quiet:
        steps = sum(count for _, count in look.head["groups"])
        _print(_green(_ENDED.format(steps, time.perf_counter() - began), bold=True))
    return True


def _lines(groups: list[tuple[str, int]]) -> list[str]:
    """As `status` lists steps that are all fresh; a test holds both side by side."""
    fresh = _green("fresh")
    lines = [f"{fresh}  {name}" + (_colored(f" ({count} steps)", "2") if count > 1 else "") for name, count in groups]
    return [*lines, f"{sum(count for _, count in groups)} {fresh}"]


def _folder(args: list[str]) -> tuple[str, list[str]]:
    """Where to work, by -C or by where the user stands, and the other words."""
    if args[:1] == ["-C"] and len(args) > 1:
        return os.path.abspath(args[1]), args[2:]
    return os.getcwd(), args


def _understood(args: list[str]) -> tuple[str, bool, list[str]] | None:
    """(command, quiet, targets) of a command line that a fresh project answers; None for any other."""
    command = args[0] if args[:1] in (["build"], ["status"]) else ""
    if not command and args[:1] and args[0] in COMMANDS:
        return None
    waiting = args[1:] if command else list(args)
    quiet = False
    targets = []
    while waiting:
        word = waiting.pop(0)
        if word in ("-j", "--jobs") and command != "status":
            if not waiting or not waiting.pop(0).isdigit():
                return None
        elif word in ("-q", "--quiet") and command != "status":
            quiet = True
        elif word.startswith("-") and not (word in _FLAGS and command != "status"):
            return None
        elif not word.startswith("-"):
            targets.append(word)
    return command, quiet, targets


def _root(folder: str) -> str | None:
    while not os.path.exists(os.path.join(folder, "pipelines.toml")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _print(text: str) -> None:
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _green(text: str, *, bold: bool = False) -> str:
    return _colored(text, "1;32" if bold else "32")


def _colored(text: str, code: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"
