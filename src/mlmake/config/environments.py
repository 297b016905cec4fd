"""Checks of `[environments.NAME]`: its version, its files, the variables that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlmake.config.check import placeholders_of
from mlmake.config.places import is_glob, locate
from mlmake.config.problems import Problems, Wrong, at, show
from mlmake.config.scope import Scope, where_of
from mlmake.environments.requirements import PASSWORD
from mlmake.model.project import Environment, Project

_VERSION = re.compile(r"\d+(\.\d+){0,2}")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_FILES = ("requirements", "conda", "dockerfile")
_OF_PYTHON = ("packages", "requirements")


def check_environment(problems: Problems, environment: Environment, where: str) -> None:
    """Problems of an environment's own table."""
    if environment.python and not _VERSION.fullmatch(environment.python):
        said = show(environment.python)
        problems.tell(f"{where}.python", f"expected a version such as '3.12', got {said}")
    for key in _OF_PYTHON:
        if getattr(environment, key) and not environment.python:
            problems.tell(where, f"{key!r} goes with 'python': what another base holds stands in its own file")
    for key in ("variables", "secrets"):
        for name in getattr(environment, key):
            if not _VARIABLE.fullmatch(name):
                problems.tell(f"{where}.{key}", f"{show(name)} is no name of an environment variable")
    for name in environment.secrets:
        if name in environment.variables:
            problems.tell(f"{where}.secrets", f"{show(name)} stands in 'variables' too: a secret is no fact")
    for package in environment.packages:
        if not package.strip() or "\0" in package or "\n" in package:
            problems.tell(f"{where}.packages", f"{show(package)} is no requirement")
        elif PASSWORD.search(package):
            what = "a URL holds a password, which would be written and shown"
            problems.tell(f"{where}.packages", f"{what}: put it into 'requirements' as ${{NAME}}, a variable")


def check_environments(scope: Scope) -> None:
    """What environments have to do with the rest of the file. For when all outputs are known."""
    for environment in scope.project.environments.values():
        for key, path in _files(environment):
            _check_file(scope, path, f"{at('environments', environment.name)}.{key}")
    if any(environment.secrets for environment in scope.project.environments.values()):
        _check_secrets(scope)


def _files(environment: Environment) -> Iterator[tuple[str, str]]:
    return ((key, path) for key in _FILES if (path := getattr(environment, key)))


def _check_file(scope: Scope, path: str, where: str) -> None:
    """An environment is made from files of the project, and before any step runs that could make them."""
    try:
        found = locate(path, scope.project.root, scope.project.datastores)
    except Wrong as wrong:
        move = "; it lies in the project" if wrong.fact != wrong.what else ""
        scope.problems.tell(where, f"{wrong.fact}{move}", wrong.near)
        return
    if "://" in path or found.is_folder or is_glob(path):
        scope.problems.tell(where, f"{show(path)} is no file of the project")
    elif claim := scope.owners.at(found.path):
        maker = scope.shown(claim.step.id)
        scope.problems.tell(where, f"{show(path)} is an output of {maker}: it must be there before the build")


def _check_secrets(scope: Scope) -> None:
    """A command line is shown and its `{env.X}` is a fact, so it cannot hold a secret."""
    for name, declared in scope.pipelines.items():
        for spec in declared.specs.values():
            secrets = _secrets(scope.project, spec.environment)
            for key, found in placeholders_of(spec.kind) if secrets else ():
                if found.space == "env" and found.name in secrets:
                    where = ".".join(filter(None, (where_of(name, spec.name), key)))
                    what = f"{found.name} is a secret of environment {spec.environment!r}, and a command line is shown"
                    scope.problems.tell(where, f"{what}: let the step read it from its environment")


def _secrets(project: Project, environment: str) -> tuple[str, ...]:
    found = project.environments.get(environment)
    return found.secrets if found else ()
