"""Checks that need no combination of a matrix: names, placeholders, flags, scripts, targets, environments."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields

from mlmake.config.places import NAME, NAME_RULE, is_glob, locate
from mlmake.config.problems import Problems, Wrong, below, listed, show
from mlmake.config.references import parse_selector
from mlmake.config.scope import Scope, where_of
from mlmake.model.data import Value
from mlmake.model.project import Compute
from mlmake.model.step import NO_CODE, Kind, StepSpec
from mlmake.model.template import Placeholder, meant, placeholders

_NESTED = re.compile(r"(?<!\{)\{(?:inputs|outputs|params|matrix|env)\.[^{}\s]*\{")
_OUTPUTS = ("outputs", "metrics")
_BARE_AXIS = re.compile(r"(?<!\{)\{(\w+)\}")
_ALIAS = re.compile(r"\w[\w.-]{0,99}")
_BAD_KEY = re.compile(r"[.=]|^$")


def check_step(scope: Scope, spec: StepSpec, where: str) -> None:
    """Problems of a step's own table."""
    for table in ("inputs", "outputs", "metrics", "matrix"):
        for name in getattr(spec, table):
            if not NAME.fullmatch(name):
                scope.problems.tell(f"{where}.{table}", f"{show(name)} is no name: {NAME_RULE}")
    for own, key in spec.params.items():
        if own != key and not _ALIAS.fullmatch(own):
            scope.problems.tell(f"{where}.params", f"{show(own)} is no name: {NAME_RULE}")
    for name in spec.metrics:
        if name in spec.outputs:
            scope.problems.tell(f"{where}.metrics", f"{show(name)} is the name of an output already")
    _check_cache(scope, spec, where)
    for key, texts in _texts(spec.kind):
        _check_placeholders(scope, spec, key, texts, where)
    if spec.matrix:
        _check_bare_axes(scope, spec, where)
    for pattern in spec.code:
        _check_code(scope, pattern.removeprefix(NO_CODE), f"{where}.code", is_script=False)
    for script in spec.kind.code().scripts:
        _check_code(scope, script, f"{where}.script", is_script=True)


def _check_cache(scope: Scope, spec: StepSpec, where: str) -> None:
    outputs = [*spec.outputs, *spec.metrics]
    for name in spec.cache if isinstance(spec.cache, Mapping) else ():
        if name not in outputs:
            near = scope.problems.near(name, outputs)
            scope.problems.tell(f"{where}.cache", f"the step has no output {show(name)}", near)


def check_params(problems: Problems, params: Mapping[str, Value], where: str) -> None:
    """Keys that no dotted name could say."""
    for name, value in params.items():
        if _BAD_KEY.search(name):
            problems.tell(where, f"{show(name)} is no key for a parameter: it is empty or holds a dot or a =")
        elif isinstance(value, Mapping):
            check_params(problems, value, below(where, name))
        elif any("\0" in each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)):
            problems.tell(below(where, name), "a command line cannot hold a NUL character")


def check_scripts(scope: Scope) -> None:
    """A script must be there before the build, so no step can make it. For when all outputs are known."""
    for where, path in scope.scripts.items():
        claim = scope.owners.at(path)
        if claim is not None:
            said = show(os.path.relpath(path, scope.project.root))
            what = f"{said} is an output of {scope.shown(claim.step.id)}: a script must be there before the build"
            scope.problems.tell(where, f'{what}; make it an input, and run it with command = "python {{inputs.NAME}}"')


def check_names(scope: Scope) -> None:
    """Compute targets, environments and the default, as named elsewhere in the file."""
    targets = {"local", *scope.project.computes}
    environments = {"system", *scope.project.environments}
    for name, declared in scope.pipelines.items():
        for spec in declared.specs.values():
            if spec.compute not in targets or spec.environment not in environments:
                where = where_of(name, spec.name)
                _check_name(scope, spec.compute, targets, f"{where}.compute", "compute target")
                _check_name(scope, spec.environment, environments, f"{where}.environment", "environment")
    for compute in scope.project.computes.values():
        _check_compute(scope, compute, targets)
    _check_default(scope)


def _check_name(scope: Scope, name: str, legal: set[str], where: str, what: str) -> None:
    if name not in legal:
        near = scope.problems.near(name, legal)
        known = "" if near else f"; known: {listed(sorted(legal))}"
        scope.problems.tell(where, f"unknown {what} {show(name)}{known}", near)


def _check_compute(scope: Scope, compute: Compute, targets: set[str]) -> None:
    for key in ("of", "via"):
        said = compute.options.get(key, ())
        where = f"{below('compute', compute.name)}.{key}"
        for member in [said] if isinstance(said, str) and said else said:
            _check_name(scope, member, targets, where, "compute target")
            if member == compute.name:
                scope.problems.tell(where, f"{member!r} cannot name itself")
            elif key == "of" and (known := scope.project.computes.get(member)) and known.kind == "pool":
                scope.problems.tell(where, f"{member!r} is a pool itself: name its members")
        if key in compute.options and not said and key == "of":
            scope.problems.tell(where, "a pool needs one or more members")


