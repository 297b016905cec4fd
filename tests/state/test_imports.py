"""The closure of a script, held against what Python really ran."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES
from pathlib import Path
from py_compile import compile as compile_file

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmake.state.imports import Closure
from mlmake.state.scan import scan

SCRIPT = "steps/run.py"

# Python starts it before the script; it notes each file that is executed or loaded, even one that fails.
SPY = """
import atexit, os, sys
seen = set()
def watch(event, args):
    if event == "exec":
        seen.add(args[0].co_filename)
    elif event == "import" and args[1]:
        seen.add(args[1])
def report(path=os.environ["SPY_REPORT"]):
    with open(path, "w") as file:
        file.write("\\n".join(name for name in seen if isinstance(name, str)))
sys.addaudithook(watch)
atexit.register(report)
"""


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Reader:
    """Reads and scans a project's files, and counts how often it was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: Counter[str] = Counter()

    def __call__(self, path: str) -> tuple[str, ...] | None:
        self.asked[path] += 1
        try:
            return scan((self.root / path).read_bytes())
        except OSError:
            return None


def closure(root: Path, script: str = SCRIPT) -> tuple[str, ...]:
    return Closure(str(root), Reader(root)).of(script)


def others(root: Path, script: str = SCRIPT) -> set[str]:
    first, *rest = closure(root, script)
    assert first == script
    assert rest == sorted(set(rest) - {script})
    return set(rest)


def ran(root: Path, script: str = SCRIPT) -> set[str]:
    """The project files besides the script that Python runs when it runs the script as a step."""
    with tempfile.TemporaryDirectory() as spy:
        write(Path(spy), {"sitecustomize.py": SPY})
        report = Path(spy, "report")
        path = os.pathsep.join([spy, f"{root}/src", f"{root}/steps", f"{root}"])
        environment = {"PYTHONPATH": path, "SPY_REPORT": str(report)}
        python = os.path.realpath(sys.executable)  # without the virtual environment, which starts slowly
        subprocess.run([python, "-B", script], cwd=root, env=environment, check=False, capture_output=True)
        files = {os.path.join(root, line) for line in report.read_text().splitlines()}
    inside = (os.path.relpath(file, root) for file in files if os.path.isfile(file))
    return {file for file in inside if not file.startswith("..")} - {script}


# --- one file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("", []),
        ("import a", ["a"]),
        ("import a.b.c", ["a.b.c"]),
        ("import b, a as x, a", ["a", "b"]),
        ("from a.b import c", ["a.b:c"]),
        ("from a import (b as x,\n  c)", ["a:b", "a:c"]),
        ("from a.b import *", ["a.b:*"]),
        ("from . import x", [".:x"]),
        ("from ..pkg.mod import y", ["..pkg.mod:y"]),
        ("from .... import z", ["....:z"]),
        ("x = 'import a'  # import b", []),
        ("importlib.import_module('a')", []),
    ],
)
def test_scan_names_what_is_imported(source: str, found: list[str]) -> None:
    assert list(scan(source.encode())) == found


@pytest.mark.parametrize(
    "place",
    [
        "def f():\n  import a",
        "async def f():\n  async with x:\n    import a",
        "class C:\n  def f(self):\n    import a",
        "try:\n  pass\nexcept E:\n  import a",
        "try:\n  import a\nfinally:\n  pass",
        "try:\n  pass\nexcept E:\n  pass\nelse:\n  import a",
        "try:\n  pass\nfinally:\n  import a",
        "try:\n  pass\nexcept* E:\n  import a",
        "if x:\n  pass\nelif y:\n  import a",
        "if TYPE_CHECKING:\n  import a",
        "if x: import a",
        "for x in y:\n  pass\nelse:\n  import a",
        "while x:\n  import a",
        "match x:\n  case 1:\n    import a",
        "x = 1; import a",
    ],
)
def test_scan_looks_everywhere(place: str) -> None:
    assert scan(place.encode()) == ("a",)


