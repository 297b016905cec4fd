"""`python -m mlmake.services.transfer --source=… --target=… --to=…`, in a project's root: as the kind's `argv` says.

Datastores, and with them the names of the variables that hold secrets, are read here from what the build goes by.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing

from mlmake.config.load import load, parse
from mlmake.config.places import locate
from mlmake.config.problems import Wrong
from mlmake.errors import MlmakeError, UsageError
from mlmake.home import Home
from mlmake.model.data import Location
from mlmake.model.project import Project
from mlmake.model.submission import SUBMITTED
from mlmake.services.transfer.moving import move
from mlmake.services.transfer.sides import Sides
from mlmake.state.database import opened


def main(argv: Sequence[str]) -> int:
    """Do one transfer; its exit code."""
    words = _parser().parse_args(argv)
    try:
        _transfer(_project(os.getcwd()), words)
    except MlmakeError as error:
        print(f"mlmake: {error.message}", *([f"        {error.hint}"] if error.hint else []), sep="\n", flush=True)
        return 1
    except OSError as error:
        print(f"mlmake: {error.filename or 'this machine'}: {error.strerror or error}", flush=True)
        return 1
    return 0


def _project(root: str) -> Project:
    """What the build goes by: pipelines.toml, or what was submitted to it."""
    submitted = os.environ.get(SUBMITTED)
    if not submitted:
        return load(root)
    with open(submitted, "rb") as file:
        return parse(file.read(), root)


def _transfer(project: Project, words: argparse.Namespace) -> None:
    sources = [_located(project, text, globs=False) for text in words.source]
    sources += [_located(project, text, globs=True) for text in words.glob]
    target = _located(project, words.target, globs=False)
    home = Home(project.root)
    with opened(home, create=True) as connection, closing(Sides(project, connection)) as sides:
        move(sides, home, sources, target, os.path.abspath(words.to))


def _located(project: Project, text: str, *, globs: bool) -> Location:
    try:
        return locate(text, project.root, project.datastores, globs)
    except Wrong as wrong:
        raise UsageError(f"pipelines.toml has changed: {wrong.what}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mlmake.services.transfer", allow_abbrev=False)
    parser.add_argument("--source", action="append", default=[])
    parser.add_argument("--glob", action="append", default=[])
    parser.add_argument("--target", required=True)
    parser.add_argument("--to", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
