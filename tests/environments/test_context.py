"""What counts of a Dockerfile's folder, and that it is what Docker itself takes."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from engines import Engine, base_image
from mlmake.environments.context import Context, Entry, Ignored, Sort
from mlmake.state.hashing import hash_file

FILES = (
    *("Dockerfile", "README.md", "a.py", "b.txt", "[x].py", "x.py", "-.py", ".env", "größe.md"),
    *("data/big.csv", "data/keep.csv", "data/deep/er/big.csv", "data/deep/er/keep.csv"),
    *("src/a.py", "src/a.pyc", "src/pkg/b.py", "src/pkg/__pycache__/b.pyc", "docs/a b.md", "docs/data/x.csv"),
)
IGNORES = {
    "nothing": "",
    "comments": "# a.py\n\n  \n  b.txt  \n",
    "a folder": "data\n",
    "slashes": "/data/\n./src/../docs\n",
    "any depth": "**/*.pyc\n**/__pycache__\n",
    "one level": "*/*.csv\n",
    "below": "data/**\n",
    "all but": "*\n!src\n!Dockerfile\nsrc/pkg\n",
    "exceptions": "data\n!data/keep.csv\n!data/deep/er/keep.csv\n",
    "the last wins": "*.md\n!README.md\nREADME*\n",
    "one letter": "?.py\n",
    "sets": "[a-c].*\n[^a-z].py\n",
    "quoted": "\\[x].py\n",
    "in the middle": "src/**/b.py*\ndocs/a b.md\n",
    "itself": "Dockerfile\n.dockerignore\n",
}


def digest(folder: Path) -> str:
    return Context.look(str(folder / "Dockerfile")).digest(lambda path: hash_file(path)[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}\n")
    return folder


def names(folder: Path) -> list[str]:
    """Files and links, without what any context has."""
    entries = Context.look(str(folder / "Dockerfile")).entries
    kept = [entry.path for entry in entries if entry.sort is not Sort.FOLDER]
    return sorted(set(kept) - {"Dockerfile", ".dockerignore"})


@pytest.mark.parametrize("ignore", IGNORES)
def test_docker_takes_the_same(engine: Engine, folder: Path, ignore: str) -> None:
    (folder / ".dockerignore").write_text(IGNORES[ignore])
    (folder / "Dockerfile").write_text(f"FROM {base_image(engine)}\nCOPY . /context\n")
    tag = f"mlmake-tests/{uuid.uuid4().hex[:12]}"
    engine.docker("build", "--tag", tag, str(folder))
    try:
        listed = engine.docker("run", "--rm", "--network", "none", tag, "find", "/context", "!", "-type", "d").stdout
    finally:
        engine.docker("rmi", tag)
    taken = {line.removeprefix("/context/") for line in listed.splitlines()}
    assert names(folder) == sorted(taken - {"Dockerfile", ".dockerignore"})


@pytest.mark.parametrize(
    ("text", "path", "is_ignored"),
    [
        ("a\\", "a\\", True),
        ("[b-a]", "b", False),
        ("[", "[", True),
        ("a[^]", "a^", True),
        ("[\\w]", "w", True),
        ("[\\w]", "x", False),
        ("a.c", "abc", False),
        ("a+(b)|{c}$", "a+(b)|{c}$", True),
        ("**", "a/b", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "ab", False),
        ("a*b", "a/b", False),
        ("a", "a/b/c", True),
        ("a/b", "a", False),
        ("!a", "a", False),
        ("a\n!a/b\na/b/c", "a/b/c", True),
        ("a\n!**/c", "a/b/c", False),  # as BuildKit does; the older builder forgets it
    ],
)
def test_patterns(text: str, path: str, is_ignored: bool) -> None:
    assert Ignored(text)(path) == is_ignored


def test_what_a_dockerfile_has_of_its_own_counts_more(folder: Path) -> None:
    (folder / ".dockerignore").write_text("*\n")
    (folder / "Dockerfile.dockerignore").write_text("\ufeffdata\nsrc\ndocs\n*.py\n")
    assert names(folder) == [".env", "Dockerfile.dockerignore", "README.md", "b.txt", "größe.md"]


def test_what_changes_with_every_build_is_left_out(folder: Path) -> None:
    before = digest(folder)
    for name in (".git/HEAD", ".mlmake/state.db"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("x")
    assert digest(folder) == before


def _write(folder: Path) -> None:
    (folder / "a.py").write_text("another\n")


def _add(folder: Path) -> None:
    (folder / "new").touch()


def _rename(folder: Path) -> None:
    (folder / "a.py").rename(folder / "aa.py")


def _make_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def _make_program(folder: Path) -> None:
    (folder / "a.py").chmod(0o755)


def _make_link(folder: Path) -> None:
    (folder / "a.py").unlink()
    (folder / "a.py").symlink_to("b.txt")


def _ignore(folder: Path) -> None:
    (folder / ".dockerignore").write_text("data\n")


@pytest.mark.parametrize("change", [_write, _add, _rename, _make_folder, _make_program, _make_link, _ignore])
def test_what_changes_the_digest(folder: Path, change: Callable[[Path], None]) -> None:
    before = digest(folder)
    change(folder)
    assert digest(folder) != before


def test_what_does_not(folder: Path) -> None:
    (folder / ".dockerignore").write_text("data\n")
    before = digest(folder)
    (folder / "data/big.csv").write_text("another\n")
    (folder / "data/new").touch()
    (folder / "a.py").chmod(0o600)
    os.utime(folder / "a.py", (1, 1))
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket must be short
        listener.bind("socket")
        os.chdir(here)
        assert digest(folder) == before


def test_a_link_counts_by_what_it_says(folder: Path) -> None:
    (folder / "nowhere").symlink_to("/no/such")
    (folder / "loop").symlink_to(".")
    entries = Context.look(str(folder / "Dockerfile")).entries
    assert Entry("nowhere", Sort.LINK) in entries
    assert Entry("loop", Sort.LINK) in entries
    assert digest(folder)


def test_another_dockerfile_of_the_same_folder_is_another_context(folder: Path) -> None:
    (folder / "Dockerfile.gpu").write_text("Dockerfile\n")
    one, other = (Context.look(str(folder / name)) for name in ("Dockerfile", "Dockerfile.gpu"))
    assert one.entries == other.entries
    assert one.digest(str) != other.digest(str)


def test_no_dockerfile(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Context.look(str(tmp_path / "Dockerfile"))
