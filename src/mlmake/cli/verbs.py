"""The commands; anything else on the command line is what to build."""

from __future__ import annotations

COMMANDS = (
    "build",
    "attach",
    "status",
    "watch",
    "why",
    "graph",
    "runs",
    "show",
    "logs",
    "metrics",
    "data",
    "diff",
    "restore",
    "clean",
    "cache",
    "compute",
    "run",
    "init",
    "import",
    "completion",
)
"""One module each under `cli/commands`, loaded when it is used."""
