"""The software of each step: by where it runs and in which environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from mlmake.environments.base import Facts, Installed, Ran, Recipe, Resolved, Software, Tools, key_of
from mlmake.environments.image import Image
from mlmake.environments.system import Hosted, System
from mlmake.home import Home
from mlmake.model.project import Environment, Project
from mlmake.model.step import StepSpec
from mlmake.registry import ENVIRONMENTS
from mlmake.state import marks
from mlmake.state.digests import Digests
from mlmake.state.ingredients import Found, Ingredients
from mlmake.state.marks import Mark
from mlmake.state.snapshot import listing
from mlmake.state.stamps import is_racy

_NEVER = (0, 0, 0)
IMAGE = "image"
"""The file that holds an image's id."""
_PATIENCE = 60.0
"""Seconds within which an environment must have said what is in it."""


class Softwares:
    """Looks at environments without making any; one instance lives for one command.

    What is on a host is taken from what it said when it was last asked: to judge a step nobody connects.
    """

    def __init__(self, project: Project, digests: Digests) -> None:
        self._root = project.root
        self._home = Home(project.root)
        self._project = project
        self._environments = project.environments
        self._digests = digests
        self._ingredients = Ingredients(project.root, digests)
        self._system = System()
        self._found: dict[tuple[str, str], Software] = {}
        self._marks: dict[str, _Known] = {}
        self._told: dict[str, tuple[str, Told | None]] = {}
        self._listings: dict[str, tuple[tuple[int, int, int], list[str]]] = {}

    def folders(self) -> set[str]:
        """Where the environments of pipelines.toml are, or would be, and what is known of images."""
        found = [self._look(environment, "") for environment in self._environments.values()]
        return {_folder_of(each) for each in found}

    def look_again(self) -> None:
        """Forget what was seen, as time has passed."""
        self._found.clear()

    def of(self, spec: StepSpec, target: str) -> Software:
        """The software that a step runs in on a target, as it is now or, on a host, as that last told."""
        environment = self._environments.get(spec.environment)
        host = target if self._is_host(target) else ""
        if spec.delivers or (environment is None and not host):
            return self._system
        found = self._found.get((host, spec.environment))
        if found is None:
            looked = self._look(environment, host) if environment else self._hosted(host)
            found = self._found[host, spec.environment] = looked
        return found

    def note_host(self, name: str, told: str) -> None:
        """Remember what a host says of its own software. Raises OSError."""
        if self._is_host(name) and self._hosted(name).told != told:
            _write(self._home.target(name), told)
            self.look_again()

    def note_environment(self, host: str, key: str, told: Told) -> None:
        """Remember what a host says of an environment there. Raises OSError."""
        if self._told_of(host, key) != told:
            _write(self._home.target(host, key), told.text)
            self.look_again()

    def _is_host(self, target: str) -> bool:
        """Whether it has software of its own; it may be one that pipelines.toml has no more."""
        if target in self._project.computes:
            return self._project.kind(target) == "ssh"
        return os.path.exists(self._home.target(target))

    def _hosted(self, name: str) -> Hosted:
        place = self._home.target(name)
        if not self._digest_of(place):
            return Hosted(told="", place=place)
        with open(place, encoding="utf-8") as file:
            return Hosted(told=file.read(), place=place)

    def _told_of(self, host: str, key: str) -> Told | None:
        """What a host said of an environment; None if it never did."""
        place = self._home.target(host, key)
        digest = self._digest_of(place)
        if not digest:
            return None
        known = self._told.get(place)
        if known is None or known[0] != digest:
            known = self._told[place] = digest, Told.read(place)
        return known[1]

    def _look(self, environment: Environment, host: str) -> Installed | Image:
        """An environment on a host, or on this machine."""
        found = self._ingredients.of(environment)
        if environment.base not in ENVIRONMENTS.table:
            return self._image(environment, found)
        recipe: Recipe = ENVIRONMENTS.load(environment.base).of(environment, found.contents)
        facts = _facts(environment, recipe.wish, found)
        if host:
            return self._there(recipe, host, facts)
        folder = os.path.join(self._home.environments, recipe.key)
        return Installed(recipe=recipe, folder=folder, facts=self._with_mark(recipe, folder, facts))

    def _image(self, environment: Environment, found: Found) -> Image:
        """An image; its id is known once an engine had it."""
        wish = {**({"image": environment.image} if environment.image else {}), **found.contents}
        facts = _facts(environment, wish, found)
        place = os.path.join(self._home.environments, key_of(environment.base, wish), IMAGE)
        digest = self._digests.of(place)
        if digest is not None:
            with open(place, encoding="utf-8") as file:
                known = dict.fromkeys(facts.unknown, file.read())
            facts = replace(facts, values={**facts.values, **known}, unknown=())
        return Image(facts=replace(facts, files=(*facts.files, place)), place=place)

    def _there(self, recipe: Recipe, host: str, facts: Facts) -> Installed:
        """An environment on a host; `facts` with what the host said of it."""
        facts = replace(facts, files=(*facts.files, self._home.target(host, recipe.key)))
        told = self._told_of(host, recipe.key)
        if told is None:
            return Installed(recipe=recipe, folder="", facts=facts)
        known = dict.fromkeys(facts.unknown, told.resolved.value)
        texts = {told.resolved.digest: told.resolved.text}
        values = {**facts.values, **known}
        return Installed(
            recipe=recipe, folder=told.folder, facts=replace(facts, values=values, unknown=(), texts=texts)
        )

    def note_image(self, environment: Environment, fact: str) -> None:
        """Remember what an engine said of an image. Raises OSError."""
        software = self._look(environment, "")
        if isinstance(software, Image) and fact not in software.facts.values.values():
            _write(software.place, fact)

    def _with_mark(self, recipe: Recipe, folder: str, facts: Facts) -> Facts:
        """`facts`, with what the environment's mark adds to them."""
        place = marks.path_of(folder)
        digest = self._digest_of(place)  # each is looked at before it is read: what changes between shows next time
        known = self._standing(recipe, folder, digest) if digest else None
        if known is None or known.mark is None:
            return replace(facts, files=(*facts.files, place))
        sites = [os.path.join(folder, name) for name in known.mark.names]
        return replace(
            facts,
            values={**facts.values, **dict.fromkeys(facts.unknown, known.value)},
            unknown=(),
            texts=known.texts,
            files=(*facts.files, place, *(os.path.join(folder, name) for name in known.mark.files)),
            listings={site: self._listings[site][1] for site in sites if site in self._listings},
        )

    def _standing(self, recipe: Recipe, folder: str, digest: str) -> _Known:
        """The mark of an environment, taken anew if somebody has changed what is in it."""
        known = self._marks.get(folder)
        if known is None or known.digest != digest:
            known = self._marks[folder] = _Known.of(digest, marks.read(folder))
        if known.mark is None or known.mark.is_true(folder, self._digest_of, self._names_in):
            return known
        mark = marks.renewed(recipe, folder, Tools(own=sys.executable), self._run, self._digest_of)
        # One that cannot be asked is not remembered as such: built anew, it may get the very same mark.
        return _Known.of(digest, mark)

    def _names_in(self, folder: str) -> list[str]:
        """The names in a folder, read again if its own times say that one came or went."""
        seen = time.time_ns()
        try:
            status = os.stat(folder)
        except OSError:
            return []
        times = status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        known = self._listings.get(folder)
        if known is None or known[0] != times:
            known = (_NEVER if is_racy(*times[:2], seen) else times), listing(folder)
            self._listings[folder] = known
        return known[1]

    def _digest_of(self, path: str) -> str:
        digest = self._digests.of(path)
        return digest.digest if digest else ""

    def _run(self, argv: Sequence[str]) -> Ran:
        """Ask an environment that is there; never for what could take long."""
        try:
            done = subprocess.run(
                argv,
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return Ran(127, str(error))
        return Ran(done.returncode, done.stdout.decode("utf-8", "replace"))


def _folder_of(software: Installed | Image) -> str:
    return software.folder if isinstance(software, Installed) else os.path.dirname(software.place)


@dataclass(frozen=True, slots=True)
class Told:
    """What a host said of an environment there: its folder, and what is installed."""

    folder: str
    resolved: Resolved

    @classmethod
    def read(cls, path: str) -> Self | None:
        """What was written down; None where that cannot be read."""
        try:
            with open(path, encoding="utf-8") as file:
                told = json.load(file)
            packages = tuple((str(name), str(version)) for name, version in told["packages"])
            return cls(str(told["folder"]), Resolved(str(told["interpreter"]), packages))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def text(self) -> str:
        """What `read` takes."""
        resolved = self.resolved
        return json.dumps(
            {"folder": self.folder, "interpreter": resolved.interpreter, "packages": resolved.packages}, indent=1
        )


class _Known(NamedTuple):
    """A mark that was read, by the digest of its file, with what is told of it again and again."""

    digest: str
    mark: Mark | None
    value: str = ""
    texts: Mapping[str, str] = {}

    @classmethod
    def of(cls, digest: str, mark: Mark | None) -> _Known:
        if mark is None:
            return cls(digest, None)
        return cls(digest, mark, mark.resolved.value, {mark.resolved.digest: mark.resolved.text})


def _facts(environment: Environment, wish: Mapping[str, str], found: Found) -> Facts:
    """What is known without the environment itself."""
    return Facts(
        values=wish,
        unknown=(f"environment {environment.name}",),
        missing=tuple(found.missing),
        variables=environment.variables,
        sources=found.sources,
        shown=found.shown,
        files=tuple(found.files),
        globs=found.globs,
        folders=tuple(found.folders),
        links=tuple(found.links),
        editable=tuple(found.editable),
    )


def _write(path: str, text: str) -> None:
    """A small file that appears whole."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)
