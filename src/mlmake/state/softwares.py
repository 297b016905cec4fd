"""The software of each step: by where it runs and in which environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mlmake.environments.base import Facts, Installed, Ran, Recipe, Software, Tools, key_of
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

    Steps are told apart by compute target and environment. Today every step runs on this machine, where an
    environment is the same for all.
    """

    def __init__(self, project: Project, digests: Digests) -> None:
        self._root = project.root
        self._home = Home(project.root)
        self._environments = project.environments
        self._hosts = {name for name, compute in project.computes.items() if compute.kind == "ssh"}
        self._digests = digests
        self._ingredients = Ingredients(project.root, digests)
        self._system = System()
        self._found: dict[tuple[str, str], Software] = {}
        self._marks: dict[str, _Known] = {}
        self._listings: dict[str, tuple[tuple[int, int, int], list[str]]] = {}

    def folders(self) -> set[str]:
        """Where the environments of pipelines.toml are, or would be, and what is known of images."""
        found = [self._look(environment) for environment in self._environments.values()]
        return {_folder_of(each) for each in found}

    def look_again(self) -> None:
        """Forget what was seen, as time has passed."""
        self._found.clear()

    def of(self, spec: StepSpec) -> Software:
        """The software that a step runs in, as it is now."""
        is_system = spec.environment not in self._environments
        if spec.delivers or (is_system and spec.compute not in self._hosts):
            return self._system
        key = spec.compute, spec.environment
        found = self._found.get(key)
        if found is None:
            looked = self._hosted(spec.compute) if is_system else self._look(self._environments[spec.environment])
            found = self._found[key] = looked
        return found

    def note_host(self, name: str, told: str) -> None:
        """Remember what a host says of its own software. Raises OSError."""
        place = self._home.target(name)
        if name in self._hosts and self._hosted(name).told != told:
            _write(place, told)
            self.look_again()

    def _hosted(self, name: str) -> Hosted:
        place = self._home.target(name)
        if not self._digest_of(place):
            return Hosted(told="", place=place)
        with open(place, encoding="utf-8") as file:
            return Hosted(told=file.read(), place=place)

    def _look(self, environment: Environment) -> Installed | Image:
        found = self._ingredients.of(environment)
        if environment.base not in ENVIRONMENTS.table:
            return self._image(environment, found)
        recipe: Recipe = ENVIRONMENTS.load(environment.base).of(environment, found.contents)
        folder = os.path.join(self._home.environments, recipe.key)
        facts = _facts(environment, recipe.wish, found)
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

    def note_image(self, spec: StepSpec, fact: str) -> None:
        """Remember what an engine said of a step's image. Raises OSError."""
        software = self.of(spec)
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
    )


def _write(path: str, text: str) -> None:
    """A small file that appears whole."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)
