"""The layers, the cycles and the sizes that CONTRIBUTING.md promises, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCES = Path(__file__).parents[1] / "src" / "mlmake"
LAYERS = {
    **dict.fromkeys(("__init__", "errors", "home", "inside", "table"), 0),
    **dict.fromkeys(("registry", "model"), 1),
    **dict.fromkeys(("transports",), 2),
    **dict.fromkeys(("stores", "environments", "kinds", "executors", "trackers"), 3),
    **dict.fromkeys(("config", "state"), 4),
    "plan": 5,
    "engine": 6,
    **dict.fromkeys(("services", "dodo"), 7),
    **dict.fromkeys(("sdk", "rest", "web"), 8),
    **dict.fromkeys(("core", "data", "exceptions", "pipeline", "train"), 8),
    **dict.fromkeys(("cli", "__main__"), 9),
}
APART = {"stores", "kinds", "environments", "executors", "trackers"}
LAZY = {
    "errors.py": {"difflib"},
    "config/load.py": {"mlmake.config.triggers"},
    "engine/scope.py": {"mlmake.config.load"},
    "state/remotes.py": {"mlmake.stores.opening"},
    "engine/run.py": {
        "mlmake.engine.dodo",
        "mlmake.engine.jobs",
        "mlmake.engine.sharing",
        "mlmake.engine.staying",
        "mlmake.engine.tracking",
        "mlmake.state.upkeep",
    },
    "registry.py": {"importlib.metadata"},
    "services/importing/reading.py": {"ruamel.yaml", "ruamel.yaml.error"},
    "state/snapshot.py": {"glob"},
}
"""Imports inside functions beside those of the command line: what they load costs time that a no-op must not pay."""
HEAVY = {"doit", "mlflow", "rich", "fsspec", "paramiko", "docker", "watchdog"}
NOWHERE = {"utils", "helpers", "common", "manager", "misc"}


class Import(NamedTuple):
    file: str
    module: str
    line: int
    is_inside: bool


def modules() -> list[Path]:
    return sorted(SOURCES.rglob("*.py"))


def short(path: Path) -> str:
    return path.relative_to(SOURCES).as_posix()


def room(name: str) -> str:
    """`config/load.py` and `mlmake.config.load` -> `config`."""
    return name.removeprefix("mlmake.").replace("/", ".").removesuffix(".py").partition(".")[0]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    inside = {id(node) for function in functions(tree) for node in ast.walk(function)}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            is_package = (SOURCES.parent / node.module.replace(".", "/")).is_dir()
            names = [f"{node.module}.{alias.name}" for alias in node.names] if is_package else [node.module]
        yield from (Import(short(path), name, getattr(node, "lineno", 0), id(node) in inside) for name in names)


def all_imports() -> list[Import]:
    return [each for path in modules() for each in imports(path)]


def test_every_room_has_a_layer() -> None:
    assert {room(short(path)) for path in modules()} <= LAYERS.keys()


@pytest.mark.parametrize("path", modules(), ids=short)
def test_imports_point_down(path: Path) -> None:
    own = room(short(path))
    for each in imports(path):
        if not each.module.startswith("mlmake"):
            continue
        other = room(each.module) if each.module != "mlmake" else "__init__"
        other = other if other in LAYERS else "__init__"
        assert LAYERS[other] <= LAYERS[own], f"{each.file}:{each.line} imports {each.module}, which lies above it"
        if own in APART and other in APART:
            assert own == other, f"{each.file}:{each.line} imports {each.module} from the room beside it"


def test_no_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for each in all_imports():
        if each.module.startswith("mlmake.") and not each.is_inside:
            file = each.module.removeprefix("mlmake.").replace(".", "/")
            target = f"{file}/__init__.py" if (SOURCES / file).is_dir() else f"{file}.py"
            graph.setdefault(each.file, set()).add(target)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join((*path[path.index(name) :], name))}"
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_one_file_imports_doit() -> None:
    assert {each.file for each in all_imports() if room(each.module) == "doit"} == {"engine/dodo.py"}


def test_imports_inside_functions_are_the_agreed_ones() -> None:
    for each in all_imports():
        if each.is_inside and not each.file.startswith("cli/"):
            assert each.module in LAZY.get(each.file, set()), f"{each.file}:{each.line} imports {each.module} inside"


@pytest.mark.parametrize("path", modules(), ids=short)
def test_modules_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_functions_are_small() -> None:
    sizes = [
        (function.end_lineno or 0) - function.lineno + 1
        for path in modules()
        for function in functions(ast.parse(path.read_text()))
    ]
    large = [size for size in sizes if size > 50]
    assert len(large) <= 0.02 * len(sizes), f"{len(large)} of {len(sizes)} functions are longer than 50 lines"
    assert sorted(sizes)[len(sizes) // 2] <= 10, "the median function is longer than 10 lines"


@pytest.mark.parametrize("path", modules(), ids=short)
def test_style(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module says what it is"
    assert path.stem not in NOWHERE
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree)), "no global state"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            public = f"{short(path)}:{node.lineno} {node.name}"
            assert ast.get_docstring(node) or len(node.body) <= 4, f"{public} has no docstring"
        if isinstance(node, ast.ClassDef):
            assert len(node.bases) <= 2, f"{short(path)}: {node.name} inherits widely"
