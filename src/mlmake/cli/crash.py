"""A bug: its traceback goes to a file with the versions that a report needs; the user gets two lines."""

from __future__ import annotations

import os
import platform
import tempfile
import time
import traceback
from importlib.metadata import PackageNotFoundError, version

from mlmake import __version__

_PACKAGES = ("doit", "click", "rich", "cattrs", "tomli", "xxhash", "fsspec", "paramiko", "docker", "watchdog")


def write_crash(error: BaseException, args: list[str]) -> str:
    """Write the log; the lines to print."""
    path = os.path.join(_folder(), f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"mlmake {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
        file.write("".join(f"{name} {_version(name)}\n" for name in _PACKAGES))
        file.write(f"arguments: {args!r}\n\n")
        file.write("".join(traceback.format_exception(error)))
    kind = type(error).__name__
    return f"mlmake: this is a bug in mlmake: {kind}: {error}\n        what a report needs is in {path}"


def _folder() -> str:
    from mlmake.config.root import find_root
    from mlmake.home import Home

    try:
        home = Home(find_root("."))
        home.ensure()
        os.makedirs(home.crashes, exist_ok=True)
    except Exception:
        return tempfile.mkdtemp(prefix="mlmake-crash-")
    return home.crashes


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
