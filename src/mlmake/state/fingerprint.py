"""Facts: everything that decides what a step computes, each with a name for people and a value to compare.

`code steps/fit.py`, `args`, `param model.depth`, `matrix fold`, `input table`, `output model`, `environment ml` (what
was installed), `python`, `packages`, `requirements ml.txt` and their like (what was asked for), `env HOME`, `kind`,
`names` (a step's own, of its parameters), `in_place`, `version`. Names of steps, tags, descriptions, compute targets
and order are no facts.
"""

from __future__ import annotations

import glob
import json
import os
import sqlite3
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import xxhash

from mlmake.environments.base import Facts
from mlmake.home import Home
from mlmake.model.data import Input, InputMode, Source
from mlmake.model.project import Project
from mlmake.model.reason import Cause, Reason
from mlmake.model.run import Item
from mlmake.model.step import Step, StepSpec
from mlmake.state.database import misread
from mlmake.state.declared import Declared, as_json
from mlmake.state.digests import Digest, Digests
from mlmake.state.imports import Closure
from mlmake.state.mirror import target_of
from mlmake.state.remotes import Remotes, url_of
from mlmake.state.scan import scan
from mlmake.state.snapshot import matches
from mlmake.state.softwares import Softwares

EDITED = "edited while it was read"
"""The value of a fact that changed under a running step: it equals no digest, so the step runs again."""
_NO_SOFTWARE = Facts(values={})
"""That of a step that mlmake does itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """A step's facts at one moment.

    Attributes:
        facts: name -> value.
        inputs: input name -> its items, for `why`.
        paths: input name -> the absolute path of each item, for handing over.
        missing: why the step cannot run.
        pending: producers whose outputs are not final; facts of these inputs are left out.
        waiting: the names of these inputs.
        code: absolute path -> digest of every code file.
        sources: the same of the files that the environment is made from, for `why`.
        unbuilt: names of facts that only an environment will tell that is not built yet.
        texts: digest -> text behind the value of a fact.
        target: the compute target whose software this is.
    """

    facts: Mapping[str, str]
    inputs: Mapping[str, tuple[Item, ...]]
    paths: Mapping[str, tuple[str, ...]]
    missing: tuple[Reason, ...]
    pending: tuple[str, ...]
    code: Mapping[str, str]
    waiting: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    unbuilt: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    target: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """All that decided about a step when it was last looked at; while none of it changes, no fact does.

    Attributes:
        files: absolute paths of code, inputs and outputs, and of files that would count if they were there.
        listings: folders whose names decide what an import finds -> these names.
        globs: (folder, pattern) -> what it matched.
        variables: environment variables.
    """

    files: tuple[str, ...]
    listings: Mapping[str, list[str]]
    globs: Mapping[tuple[str, str], list[str]]
    variables: tuple[str, ...]


class _Static(NamedTuple):
    """What all combinations of a matrix share."""

    facts: dict[str, str]
    missing: tuple[Reason, ...]
    code: dict[str, str]
    software: Facts


class Fingerprints:
    """Looks at a project's files and says each step's facts."""

    def __init__(
        self,
        project: Project,
        digests: Digests,
        connection: sqlite3.Connection,
        ran_at: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`ran_at` tells for the id of a step on which target it last ran well, "" if that is not known."""
        self._project = project
        self._ran_at = ran_at
        self._home = Home(project.root)
        self.remotes = Remotes(project.datastores, connection)
        self._digests = digests
        self.softwares = Softwares(project, digests)
        self._connection = connection
        self._names = _known_imports(connection)
        self._new_names: dict[str, tuple[str, ...]] = {}
        self._declared: dict[int, Declared] = {}
        self._static: dict[tuple[int, str], _Static] = {}
        self._matches: dict[tuple[str, str], list[str]] = {}
        self._expected: dict[str, Digest] = {}
        self._closure = self._new_closure()

    def look_again(self) -> None:
        """Forget which code files there are, as time has passed since the last look."""
        self._static.clear()
        self._matches.clear()
        self.softwares.look_again()
        self.remotes.look_again()
        self._closure = self._new_closure()

    def of(self, step: Step, is_final: Callable[[str], bool] = lambda _: True, target: str = "") -> Fingerprint:
        """The facts of a step; inputs made by a step that is not final are left out.

        Its software is that of a compute target: of the one that is named, else of the one on which the step last ran.
        """
        target = target or self._target(step)
        static = self._of_spec(step.spec, target)
        facts = dict(static.facts)
        missing = list(static.missing)
        pending: dict[str, None] = {}
        waits: list[str] = []
        inputs: dict[str, tuple[Item, ...]] = {}
        paths: dict[str, tuple[str, ...]] = {}
        for each in step.inputs:
            if each.mode is InputMode.FOLDER:  # the same files lie deeper in a folder that begins higher
                facts[f"mode {each.name}"] = f"{each.mode.value} of {each.top}"
            waiting = [p for source in each.sources for p in source.producers if not is_final(p)]
            if waiting:
                pending.update(dict.fromkeys(waiting))
                waits.append(each.name)
                continue
            items, paths[each.name], gone = self._items(each)
            missing += [Reason(cause=Cause.INPUT_MISSING, subject=each.name, new=text) for text in gone]
            inputs[each.name] = items
            facts[f"input {each.name}"] = _digest_of(items)
        facts.update((f"param {param.key}", as_json(param.value)) for param in step.params)
        facts.update((f"matrix {axis}", as_json(value)) for axis, value in step.matrix.items())
        facts.update((f"output {output.name}", output.location.text) for output in step.outputs)
        return Fingerprint(
            facts=facts,
            inputs=inputs,
            paths=paths,
            missing=tuple(missing),
            pending=tuple(pending),
            code=static.code,
            waiting=tuple(waits),
            sources=static.software.shown,
            unbuilt=static.software.unknown,
            texts=static.software.texts,
            target=target,
        )

    def expect(self, path: str, digest: Digest) -> None:
        """Let inputs count as if `path` held this already: a restorable step will put it there."""
        self._expected[path] = digest

    def expect_nothing(self) -> None:
        """Take everything for what it is again."""
        self._expected.clear()

    def save(self) -> None:
        """Write the imports that were found into the state; call it inside a transaction."""
        rows = ((digest, json.dumps(names)) for digest, names in self._new_names.items())
        self._connection.executemany("INSERT OR REPLACE INTO imports VALUES (?, ?)", rows)
        self._new_names.clear()
        self.remotes.save()

    def watched(self, step: Step) -> Watched:
        """What decided when `of` last looked at a step."""
        declared = self._declared_by(step.spec)
        static = self._of_spec(step.spec, self._target(step))
        software = static.software
        files = [*static.code, *declared.mentioned, *software.files]
        globs = {(self._project.root, pattern): None for pattern in map(self._pattern, step.spec.unseen_code)}
        for location in (source.location for each in step.inputs for source in each.sources):
            if location.is_remote:
                continue
            if location.pattern:
                globs[location.path, location.pattern] = None
                files += (os.path.join(location.path, name) for name in self._glob(location.path, location.pattern))
            else:
                files.append(location.path)
        files += (output.location.path for output in step.outputs if not output.location.is_remote)
        return Watched(
            files=tuple(dict.fromkeys(files)),
            listings={**(self._closure.listings if static.code else {}), **software.listings},
            globs={**{key: self._glob(*key) for key in globs}, **software.globs},
            variables=declared.variables + software.variables,
        )

    # Facts that all combinations of a matrix share.

    def _target(self, step: Step) -> str:
        """Where a step ran; where it would, if it never did."""
        return self._ran_at(step.id) or self._project.members(step.spec.compute)[0]

    def _of_spec(self, spec: StepSpec, target: str) -> _Static:
        known = self._static.get((id(spec), target))
        if known is None:
            known = self._static[id(spec), target] = self._look_at_spec(spec, target)
        return known

    def _look_at_spec(self, spec: StepSpec, target: str) -> _Static:
        declared = self._declared_by(spec)
        software = _NO_SOFTWARE if spec.delivers else self.softwares.of(spec, target).facts
        facts = {**declared.facts, **software.values}
        missing = list(software.missing)
        code = {}
        for path in self._code_files(spec, declared):
            digest = self._digests.of(self._absolute(path))
            if digest is None:
                missing.append(Reason(cause=Cause.SCRIPT_MISSING, subject=path))
            else:
                facts[f"code {path}"] = code[self._absolute(path)] = digest.digest
        for variable in declared.variables + software.variables:
            value = os.environ.get(variable)
            if value is None:
                missing.append(Reason(cause=Cause.VARIABLE_MISSING, subject=variable))
            else:
                facts[f"env {variable}"] = xxhash.xxh3_128_hexdigest(value.encode("utf-8", "surrogateescape"))
        return _Static(facts, tuple(missing), code, software)

    def _declared_by(self, spec: StepSpec) -> Declared:
        """What a table alone decides: worked out once, as it cannot change while we look."""
        known = self._declared.get(id(spec))
        if known is None:
            known = self._declared[id(spec)] = Declared.of(spec, tuple(self._mentioned(spec)))
        return known

    def _code_files(self, spec: StepSpec, declared: Declared) -> list[str]:
        files: dict[str, None] = {}
        for script in declared.scripts:
            files.update(dict.fromkeys(self._followed(os.path.normpath(script))))
        for path in declared.mentioned:
            if os.path.isfile(path):
                files.update(dict.fromkeys(self._followed(os.path.relpath(path, self._project.root))))
        for pattern in spec.unseen_code:
            for path in self._globbed(pattern):
                files.update(dict.fromkeys(self._followed(path)))
        return list(files)

    def _globbed(self, item: str) -> Iterator[str]:
        """What an item of `code` stands for: a glob for files, a folder for all files in it, a path for itself."""
        pattern = self._pattern(item)
        if pattern == os.path.normpath(item) and not glob.has_magic(pattern):
            yield pattern
            return
        for path in self._glob(self._project.root, pattern):
            # Bytecode is written by the very run that it would make stale.
            if "__pycache__" not in path.split("/") and os.path.isfile(self._absolute(path)):
                yield os.path.normpath(path)

    def _pattern(self, item: str) -> str:
        if glob.has_magic(item):
            return item
        return os.path.join(item, "**") if os.path.isdir(self._absolute(item)) else os.path.normpath(item)

    def _glob(self, base: str, pattern: str) -> list[str]:
        if (base, pattern) not in self._matches:
            self._matches[base, pattern] = matches(base, pattern)
        return self._matches[base, pattern]

    def _mentioned(self, spec: StepSpec) -> list[str]:
        """Absolute paths of words in a command that would be code if the project had a file of that name.

        What a step makes is no code, and what is an input counts as that; a module is followed all the same.
        """
        read = {os.path.normpath(text) for texts in spec.inputs.values() for text in texts}
        no_code = {os.path.normpath(text) for text in spec.no_code}
        words = [word for word in map(os.path.normpath, spec.kind.code().mentioned) if word not in no_code]
        inside = [word for word in words if not word.startswith(("/", "..", "-"))]
        paths = [self._absolute(word) for word in inside if word.endswith(".py") or not _lies_in(word, read)]
        return [path for path in dict.fromkeys(paths) if not _lies_in(path, self._project.owners)]

    def _followed(self, script: str) -> tuple[str, ...]:
        return self._closure.of(script) if script.endswith(".py") else (script,)

    def _new_closure(self) -> Closure:
        return Closure(self._project.root, self._names_in)

    def _names_in(self, path: str) -> tuple[str, ...] | None:
        digest = self._digests.of(self._absolute(path))
        if digest is None:
            return None
        if digest.digest not in self._names:
            try:
                with open(self._absolute(path), "rb") as file:
                    source = file.read()
            except OSError:
                return None
            # The file may have changed since it was hashed; names belong to the text that they were read from.
            read = xxhash.xxh3_128_hexdigest(source)
            self._names[read] = self._new_names[read] = names = scan(source)
            return names
        return self._names[digest.digest]

    def _absolute(self, path: str) -> str:
        return os.path.join(self._project.root, path)

    # Inputs.

    def _items(self, each: Input) -> tuple[tuple[Item, ...], tuple[str, ...], list[str]]:
        items: list[Item] = []
        paths: list[str] = []
        gone: list[str] = []
        for source in each.sources:
            before = len(items)
            look = self._remote_items if source.location.is_remote else self._local_items
            for item, path in look(source, each.is_streamed):
                items.append(item)
                paths.append(path)
            if len(items) == before:
                gone.append(source.location.text)
        return tuple(items), tuple(paths), gone

    def _local_items(self, source: Source, _: bool) -> Iterator[tuple[Item, str]]:
        for text, path in self._places(source):
            digest = self._expected.get(path) or self._digests.of(path)
            if digest is not None:
                yield Item(text, digest.digest, digest.size), path

    def _remote_items(self, source: Source, is_streamed: bool) -> Iterator[tuple[Item, str]]:
        """What a datastore has, by version; the path is where it will stand here, or its address there."""
        location = source.location
        place = self.remotes.place(location)
        if location.is_folder and not location.pattern:
            version = self.remotes.version(location)
            if version is not None:
                url = url_of(place, place.key)
                here = target_of(self._home, url, version.digest)
                yield (
                    Item(location.text, version.digest, version.size),
                    place.store.address(place.key) if is_streamed else here,
                )
            return
        for file in self.remotes.files(location):
            here = target_of(self._home, url_of(place, file.entry.key), file.entry.version)
            path = place.store.address(file.entry.key) if is_streamed else here
            yield Item(file.text, file.entry.version, file.entry.size), path

    def _places(self, source: Source) -> Iterator[tuple[str, str]]:
        location = source.location
        if not location.pattern:
            yield location.text, location.path
            return
        prefix = location.text.removesuffix("/").removesuffix(location.pattern)
        for match in self._glob(location.path, location.pattern):
            path = os.path.join(location.path, match)
            if not location.is_folder or os.path.isdir(path):
                yield f"{prefix}{match}", path


def _known_imports(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    rows = connection.execute("SELECT digest, names FROM imports")
    try:
        return {digest: tuple(json.loads(names)) for digest, names in rows}
    except (ValueError, TypeError) as error:
        raise misread(connection, error) from error


def _digest_of(items: tuple[Item, ...]) -> str:
    lines = "".join(f"{item.text}\0{item.digest}\0" for item in items)
    return xxhash.xxh3_128_hexdigest(lines.encode("utf-8", "surrogateescape"))


def _lies_in(path: str, places: Container[str]) -> bool:
    """Whether a path, or a folder above it, is one of `places`."""
    while path not in ("", "/"):
        if path in places:
            return True
        path = os.path.dirname(path)
    return False