@pytest.mark.parametrize(
    ("source", "offered"),
    [
        ("__all__ = ['a', 'b']", ["*:a", "*:b"]),
        ("__all__: list[str] = ['a']", ["*:a"]),
        ("__all__ = ('a',)\nif x:\n  __all__ += ['b']", ["*:a", "*:b"]),
        ("__all__ = []", []),
        ("__all__ = ['a', name]", ["*:*"]),
        ("__all__ = [1]", ["*:*"]),
        ("__all__ = sorted(globals())", ["*:*"]),
        ("__all__ = ['a']\n__all__.append(name)", ["*:*", "*:a"]),
        ("__getattr__, __all__ = attach()", ["*:*"]),
        ("from a import __all__", ["*:*", "a:__all__"]),
    ],
)
def test_scan_tells_what_a_star_import_gets(source: str, offered: list[str]) -> None:
    assert list(scan(source.encode())) == offered


@pytest.mark.parametrize(
    "source",
    [
        b"def (",
        b"import a\0",
        b"\xff\xfe",
        b"# coding: no-such-code\nx",
        b"(" * 100_000,
        b"-" * 100_000 + b"1",
        b"x" + b".x" * 100_000,
        b"'''from here on it is\nimport ant'''(",
    ],
)
def test_scan_never_fails(source: bytes) -> None:
    assert scan(source) == ()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a\nsyntax of tomorrow\nfrom b import c", ["a", "b:c"]),
        ("from a import (  # the (old) ones\n  b,\n  c,\n)\nsyntax of tomorrow", ["a:b", "a:c"]),
        ("from .a \\\n  import b\nif x: import c; import d\nsyntax of tomorrow", [".a:b", "c", "d"]),
        ("__all__ = ['a']\nsyntax of tomorrow", ["*:*"]),
        ("import a\nx = " + "(" * 1000 + ")" * 1000, ["a"]),
    ],
)
def test_scan_finds_imports_amid_syntax_that_only_another_python_knows(source: str, found: list[str]) -> None:
    assert list(scan(source.encode())) == found


def test_scan_is_linear_in_a_broken_file() -> None:
    start = time.perf_counter()
    assert scan(b"import (\n" * 50_000) == ()
    assert time.perf_counter() - start < 5


def test_scan_follows_the_declared_encoding_and_line_ends() -> None:
    assert scan("# coding: latin-1\r\nx = 'é'\r\nimport a\r\n".encode("latin-1")) == ("a",)
    assert scan(b"\xef\xbb\xbfimport a") == ("a",)


def test_scan_minds_no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan(b"import a\nx = '''\nimport b\n\\d'''") == ("a",)


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_scan_takes_any_bytes(source: bytes) -> None:
    found = scan(source)
    assert list(found) == sorted(set(found))


# --- from file to file --------------------------------------------------------------------------------------

