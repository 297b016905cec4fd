"""Which project files a Python script runs, found without running it.

`scan.scan` reads the imports of one file, `Closure` follows them from file to file as Python itself would. Where
it cannot be known what Python will do, a file is counted rather than left out: a rerun too many costs time,
one too few costs trust.

Not seen, because only running the code could tell: folders that a script adds to `sys.path`, module names
handed to `importlib.import_module`, submodules loaded by a package's `__getattr__`, and project files that
stand in for a standard module which only an installed package imports.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mlmake.state.snapshot import listing

NamesIn = Callable[[str], tuple[str, ...] | None]

# Built into or started with every CPython, so no file can take their place. Not sys.builtin_module_names:
# builds differ (math is in Debian's, not in Docker's), and a step may run on another Python than ours.
_NEVER_FILES = (
    *("__main__", "abc", "atexit", "builtins", "codecs", "errno", "faulthandler", "gc", "genericpath", "io"),
    *("itertools", "marshal", "os", "posix", "posixpath", "pwd", "site", "stat", "sys", "time", "zipimport"),
)
# Python imports these by itself when it starts, if the path has them.
_STARTUP = ("sitecustomize", "usercustomize")

_MODULE = re.compile(r"([^.]+)(?:\.pyc?|(?:\.[^.]+)?\.(?:so|pyd))")


class Closure:
    """The project files that a script runs: itself and all that it imports, directly or through others.

    `names_in` gives the `scan` of a file by its path in the project, None for a file that cannot be read; it
    may be asked often, so it remembers. `shared` are the folders on Python's path after the script's own.

    One instance is one look at the project: each folder is read once, and later changes are not seen. It is
    not meant to be used from several threads at once.
    """

    def __init__(self, root: str, names_in: NamesIn, shared: Sequence[str] = ("src", "steps", "")) -> None:
        self._tree = _Tree(root)
        self._names_in = names_in
        self._shared = _SearchPath(tuple(map(_clean, shared)), self._tree, names_in)
        self._paths: dict[str | None, _SearchPath] = {None: self._shared}
        self._known: dict[str, tuple[str, ...]] = {}

    @property
    def listings(self) -> Mapping[str, list[str]]:
        """The folders whose names have decided so far, by absolute path, with what `snapshot.listing` said of them."""
        return self._tree.listings

    def of(self, script: str) -> tuple[str, ...]:
        """The script, then the rest sorted; paths are relative to the project's root, with '/'."""
        if script not in self._known:
            self._known[script] = (script, *sorted(self._followed(script) - {script}))
        return self._known[script]

    def _followed(self, script: str) -> frozenset[str]:
        names = self._names_in(script) or ()
        paths = map(self._path, self._tree.folders_of(_clean(script)))
        return self._shared.files(_STARTUP).union(*(path.files(names) for path in paths))

    def _path(self, folder: str | None) -> _SearchPath:
        if folder is not None and folder not in self._paths:
            self._paths[folder] = self._shared.behind(folder)
        return self._paths[folder]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """A module as one search path finds it."""

    name: str
    files: tuple[str, ...] = ()  # none: a namespace package
    folders: tuple[str, ...] = ()  # where its submodules are; none: not a package

    @property
    def package(self) -> str:
        return self.name if self.folders else self.name.rpartition(".")[0]

    @property
    def source(self) -> str | None:
        return next((file for file in self.files if file.endswith(".py")), None)


