"""What a host has."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from typing import Any


def hello(root: str, has_digest: bool) -> dict[str, Any]:
    """What mlmake needs to know before it sends a job."""
    version = ".".join(map(str, sys.version_info[:3]))
    return {
        "software": f"{sys.implementation.name} {version}",
        "python": sys.executable,
        "agent": os.path.abspath(sys.argv[0]),
        "root": root,
        "digest": has_digest,
        "cpus": _cpus(),
        "path": os.environ.get("PATH", os.defpath),
        "home": os.path.expanduser("~"),
        "user": os.getuid(),
        "group": os.getgid(),
    }


def everything(root: str) -> dict[str, Any]:
    """What `mlmake compute check` tells beside that."""
    return {
        "time": time.time(),
        "system": platform.platform(),
        "host": platform.node(),
        "memory": _memory(),
        "free": shutil.disk_usage(root).free,
        "gpus": gpus(),
        "docker": said(["docker", "version", "--format", "{{.Server.Version}}"]),
    }


def gpus() -> list[dict[str, Any]]:
    """The GPUs that nvidia-smi tells of: index, name, memory in bytes."""
    listed = said(["nvidia-smi", "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"])
    found = [[part.strip() for part in line.split(",")] for line in (listed or "").splitlines()]
    return [
        {"index": int(each[0]), "name": each[1], "memory": int(each[2]) << 20}
        for each in found
        if len(each) == 3 and each[0].isdigit() and each[2].isdigit()
    ]


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def said(argv: list[str]) -> str | None:
    """What a program says; None where it is absent or fails."""
    try:
        ran = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.decode("utf-8", "replace").strip() if ran.returncode == 0 else None