# What the script imports, and the other files of the project: Python runs them all but those marked "-".
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "nothing": ("", {"-steps/a.py": ""}),
    "a neighbour": ("import a", {"steps/a.py": "", "-steps/b.py": ""}),
    "one in src": ("import a", {"src/a.py": ""}),
    "one in the root": ("import a", {"a.py": ""}),
    "through others": ("import a", {"steps/a.py": "import b", "src/b.py": "import c", "c.py": ""}),
    "in a function that runs": ("def f():\n  import a\nf()", {"src/a.py": ""}),
    "the script's folder first": ("import a", {"steps/a.py": "", "-src/a.py": "", "-a.py": ""}),
    "then src": ("import a", {"src/a.py": "", "-a.py": ""}),
    "not of the project": ("import json, no.such.thing", {"-src/no.txt": "", "-src/such.py": ""}),
    "before the standard library": ("import colorsys", {"steps/colorsys.py": ""}),
    "no file stands for a built-in module": (
        "import sys, time, os.path",
        {"-steps/sys.py": "", "-src/os.py": ""},
    ),
    "a package": ("import a", {"src/a/__init__.py": "", "-src/a/b.py": "", "-src/a/__main__.py": ""}),
    "a package before a module": ("import a", {"src/a/__init__.py": "", "-src/a.py": ""}),
    "a module before a plain folder": ("import a.b", {"src/a.py": "", "-src/a/b.py": ""}),
    "a module is no package": ("import a.b", {"src/a.py": "", "-a/__init__.py": "", "-a/b.py": ""}),
    "every package on the way": (
        "import a.b.c",
        {"src/a/__init__.py": "", "src/a/b/__init__.py": "", "src/a/b/c.py": "", "-src/a/d.py": ""},
    ),
    "as far as it goes": (
        "import a.b.c",
        {"src/a/__init__.py": "", "src/a/b/__init__.py": "", "-src/c.py": ""},
    ),
    "a submodule by name": ("from a import b", {"src/a/__init__.py": "", "src/a/b.py": ""}),
    "a subpackage by name": ("from a import b", {"src/a/__init__.py": "", "src/a/b/__init__.py": ""}),
    "a plain name": ("from a import b", {"src/a/__init__.py": "b = 1", "-src/b.py": ""}),
    "a name of a module": ("from a import b", {"src/a.py": "b = 1", "-src/b.py": ""}),
    "not merged with the next package": (
        "import a.b",
        {"steps/a/__init__.py": "", "-src/a/__init__.py": "", "-src/a/b.py": ""},
    ),
    "a namespace package": ("import a.b", {"src/a/b.py": "", "-src/a/c.py": ""}),
    "a namespace in many places": ("import a.b, a.c", {"src/a/b.py": "", "a/c.py": "", "-a/b.py": ""}),
    "a namespace in a namespace": ("from a.b import c, d", {"src/a/b/c.py": "", "steps/a/b/d.py": ""}),
    "a regular package after a namespace": (
        "import a.b",
        {"-src/a/c.py": "", "a/__init__.py": "", "a/b.py": ""},
    ),
    "a module after a namespace": ("import a", {"-src/a/c.py": "", "a.py": ""}),
    "the steps as a namespace": ("from steps.a import b", {"steps/a.py": "b = 1"}),
    "itself by name": ("import run", {}),
    "one file under two names": ("import a, steps.a", {"steps/a.py": "import b", "src/b.py": ""}),
    "relative to the module's package": (
        "import a.b",
        {
            "src/a/__init__.py": "",
            "src/a/b.py": "from . import c\nfrom .d import e",
            "src/a/c.py": "",
            "src/a/d.py": "",
        },
    ),
    "relative to the package itself": (
        "import a.b",
        {
            "src/a/__init__.py": "",
            "src/a/b/__init__.py": "from .c import d",
            "src/a/b/c.py": "d = 1",
            "-src/a/c.py": "",
        },
    ),
    "relative to the package above": (
        "import a.b.c",
        {
            "src/a/__init__.py": "",
            "src/a/b/c.py": "from ..d import e",
            "src/a/d.py": "e = 1",
            "-src/d.py": "",
        },
    ),
    "relative within a namespace": ("import a.b", {"src/a/b.py": "from . import c", "a/c.py": ""}),
    "no relative import in the script": ("from . import a", {"-steps/a.py": "", "-steps/__init__.py": ""}),
    "no relative import in a top-level module": (
        "import a",
        {"src/a.py": "from . import b", "-src/b.py": ""},
    ),
    "no relative import beyond the top": (
        "import a.b",
        {"src/a/__init__.py": "", "src/a/b.py": "from .. import c\nfrom ..c import d", "-src/c.py": ""},
    ),
    "a module's star": ("from a import *", {"src/a.py": "__all__ = ['b']", "-src/b.py": ""}),
    "a package's star": ("from a import *", {"src/a/__init__.py": "", "-src/a/b.py": ""}),
    "a package's star and its __all__": (
        "from a import *",
        {"src/a/__init__.py": "__all__ = ['b', 'd']\nd = 1", "src/a/b.py": "", "-src/a/c.py": ""},
    ),
    "a computed __all__": (
        "from a import *",
        {
            "src/a/__init__.py": "__all__ = ['b'] + ['c']",
            "src/a/b.py": "",
            "src/a/c/__init__.py": "",
            "-src/a/__main__.py": "",
        },
    ),
    "a namespace's star": ("from a import *", {"-src/a/b.py": ""}),
    "a star of what is not there": (
        "try:\n  from b import *\nexcept ImportError:\n  from a.b import *",
        {"-src/a/c.py": "", "-src/c.py": ""},
    ),
    "a star's own star": (
        "from a import *",
        {
            "src/a/__init__.py": "from .b import *",
            "src/a/b/__init__.py": "__all__ = ['c']",
            "src/a/b/c.py": "",
        },
    ),
    "a cycle": ("import a", {"src/a.py": "import b", "src/b.py": "import a, run"}),
    "a cycle in a package": (
        "import a",
        {"src/a/__init__.py": "from a import b", "src/a/b.py": "from . import c", "src/a/c.py": "import a.b"},
    ),
    "an odd import": ("import a.__init__", {"src/a/__init__.py": ""}),
    "not ASCII": ("import größe", {"src/größe.py": ""}),
    "a package of its own name": ("import a.a", {"src/a/__init__.py": "", "src/a/a.py": "", "-a/a.py": ""}),
    "a broken module": (
        "import a",
        {"src/a.py": "import b\nthis is not Python", "-src/c.py": "", "src/b.py": ""},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_closure_is_what_python_runs(tmp_path: Path, case: str) -> None:
    script, files = CASES[case]
    write(tmp_path, {SCRIPT: script, **{name.lstrip("-"): text for name, text in files.items()}})
    expected = {name for name in files if not name.startswith("-")}
    assert others(tmp_path) == expected
    if case != "a broken module":  # Python stops before its imports
        assert ran(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({SCRIPT: "if False:\n  import a", "src/a.py": ""}, {"src/a.py"}),
        (
            {SCRIPT: "from a import b", "src/a/__init__.py": "b = 1", "src/a/b.py": ""},
            {"src/a/__init__.py", "src/a/b.py"},
        ),
        ({SCRIPT: "import math", "steps/math.py": ""}, {"steps/math.py"}),
    ],
    ids=["code that does not run", "a submodule behind a name", "a module built into some Pythons"],
)
def test_closure_counts_what_may_run(tmp_path: Path, files: dict[str, str], expected: set[str]) -> None:
    write(tmp_path, files)
    assert others(tmp_path) == expected
    assert ran(tmp_path) <= expected


