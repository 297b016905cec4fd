"""The folder that everything happens in; it goes when the run ends, however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_PREFIX = "mlmake-benchmarks-"
_NAME = re.compile(rf"{_PREFIX}(\d+)-")


@contextmanager
def scratch(parent: str | None) -> Iterator[Path]:
    """A folder below `parent` (by default the system's place for temporary files), removed afterwards."""
    above = Path(parent or tempfile.gettempdir())
    _sweep(above)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=above)).resolve()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder and all in it; also what another program is still writing."""
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    shutil.rmtree(folder)


def _sweep(above: Path) -> None:
    """Remove what a killed run of ours left."""
    for folder in above.glob(f"{_PREFIX}*"):
        found = _NAME.match(folder.name)
        if found and folder.stat().st_uid == os.getuid() and not _is_alive(int(found[1])):
            remove(folder)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
