"""`mlmake cache push` and `mlmake cache pull`."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from projects import Folder

CHAIN = """
    [make]
    command = "echo make >> ../ran; mkdir {outputs.d}in; echo {params.word} | tee {outputs.d}a > {outputs.d}in/b"
    params = ["word"]
    outputs = { d = "build/d/" }
    [use]
    command = "echo use >> ../ran; cat {inputs.b} {inputs.b} > {outputs.y}"
    inputs = { b = "build/d/in/b" }
    outputs = { y = "build/y" }
    [end]
    command = "echo end >> ../ran; cat {inputs.y} > {outputs.z}"
    inputs = { y = "@use" }
    outputs = { z = "build/z" }
    [apart]
    command = "echo apart >> ../ran; echo apart > {outputs.x}"
    outputs = { x = "build/apart" }
"""


class Two:
    """Two clones of a project; the first one has built it before there was a shared cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.remote = f"file://{self.store}"
        self.clones = [self.clone(name) for name in ("one", "two")]

    def clone(self, name: str) -> Folder:
        (self.folder / name).mkdir()
        folder = Folder(self.folder / name)
        self.share(folder, "")
        return folder

    def share(self, folder: Folder, more: str | None = None, text: str = CHAIN) -> None:
        header = "" if more == "" else f'[cache]\nremote = "{self.remote}"\n{more or ""}\n'
        folder.steps(f"{header}{text}", word="hello")

    def ran(self) -> list[str]:
        path = self.folder / "ran"
        found = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return found


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    two = Two(tmp_path.resolve())
    one, other = two.clones
    one.build()
    two.ran()
    two.share(one)
    two.share(other)
    yield two
    for clone in two.clones:
        clone.close()