def test_a_missing_script_is_its_own_closure(tmp_path: Path) -> None:
    assert closure(tmp_path / "nowhere") == (SCRIPT,)


def test_a_script_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "import a", "a.py": "", "deep/down/run": "import a, b", "deep/down/b.py": ""})
    assert closure(tmp_path, "train.py") == ("train.py", "a.py")
    assert closure(tmp_path, "deep/down/run") == ("deep/down/run", "a.py", "deep/down/b.py")
    assert ran(tmp_path, "deep/down/run") == {"a.py", "deep/down/b.py"}


def test_a_script_outside_sees_only_the_shared_folders(tmp_path: Path) -> None:
    write(tmp_path, {"run.py": "import a, b", "a.py": "", "project/src/b.py": ""})
    assert closure(tmp_path / "project", "../run.py") == ("../run.py", "src/b.py")


def test_shared_folders_can_be_chosen(tmp_path: Path) -> None:
    write(tmp_path, {SCRIPT: "import a, b", "lib/a.py": "", "b.py": ""})
    reader = Reader(tmp_path)
    assert Closure(str(tmp_path), reader, shared=("./lib/",)).of(SCRIPT) == (SCRIPT, "lib/a.py")
    assert Closure(str(tmp_path), reader, shared=(".",)).of(SCRIPT) == (SCRIPT, "b.py")