class _SearchPath:
    """Modules by name, for all scripts that look for them in the same folders."""

    def __init__(
        self, roots: tuple[str, ...], tree: _Tree, names_in: NamesIn, shared: _SearchPath | None = None
    ) -> None:
        self._roots = roots
        self._tree = tree
        self._names_in = names_in
        self._shared = shared
        self._found: dict[str, _Module | None] = dict.fromkeys(_NEVER_FILES)
        self._imports: dict[str, list[_Module]] = {}
        self._heads: dict[str, frozenset[str]] = {}
        self._files: dict[tuple[str, ...], frozenset[str]] = {}

    def behind(self, folder: str) -> _SearchPath:
        """This search path with a folder before it, sharing what that folder does not change."""
        roots = tuple(dict.fromkeys((folder, *self._roots)))
        return _SearchPath(roots, self._tree, self._names_in, shared=self)

    def files(self, names: tuple[str, ...]) -> frozenset[str]:
        """The files that a script with these imports runs besides itself."""
        if names not in self._files:
            # A script is no part of a package, wherever it stands.
            modules = self._reached(self._resolved(names, package=""))
            self._files[names] = frozenset(file for module in modules for file in module.files)
        return self._files[names]

    def _reached(self, waiting: list[_Module]) -> Iterable[_Module]:
        seen: dict[str, _Module] = {}
        while waiting:
            module = waiting.pop()
            if module.name not in seen:
                seen[module.name] = module
                waiting.extend(self._imported_by(module))
        return seen.values()

    def _imported_by(self, module: _Module) -> list[_Module]:
        if module.name not in self._imports and (shared := self._sharing(module)):
            self._imports[module.name] = shared._imported_by(module)
        if module.name not in self._imports:
            self._imports[module.name] = self._resolved(self._names_of(module), module.package)
        return self._imports[module.name]

    def _sharing(self, module: _Module) -> _SearchPath | None:
        """The shared path, where the folder before it holds neither the module nor any that it imports."""
        if self._shared is None:
            return None
        near = self._tree.folder(self._roots[0]).modules
        unchanged = _head(module.name) not in near and self._shared._heads_of(module).isdisjoint(near)
        return self._shared if unchanged else None

    def _heads_of(self, module: _Module) -> frozenset[str]:
        if module.name not in self._heads:
            bases = (_absolute(text.partition(":")[0], module.package) for text in self._names_of(module))
            self._heads[module.name] = frozenset(map(_head, bases))
        return self._heads[module.name]

    def _names_of(self, module: _Module) -> tuple[str, ...]:
        return (self._names_in(module.source) or ()) if module.source else ()

    def _resolved(self, names: tuple[str, ...], package: str) -> list[_Module]:
        modules = {module.name: module for name in names for module in self._targets(name, package)}
        return list(modules.values())

    def _targets(self, text: str, package: str) -> list[_Module]:
        base, _, name = text.partition(":")
        absolute = _absolute(base, package)
        if not absolute or base == "*":
            return []
        if name == "*":
            return self._starred(absolute)
        # Where c is no submodule, the chain of a.b.c is that of a.b: just what `from a.b import c` runs.
        return self._chain(f"{absolute}.{name}" if name else absolute)

    def _starred(self, name: str) -> list[_Module]:
        chain = self._chain(name)
        if not chain:
            return []
        members = (self._chain(f"{name}.{part}") for part in self._offers(chain[-1]))
        return [*chain, *(module for member in members for module in member)]

    def _offers(self, package: _Module) -> Iterable[str]:
        """The submodules that a star import of a package imports: those its __all__ names."""
        if not (package.folders and package.files):
            return ()
        names = self._names_of(package) if package.source else ("*:*",)
        if "*:*" in names:
            return sorted(self._tree.modules_in(package.folders))
        return [name[2:] for name in names if name.startswith("*:")]

    def _chain(self, name: str) -> list[_Module]:
        """What `import a.b.c` runs, a and a.b first, as far as the project holds it."""
        chain: list[_Module] = []
        for part in name.split("."):
            if (module := self._member(chain, part)) is None:
                break
            chain.append(module)
        return chain

    def _member(self, chain: list[_Module], part: str) -> _Module | None:
        name, folders = (f"{chain[-1].name}.{part}", chain[-1].folders) if chain else (part, self._roots)
        if name not in self._found:
            module = self._find(name, part, folders)
            self._found[name] = self._unlooped(module, chain) if module else None
        return self._found[name]

    def _find(self, name: str, part: str, folders: tuple[str, ...]) -> _Module | None:
        """As Python: the first folder with a package or module wins, else plain folders are a namespace."""
        portions = []
        for folder in folders:
            here = self._tree.folder(folder)
            if part in here.folders:
                inner = posixpath.join(folder, part)
                if files := self._tree.folder(inner).files("__init__"):
                    return _Module(name=name, files=_within(inner, files), folders=(inner,))
                portions.append(inner)
            if files := here.files(part):
                return _Module(name=name, files=_within(folder, files))
        return _Module(name=name, folders=tuple(portions)) if portions else None

    def _unlooped(self, module: _Module, chain: list[_Module]) -> _Module:
        # A link back to a package around it would let names grow for ever: a.loop.loop is a.
        if not any(map(self._tree.is_link, module.folders)):
            return module
        real = self._tree.real_folders(module.folders)
        return next((outer for outer in chain if self._tree.real_folders(outer.folders) == real), module)


