"""Where the agent begins: `serve ROOT GREETING` answers mlmake, `run FOLDER` runs the job in a folder."""

from __future__ import annotations

import sys

from . import runner, serve


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1] == "run":
        runner.main(sys.argv[2])
    else:
        serve.main(sys.argv[2], sys.argv[3])