@pytest.mark.parametrize("order", [1, -1])
def test_each_script_sees_its_own_folder_first(tmp_path: Path, order: int) -> None:
    write(
        tmp_path,
        {
            **dict.fromkeys(["one/run.py", "two/run.py", "six/run.py"], "import a"),
            "src/a.py": "import b",
            "one/a.py": "import c",
            "two/b.py": "import c",
            **dict.fromkeys(["b.py", "c.py"], ""),
        },
    )
    expected = {
        "one/run.py": ("one/run.py", "c.py", "one/a.py"),
        "two/run.py": ("two/run.py", "c.py", "src/a.py", "two/b.py"),
        "six/run.py": ("six/run.py", "b.py", "src/a.py"),
    }
    project = Closure(str(tmp_path), Reader(tmp_path))
    assert {script: project.of(script) for script in [*expected][::order]} == expected


def test_python_starts_with_sitecustomize(tmp_path: Path) -> None:
    write(tmp_path, {SCRIPT: "", "src/sitecustomize.py": "import a", "src/a.py": "", "sitecustomize.py": ""})
    assert others(tmp_path) == {"src/sitecustomize.py", "src/a.py"}


# --- what is not a source -----------------------------------------------------------------------------------


def test_an_extension_goes_first(tmp_path: Path) -> None:
    extension = importlib.util.find_spec("_lsprof")
    if not (extension and extension.origin and extension.origin.endswith(".so")):
        pytest.skip("this Python has no extension modules as files")
    write(tmp_path, {SCRIPT: "import _lsprof", "src/_lsprof.py": ""})
    name = f"steps/_lsprof{EXTENSION_SUFFIXES[0]}"
    (tmp_path / name).write_bytes(Path(extension.origin).read_bytes())
    assert others(tmp_path) == ran(tmp_path) == {name}


@pytest.mark.parametrize("suffix", [".so", ".abi3.so", ".cpython-399-x86_64-linux-gnu.so", *EXTENSION_SUFFIXES])
def test_an_extension_is_counted_with_the_source_beside_it(tmp_path: Path, suffix: str) -> None:
    write(
        tmp_path,
        {SCRIPT: "import a", f"src/a{suffix}": "", "src/a.py": "import b", "src/b.py": "", "a.py": ""},
    )
    assert others(tmp_path) == {f"src/a{suffix}", "src/a.py", "src/b.py"}


def test_a_package_may_be_an_extension(tmp_path: Path) -> None:
    write(tmp_path, {SCRIPT: "from a import *", "src/a/__init__.so": "", "src/a/b.py": "", "src/a/c/d.py": ""})
    assert others(tmp_path) == {"src/a/__init__.so", "src/a/b.py"}


def test_bytecode_counts_where_there_is_no_source(tmp_path: Path) -> None:
    pyc = BYTECODE_SUFFIXES[0]
    write(tmp_path, {SCRIPT: "import a, b", "src/a.py": "", "b.py": ""})
    for target in (f"src/a{pyc}", f"src/b{pyc}"):
        compile_file(str(tmp_path / "src/a.py"), cfile=str(tmp_path / target))
    assert others(tmp_path) == {"src/a.py", f"src/b{pyc}"}


def test_other_files_are_no_modules(tmp_path: Path) -> None:
    write(
        tmp_path,
        {SCRIPT: "import a, b", "src/a.test.py": "", "src/a.pyi": "", "src/b.py/c.py": "", "src/.a.py": ""},
    )
    assert others(tmp_path) == ran(tmp_path) == set()


# --- links --------------------------------------------------------------------------------------------------


