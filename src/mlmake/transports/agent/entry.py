"""Where the agent begins: `serve ROOT GREETING` answers mlmake."""

from __future__ import annotations

import sys

from . import serve


def main() -> None:
    """Do what the command line says."""
    serve.main(sys.argv[2], sys.argv[3])
