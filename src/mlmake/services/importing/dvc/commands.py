"""The `cmd` of a DVC stage as one command line of `sh`, run in the project's root."""

from __future__ import annotations

import re
import shlex

_ENTANGLED = re.compile(r"[;&#()\n]|\|\||<<")
_CHANGES_SHELL = re.compile(r"\s*(cd|export|set|exec|exit|source|\.|trap|ulimit|umask|unset|alias|\w+=\S*)(\s|$)")
_BASH = re.compile(r"\[\[|pipefail|[<>]\(|(^|[\s;&|])source\s|&>|<<<|\$'")


def joined(commands: list[str], folder: str) -> str:
    """Commands that run one after the other, each in a shell of its own, until one fails."""
    lines = [each.strip() for each in commands if each.strip()]
    if len(lines) > 1:
        lines = [f"(\n{each}\n)" if _ENTANGLED.search(each) or _CHANGES_SHELL.match(each) else each for each in lines]
    text = " &&\n".join(lines) if any("\n" in each for each in lines) else " && ".join(lines)
    if folder in ("", "."):
        return text
    is_one = len(lines) > 1 or not _ENTANGLED.search(text)
    return f"cd {shlex.quote(folder)} {f'&& {text}' if is_one else f'|| exit{chr(10)}{text}'}"


def needs_bash(command: str) -> bool:
    """Whether a command says what `sh` does not know."""
    return _BASH.search(command) is not None