def test_a_link_is_a_file_where_it_stands(tmp_path: Path) -> None:
    write(tmp_path, {"elsewhere/a.py": "import b", "elsewhere/c/d.py": "", "elsewhere/b.py": ""})
    root = tmp_path / "project"
    write(root, {SCRIPT: "import a, c.d", "src/b.py": ""})
    (root / "src/a.py").symlink_to("../../elsewhere/a.py")
    (root / "src/c").symlink_to("../../elsewhere/c")
    assert others(root) == ran(root) == {"src/a.py", "src/b.py", "src/c/d.py"}


def test_a_linked_script_has_the_neighbours_of_its_target_and_its_own(tmp_path: Path) -> None:
    write(tmp_path, {"lib/run.py": "import a, b", "lib/a.py": "", "steps/a.py": "", "src/b.py": ""})
    (tmp_path / SCRIPT).symlink_to("../lib/run.py")
    assert ran(tmp_path) == {"lib/a.py", "src/b.py"}
    assert others(tmp_path) == {"lib/a.py", "steps/a.py", "src/b.py"}


def test_a_script_in_a_linked_folder(tmp_path: Path) -> None:
    write(tmp_path, {"lib/run.py": "import a", "lib/a.py": ""})
    (tmp_path / "jobs").symlink_to("lib")
    assert ran(tmp_path, "jobs/run.py") == {"lib/a.py"}
    assert others(tmp_path, "jobs/run.py") == {"lib/a.py", "jobs/a.py"}