def placeholders_of(kind: Kind) -> Iterator[tuple[str, Placeholder]]:
    """The placeholders of a kind's command line, each with the key that it stands in."""
    for key, texts in _texts(kind):
        for found in placeholders(texts):
            yield key, found


def _texts(kind: Kind) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Words of a command line by the key that holds them; "" for those that the kind puts together itself."""
    words = dict.fromkeys(word for word in kind.words() if "{" in word or "\0" in word)
    if not words:
        return
    for each in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass: the first line of its contract
        value = getattr(kind, each.name)
        texts = (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()
        if held := tuple(text for text in texts if text in words):
            yield each.name, held
            words = {word: None for word in words if word not in held}
    if words:
        yield "", tuple(words)


def _check_bare_axes(scope: Scope, spec: StepSpec, where: str) -> None:
    """`{fold}` where `{matrix.fold}` is meant: once for all combinations."""
    texts = [(below(f"{where}.inputs", name), path) for name, paths in spec.inputs.items() for path in paths]
    texts += [(below(f"{where}.{key}", n), path) for key in _OUTPUTS for n, path in getattr(spec, key).items()]
    texts += [(f"{where}.params", key) for key in spec.params.values()]
    texts += [(f"{where}.after", name) for name in spec.after]
    for place, text in texts:
        for name in _BARE_AXIS.findall(text):
            if name in spec.matrix:
                scope.slips.add(place)
                scope.problems.tell(place, f"{{{name}}} is no placeholder", f"{{matrix.{name}}}")


def _check_placeholders(scope: Scope, spec: StepSpec, key: str, texts: tuple[str, ...], where: str) -> None:
    at = f"{where}.{key}" if key else where
    if key == "script":
        for found in placeholders(texts):
            if meant(found.space):
                said = f"{{{found.space}.{found.name}}}"
                scope.problems.tell(at, f"{said} cannot stand in a script's path: hand the value over in 'args'")
        return
    if any("\0" in text for text in texts):
        scope.problems.tell(at, "a command line cannot hold a NUL character")
    for found in dict.fromkeys(placeholders(texts)):
        _check_placeholder(scope, found, spec, at)
    for text in texts:
        for nested in _NESTED.findall(text):
            move = "give the parameter an own name in 'params', as in { own = \"a.{matrix.x}\" }"
            scope.problems.tell(at, f"{nested}…: a placeholder cannot stand in a placeholder; {move}")


def _check_placeholder(scope: Scope, found: Placeholder, spec: StepSpec, where: str) -> None:
    legal: dict[str, Iterable[str]] = {
        "inputs": spec.inputs,
        "outputs": [*spec.outputs, *spec.metrics],
        "matrix": spec.matrix,
    }
    space = meant(found.space)
    if space and space != found.space:
        said = f"{{{found.space}.{found.name}}}"
        scope.problems.tell(where, f"unknown placeholder {said}", f"{{{space}.{found.name}}}")
    elif space in legal and found.name not in legal[space]:
        near = scope.problems.near(found.name, legal[space])
        has = listed(legal[space])
        hint = "" if near else f": the step's {space} are {has}" if has else f": the step has no {space}"
        said = f"{{{space}.{found.name}}}"
        scope.problems.tell(where, f"unknown placeholder {said}{hint}", near and f"{{{space}.{near}}}")


def _check_code(scope: Scope, path: str, where: str, *, is_script: bool) -> None:
    try:
        found = locate(path, scope.project.root, scope.project.datastores, globs=not is_script)
    except Wrong as wrong:
        move = "; a step's code lies in the project" if wrong.fact != wrong.what else ""
        scope.problems.tell(where, f"{wrong.fact}{move}", wrong.near)
        return
    if "://" in path:
        scope.problems.tell(where, f"{show(path)} is no file of the project: code is not read from elsewhere")
    elif is_script and (found.is_folder or is_glob(path)):
        scope.problems.tell(where, f"{show(path)} is no file")
    elif is_script:
        scope.scripts[where] = found.path
    elif any(meant(each.space) for each in placeholders([path])):
        scope.problems.tell(where, f"{show(path)}: placeholders cannot stand here")


def _check_default(scope: Scope) -> None:
    default = scope.project.default
    if not default or default in scope.pipelines or _is_step(scope, default) or _is_output(scope, default):
        return
    legal = [*scope.pipelines, *scope.owners.texts()]
    for declared in scope.pipelines.values():
        legal += [*declared.specs, *declared.broken]
    near = scope.problems.near(default, dict.fromkeys(legal))
    scope.problems.tell("project.default", f"{show(default)} is no pipeline, step or output", near)


def _is_step(scope: Scope, word: str) -> bool:
    try:
        pipeline, group, selector = parse_selector(word)
    except Wrong:
        return False
    for name, declared in scope.pipelines.items():
        if pipeline in ("", name) and (group in declared.broken or declared.is_broken):
            return True
        if pipeline in ("", name) and group in declared.specs:
            known = declared.specs[group].matrix.keys()
            if selector.keys() <= known and scope.groups.select(name, group, selector):
                return True
    return False


def _is_output(scope: Scope, word: str) -> bool:
    path = os.path.normpath(os.path.join(scope.project.root, word))
    return path in scope.owners.by_path() or word in scope.owners.texts()