def said(folder: Folder, *words: str, code: int = 0) -> str:
    done = folder.cli("cache", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_what_was_computed_before_is_pushed_and_pulled(two: Two) -> None:
    one, other = two.clones
    assert said(one, "push") == f"pushed 4 results, 4 objects, {pushed_size(two)} to {two.remote}\n"
    assert said(one, "push") == f"pushed 0 results, 0 objects, 0 B to {two.remote}\n"
    assert said(other, "pull").startswith("pulled 4 results, 4 objects, ")
    assert two.ran() == []
    assert not other.has("build"), "no output is touched"
    assert said(other, "pull") == f"pulled 0 results, 0 objects, 0 B from {two.remote}\n"
    two.store.rename(two.folder / "away")
    assert "0 ran, 0 fresh, 4 restored" in other.cli().stdout
    assert two.ran() == []
    assert other.read("build/z") == "hello\n" * 2


def pushed_size(two: Two) -> str:
    sizes = [path.stat().st_size for kind in ("files", "folders") for path in (two.store / kind).rglob("*/*")]
    return f"{sum(sizes)} B"


def test_the_named_steps(two: Two) -> None:
    one, other = two.clones
    assert said(one, "push", "make", "apart").startswith("pushed 2 results, 3 objects, ")
    assert said(one, "push", "build/y").startswith("pushed 1 result, 1 object, ")
    assert said(one, "push").startswith("pushed 1 result, 0 objects, "), "its content was there already"
    assert said(other, "pull", "use").startswith("pulled 2 results, 3 objects, "), "and those before it"
    assert said(other, "pull").startswith("pulled 2 results, 1 object, ")


def test_only_what_fits_the_facts(two: Two) -> None:
    one, other = two.clones
    said(one, "push")
    other.toml(other.read("pipelines.toml").replace('"hello"', '"bye"'))
    assert said(other, "pull").startswith("pulled 1 result, 1 object, "), "what comes after an unknown is unknown"
    other.build("make")
    other.toml(other.read("pipelines.toml").replace('"bye"', '"hello"'))
    assert said(other, "pull").startswith("pulled 3 results, ")


def test_what_stands_and_what_is_kept_is_not_pulled(two: Two) -> None:
    one, other = two.clones
    said(one, "push")
    other.build("make")
    two.ran()
    (two.folder / "two/build/d/a").write_text("by hand\n")
    assert said(other, "pull").startswith("pulled 3 results, "), "`make` is kept here already"
    assert sorted(other.build().restored) == ["apart", "end", "make", "use"]


def test_json(two: Two) -> None:
    one, other = two.clones
    pushed = json.loads(said(one, "push", "--json"))
    assert pushed == {"remote": two.remote, "results": 4, "objects": 4, "size": pushed["size"], "problems": []}
    pulled = json.loads(said(other, "pull", "--json"))
    assert pulled == pushed


def test_a_damaged_object_there(two: Two) -> None:
    one, other = two.clones
    said(one, "push")
    for path in (two.store / "files").rglob("*/*"):
        if path.read_text() == "apart\n":
            path.write_text("APART\n")
    out = said(other, "pull", code=1)
    assert re.search(r"^p\.apart cannot be restored from the shared cache .* holds other bytes", out)
    assert "pulled 3 results" in out
    assert len(json.loads(said(other, "pull", "--json", code=1))["problems"]) == 1


def test_a_damaged_object_here(two: Two) -> None:
    one, _ = two.clones
    for path in (one.root / ".mlmake/cache/files").rglob("*/*"):
        if path.read_text() == "apart\n":
            path.chmod(0o644)
            path.write_text("APART\n")
    out = said(one, "push", code=1)
    assert out.startswith("what p.apart wrote is not sent to the shared cache: ")
    assert "pushed 3 results" in out


def test_a_record_that_cannot_be_read(two: Two) -> None:
    one, other = two.clones
    said(one, "push", "apart")
    for path in (two.store / "actions").rglob("*/*"):
        path.write_text("{")
    out = said(other, "pull", code=1)
    assert out.startswith("actions/")
    assert "pulled 0 results" in out


@pytest.mark.parametrize(
    ("more", "verb", "message"),
    [
        ("", "push", "this project has no shared cache"),
        ("", "pull", "this project has no shared cache"),
        ("enabled = false", "pull", "the cache is off"),
        ('mode = "read"', "push", "this project only reads its shared cache: [cache] mode = 'read'"),
        ('mode = "write"', "pull", "this project only writes its shared cache: [cache] mode = 'write'"),
    ],
)
def test_what_the_file_forbids(more: str, verb: str, message: str, two: Two) -> None:
    one, _ = two.clones
    two.share(one, more)
    done = one.cli("cache", verb)
    assert done.returncode == 2
    assert done.stderr.startswith(f"mlmake: {message}\n")


def test_a_step_that_is_none(two: Two) -> None:
    done = two.clones[0].cli("cache", "pull", "mak")
    assert (done.returncode, "did you mean 'make'" in done.stderr) == (2, True)


def test_in_a_fresh_clone_nothing_is_needed(tmp_path: Path, two: Two) -> None:
    new = two.clone("three")
    two.share(new)
    assert said(new, "push") == f"pushed 0 results, 0 objects, 0 B to {two.remote}\n"
    assert said(new, "pull") == f"pulled 0 results, 0 objects, 0 B from {two.remote}\n"


def test_what_died_on_its_way_is_swept(two: Two) -> None:
    one, _ = two.clones
    left = one.root / ".mlmake/cache/incoming/abc"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    said(one, "push")
    assert not left.exists()


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_on_a_terminal_a_bar_comes_and_goes(verb: str, two: Two) -> None:
    one, other = two.clones
    if verb == "pull":
        said(one, "push")
    out = on_terminal(one if verb == "push" else other, verb)
    assert "objects" in out
    assert re.search(rf"{verb}ed 4 results, 4 objects", out)


def on_terminal(folder: Folder, verb: str) -> str:
    """What a command says on a terminal of a hundred columns."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    command = [sys.executable, "-m", "mlmake", "cache", verb]
    with subprocess.Popen(command, cwd=folder.root, env=env, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:
                break
            if not block:
                break
            said += block
        assert process.wait() == 0
    os.close(ours)
    return said.decode()