def test_a_script_linked_from_outside(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(tmp_path, {"lib/run.py": "import a", "lib/b.py": ""})
    write(root, {"jobs/a.py": "", "src/a.py": ""})
    (root / "jobs/run.py").symlink_to("../../lib/run.py")
    assert ran(root, "jobs/run.py") == {"src/a.py"}
    assert others(root, "jobs/run.py") == {"src/a.py", "jobs/a.py"}


def test_a_linked_root(tmp_path: Path) -> None:
    write(tmp_path / "real", {SCRIPT: "import a", "steps/a.py": ""})
    (tmp_path / "link").symlink_to("real")
    assert others(tmp_path / "link") == {"steps/a.py"}


def test_a_root_that_is_its_own_package(tmp_path: Path) -> None:
    write(
        tmp_path,
        {SCRIPT: "import me.a", "a.py": "from . import b", "b.py": "from me.me import c", "c.py": ""},
    )
    (tmp_path / "me").symlink_to(".")
    assert others(tmp_path) == {"me/a.py", "me/b.py", "me/c.py"}


def test_links_in_circles_end(tmp_path: Path) -> None:
    init = "from .x import k\nfrom .y import k\nfrom .z import k\nfrom . import *\nimport a.x.y.x.b\n__all__ = n"
    write(
        tmp_path,
        {SCRIPT: "import a", "src/a/__init__.py": init, "src/a/b.py": "from .x import c", "src/a/c.py": ""},
    )
    for name, target in {"x": ".", "y": ".", "z": "../a", "broken": "nowhere", "self": "self"}.items():
        (tmp_path / "src/a" / name).symlink_to(target)
    (tmp_path / "src/self.py").symlink_to("self.py")
    assert others(tmp_path) == {"src/a/__init__.py", "src/a/b.py", "src/a/c.py"}


def test_packages_linked_to_each_other_end(tmp_path: Path) -> None:
    names = "abc"
    text = "\n".join(f"from .to_{other} import x" for other in names)
    write(tmp_path, {SCRIPT: "import a", **{f"src/{name}/__init__.py": text for name in names}})
    for name in names:
        for other in names:
            (tmp_path / f"src/{name}/to_{other}").symlink_to(f"../{other}")
    real = {os.path.realpath(tmp_path / file) for file in others(tmp_path)}
    assert real == {f"{tmp_path}/src/{name}/__init__.py" for name in names}


def test_a_folder_that_cannot_be_listed_is_empty(tmp_path: Path) -> None:
    write(tmp_path, {SCRIPT: "import a.b, c", "src/a/b.py": "", "c.py": ""})
    (tmp_path / "src/a").chmod(0o000)
    try:
        assert "c.py" in others(tmp_path)
    finally:
        (tmp_path / "src/a").chmod(0o755)


# --- cost ---------------------------------------------------------------------------------------------------


def test_a_long_chain(tmp_path: Path) -> None:
    length = 5000
    names = {f"src/m{n}.py": (f"m{n + 1}",) for n in range(length)}
    write(tmp_path, {SCRIPT: "", **dict.fromkeys(names, "")})
    assert len(Closure(str(tmp_path), {**names, SCRIPT: ("m0",)}.get).of(SCRIPT)) == length + 1


def test_a_deep_package(tmp_path: Path) -> None:
    name = ".".join(["a"] * 600)
    write(tmp_path, {SCRIPT: f"import {name}", f"src/{name.replace('.', '/')}/__init__.py": "from . import b"})
    assert len(others(tmp_path)) == 1


def test_scripts_share_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = [f"steps/run{n}.py" for n in range(100)]
    modules = {f"src/m{n}.py": f"import m{n + 1}, numpy" for n in range(50)}
    write(tmp_path, {**dict.fromkeys(scripts, "import m0"), **modules})
    listed = Counter[str]()
    monkeypatch.setattr(os, "scandir", lambda path, real=os.scandir: (listed.update([path]), real(path))[1])
    reader = Reader(tmp_path)
    project = Closure(str(tmp_path), reader)
    for _ in range(10):
        assert all(len(project.of(script)) == 51 for script in scripts)
    assert max(reader.asked.values()) <= 2
    assert len(listed) == 3
    assert set(listed.values()) == {2}, "once for the names that a snapshot keeps, once to look"


# --- any project --------------------------------------------------------------------------------------------

NAMES = st.sampled_from("abc")
DOTTED = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
RELATIVE = st.builds(lambda dots, name: "." * dots + name, st.integers(1, 3), st.one_of(st.just(""), DOTTED))
FROM = st.builds("from {} import {} as _".format, st.one_of(DOTTED, RELATIVE), NAMES)
IMPORT = st.one_of(FROM, DOTTED.map("import {} as _".format))
STAR = st.one_of(DOTTED, RELATIVE).map("from {} import *".format)
FILES = st.builds(
    lambda root, name, end: f"{root}{name.replace('.', '/')}{end}",
    st.sampled_from(["steps/", "src/", ""]),
    DOTTED,
    st.sampled_from([".py", "/__init__.py"]),
)


def project_files(
    statements: st.SearchStrategy[str], ends: st.SearchStrategy[str]
) -> st.SearchStrategy[dict[str, str]]:
    safe = statements.map("try:\n  {}\nexcept Exception: pass\n".format)
    text = st.builds(lambda lines, end: "".join([*lines, end]), st.lists(safe, max_size=4), ends)
    script = st.lists(safe, min_size=1, max_size=6).map("".join)
    return st.builds(
        lambda script, files: {**files, SCRIPT: script},
        script,
        st.dictionaries(FILES, text, min_size=5, max_size=25),
    )


@settings(max_examples=20, deadline=None)
@given(project_files(IMPORT, st.just("")))
def test_any_closure_is_what_python_runs(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        write(root, files)
        assert others(root) == ran(root)


# A star import brings names along that hide submodules, so there only one direction can hold.
@settings(max_examples=20, deadline=None)
@given(
    project_files(
        st.one_of(IMPORT, STAR),
        st.sampled_from(["", "__all__ = ['a', 'b']", "a = b = 1", "__all__ = [*'abc']", "__all__ = ['c']; c = 1"]),
    )
)
def test_python_runs_nothing_outside_of_any_closure(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        write(root, files)
        assert ran(root) <= others(root)