class _Folder:
    """What one folder offers to an import."""

    def __init__(self, path: str) -> None:
        self.folders: set[str] = set()
        self.links: set[str] = set()
        self.modules: set[str] = set()
        self._files: dict[str, list[str]] = defaultdict(list)
        # To Python, a folder that cannot be listed is empty.
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                with suppress(OSError):  # a link to itself
                    self._add(entry)

    def files(self, module: str) -> list[str]:
        """The files that may be this module, more than one where it depends on the Python that looks."""
        # An extension goes before the source beside it, but only for the Python it was built for; and what a
        # compiled module imports stands in its source. Bytecode counts only where there is nothing else.
        found = self._files.get(module, [])
        return [file for file in found if not file.endswith(".pyc")] or found

    def _add(self, entry: os.DirEntry[str]) -> None:
        module = _MODULE.fullmatch(entry.name)
        if "." not in entry.name and entry.is_dir():
            self.folders.add(entry.name)
            self.modules.add(entry.name)
            if entry.is_symlink():
                self.links.add(entry.name)
        elif module and entry.is_file():
            self._files[module[1]].append(entry.name)
            self.modules.add(module[1])


class _Tree:
    """The folders of the project, each read once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folders: dict[str, _Folder] = {}
        self.listings: dict[str, list[str]] = {}
        self._reals: dict[str, str] = {}

    def folder(self, path: str) -> _Folder:
        if path not in self._folders:
            absolute = self._absolute(path)
            self.listings[absolute] = listing(absolute)  # first: a name that comes in between is noticed next time
            self._folders[path] = _Folder(absolute)
        return self._folders[path]

    def modules_in(self, folders: Iterable[str]) -> set[str]:
        return set().union(*(self.folder(folder).modules for folder in folders)) - {"__init__", "__main__"}

    def is_link(self, folder: str) -> bool:
        parent, name = posixpath.split(folder)
        return name in self.folder(parent).links

    def real_folders(self, folders: Iterable[str]) -> set[str]:
        return {self._real(folder) for folder in folders}

    def folders_of(self, script: str) -> set[str | None]:
        """The script's own folder, and the one that links lead to; None for one outside of the project.

        Python looks for a script's neighbours beside the file that links lead to, but a copy of the script on
        another machine is a plain file.
        """
        folder, name = posixpath.split(script)
        file = self._absolute(script)
        real = os.path.realpath(file) if os.path.islink(file) else os.path.join(self._real(folder), name)
        plain = os.path.normpath(self._absolute(folder))
        return {_below(os.path.normpath(self._root), plain), _below(self._real(""), os.path.dirname(real))}

    def _absolute(self, path: str) -> str:
        return os.path.join(self._root, path)

    def _real(self, folder: str) -> str:
        if folder not in self._reals:
            self._reals[folder] = os.path.realpath(self._absolute(folder))
        return self._reals[folder]


def _absolute(base: str, package: str) -> str:
    """A module's full name; '' where a relative import leads out of the package, or there is none."""
    name = base.lstrip(".")
    dots = len(base) - len(name)
    if not dots:
        return base
    parents = package.split(".") if package else []
    if dots > len(parents):
        return ""
    return ".".join([*parents[: len(parents) - dots + 1], *([name] if name else [])])


def _head(name: str) -> str:
    return name.partition(".")[0]


def _within(folder: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(posixpath.join(folder, name) for name in names)


def _below(root: str, folder: str) -> str | None:
    if folder == root:
        return ""
    start = root.rstrip("/") + "/"
    return folder.removeprefix(start) if folder.startswith(start) else None


def _clean(path: str) -> str:
    path = posixpath.normpath(path)
    return "" if path == "." else path
