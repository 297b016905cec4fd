"""What was measured on, and with which versions."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def machine(scratch: Path) -> Mapping[str, str]:
    """Words for the head of the page."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "file system": _file_system(scratch),
        "Python": platform.python_version(),
    }


def version(command: tuple[str, ...]) -> str:
    """The number in the first line that a version command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    first = next(iter(done.stdout.splitlines()), "")
    return next((word.strip(",") for word in first.split() if word[:1].isdigit()), first)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system of `folder`, where the system tells."""
    if sys.platform != "linux":
        return "unknown"
    best, found = "", "unknown"
    with suppress(OSError):
        for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
            _, point, kind, *_ = line.split()
            if len(point) >= len(best) and folder.is_relative_to(point):
                best, found = point, kind
    return found
