"""Where the agent begins: `serve ROOT GREETING` answers mlmake, `equip ORDER` makes an environment."""

from __future__ import annotations

import sys

from . import environments, serve


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1] == "equip":
        sys.exit(environments.main(sys.argv[2]))
    serve.main(sys.argv[2], sys.argv[3])
