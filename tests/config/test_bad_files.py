"""Files that are no pipelines.toml at all: what is told, and that the command line exits with 2 and no traceback."""

from __future__ import annotations

import os
import random
import re

import pytest
from reading import ROOT, read, steps, told

from mlmake.config.load import load, parse
from mlmake.config.root import find_root
from mlmake.errors import ConfigError, UsageError
from projects import Folder

S = "[s]\nscript = 's.py'\n"
EMPTY = "the file declares no pipelines; a step is a table [pipelines.NAME.steps.NAME]"
DEEP = "tables or lists are nested too deeply"


def alone(content: str | bytes) -> str:
    """The one problem of a file."""
    (line,) = told(content)
    return line


# TOML.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "line 1, column 5: no TOML value; a text stands in quotes"),
        ("[project]\nname = flights\n", "line 2, column 8: no TOML value; a text stands in quotes"),
        ("[project\nname = 'x'", "line 1, column 9: Expected ']' at the end of a table declaration"),
        ("[[project]\n", "line 1, column 10: Expected ']]' at the end of an array declaration"),
        ("a = 1\na = 2", "line 2, column 6: the key or table is there already"),
        ("[pipelines.p]\n\n[pipelines.p]\n", "line 3, column 13: table [pipelines.p] stands twice"),
        ("[pipelines]\n[pipelines]\n", "line 2, column 11: table [pipelines] stands twice"),
        ("a = { b = 1, b = 2 }", "line 1, column 19: key 'b' stands twice"),
        ("a = { b = 1 }\na.c = 2", "line 2, column 8: table a is complete; nothing can join it"),
        ("x = '''abc", "line 1, column 11: the text does not end: ''' is missing"),
        ('x = "abc\ny = 2', "line 1, column 9: the text does not end on its line"),
        ('x = "abc', "line 1, column 9: Unterminated string"),
        ('x = "\\q"', "line 1, column 8: Unescaped '\\' in a string"),
        ("x = [1, 2", "line 1, column 10: Unclosed array"),
        ("x = { a = 1", "line 1, column 12: Unclosed inline table"),
        ("x = 2024-13-01", "line 1, column 9: something is left over after the value"),
        ("x = 2024-02-30", "line 1, column 5: Invalid date or datetime"),
        ("x = 01", "line 1, column 6: something is left over after the value"),
        ("x = 1 y = 2", "line 1, column 7: something is left over after the value"),
        ("= 1", "line 1, column 1: neither a [table] nor a line `key = value`"),
        ("just words", "line 1, column 6: Expected '=' after a key in a key/value pair"),
        ("x = 1\ry = 2", "line 1, column 6: something is left over after the value"),
        ("\ufeff\ufeffx = 1", "line 1, column 1: neither a [table] nor a line `key = value`"),
        ("<<<<<<< HEAD\n", "line 1, column 1: neither a [table] nor a line `key = value`"),
        ("pipelines:\n  train:\n", "line 1, column 10: Expected '=' after a key in a key/value pair"),
        ('{"pipelines": {}}', "line 1, column 1: neither a [table] nor a line `key = value`"),
        ("x = 1\0", "line 1, column 6: something is left over after the value"),
        ("x = 'a\0b'", "line 1, column 7: Found invalid character '\\x00'"),
        (
            "x = '\ud7ff\U0010ffff'",
            "unknown key 'x'; known: project, datastores, cache, tracking, environments, compute, pipelines",
        ),
    ],
)
def test_wrong_toml(text: str, message: str) -> None:
    assert alone(text.encode()) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", EMPTY),
        (b"\xef\xbb\xbf", EMPTY),
        (b"\n\r\n   \t\n", EMPTY),
        (b"# nothing\n" * 100, EMPTY),
        (b"\xff\xfex\x00", "line 1: not UTF-8: byte 0xff; save the file as UTF-8"),
        ("ä = 1".encode("latin-1"), "line 1: not UTF-8: byte 0xe4; save the file as UTF-8"),
        (b"# one\n# two\nx = '\xc3'", "line 3: not UTF-8: byte 0xc3; save the file as UTF-8"),
        ("[project]".encode("utf-16"), "line 1: not UTF-8: byte 0xff; save the file as UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00", re.compile("line 1, column 1: .*")),
        (b"\x00" * 10_000, re.compile("line 1, column 1: .*")),
        (b"\x1f\x8b\x08\x00", re.compile("line 1: not UTF-8: byte 0x8b; .*")),
        (b"x = " + b"[" * 100_000, DEEP),
        (b"x = " + b"[" * 399 + b"]" * 399, re.compile("unknown table 'x'; known: .*")),
        (b"x = " + b"{a=" * 100_000, DEEP),
        (b"[pipelines.p.params]\n" + b".".join([b"a"] * 5000) + b" = 1", DEEP),
        (b"[pipelines.p.params." + b".".join([b"a"] * 5000) + b"]", DEEP),
        (b"x = 1" + b"0" * 5000, "a number is too large"),
        (b"[pipelines.p]\nparams = { x = 0x" + b"f" * 5000 + b" }", "a number is too large"),
        (b"x = '" + b"a" * 10_000_000, re.compile("line 1, column 10000006: the text does not end: ' is missing")),
        (b"a" * 10_000_000 + b" = 1", re.compile(r"unknown key 'a{55}…'; known: .*")),
        (b"\n" * 10_000_000 + b"x = y", re.compile("line 10000001, column 5: no TOML value; .*")),
        (b"# " + b"x" * 10_000_000, EMPTY),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_strange_files(content: bytes, message: str | re.Pattern[str]) -> None:
    line = alone(content)
    assert message.fullmatch(line) if isinstance(message, re.Pattern) else line == message


@pytest.mark.parametrize("alphabet", [range(256), range(32, 127), b"[]{}=.,'\"#\n abc019"])
def test_ten_megabytes_of_noise(alphabet: range | bytes) -> None:
    noise = bytes(random.Random(7).choices(bytes(alphabet), k=10_000_000))
    with pytest.raises(ConfigError) as caught:
        parse(noise, ROOT)
    assert len(caught.value.message) < 1000


def test_a_table_at_every_depth_below_a_parameter() -> None:
    deep = ".".join("abcdefgh"[i % 8] for i in range(200))
    project = read(f"[params]\n{deep} = 1\n[s]\nscript = 's.py'\nparams = ['a']")
    assert project.steps["p.s"].params[0].key == deep


def test_a_depth_that_python_could_not_walk() -> None:
    deep = ".".join(["a"] * 990)
    assert alone(f"[params]\n{deep} = 1\n[s]\nscript = 's.py'\nparams = ['a']") == DEEP
    assert alone(f"{S}[compute.c]\nkind.{deep} = 1") == DEEP


# Files that cannot be read.


def test_no_file(project: Folder) -> None:
    with pytest.raises(UsageError) as caught:
        find_root(str(project.root))
    assert caught.value.message == f"no pipelines.toml in {project.root} or any folder above it"
    assert caught.value.hint == "`mlmake init` makes a small project that builds"


def test_the_nearest_file_above(project: Folder) -> None:
    project.write({"pipelines.toml": steps(S), "a/b/c.txt": "", "a/inner/pipelines.toml": steps(S)})
    assert find_root(str(project.root / "a" / "b")) == str(project.root)
    assert find_root(str(project.root / "a" / "inner")) == str(project.root / "a" / "inner")


def test_a_folder_of_that_name(project: Folder) -> None:
    (project.root / "pipelines.toml").mkdir()
    with pytest.raises(UsageError) as caught:
        load(str(project.root))
    assert caught.value.message == f"cannot read {project.root}/pipelines.toml: Is a directory"


def test_a_file_that_may_not_be_read(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    project.toml(steps(S))
    if os.geteuid() == 0:  # root may read anything

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    else:
        (project.root / "pipelines.toml").chmod(0)
    with pytest.raises(UsageError) as caught:
        load(str(project.root))
    assert caught.value.message == f"cannot read {project.root}/pipelines.toml: Permission denied"


def test_a_link_to_a_file(project: Folder) -> None:
    project.write({"real.toml": steps(S)})
    (project.root / "pipelines.toml").symlink_to("real.toml")
    assert list(load(str(project.root)).steps) == ["p.s"]


def test_line_ends_and_marks_of_other_systems(project: Folder) -> None:
    project.write({"pipelines.toml": b"\xef\xbb\xbf" + steps(S).replace("\n", "\r\n").encode()})
    assert list(load(str(project.root)).steps) == ["p.s"]


# The command line.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"mlmake: pipelines.toml: {EMPTY}"),
        (b"\xff", "mlmake: pipelines.toml: line 1: not UTF-8: byte 0xff; save the file as UTF-8"),
        (b"x = " + b"[" * 1000, f"mlmake: pipelines.toml: {DEEP}"),
        (
            steps("[s]\nscirpt = 's.py'").encode(),
            "mlmake: pipelines.toml: pipelines.p.steps.s: unknown key 'scirpt'; did you mean 'script'?",
        ),
        (
            steps(f"{S}resources = {{ cpus = {'9' * 400} }}").encode(),
            f"mlmake: pipelines.toml: pipelines.p.steps.s.resources.cpus: expected a number, got {'9' * 57}...",
        ),
    ],
)
@pytest.mark.parametrize("command", ["status", "build"])
def test_the_command_line_tells_it(project: Folder, command: str, content: bytes, message: str) -> None:
    project.write({"pipelines.toml": content})
    done = project.cli(command)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{message}\n")
    assert not project.has(".mlmake"), "nothing is kept of a project that says nothing"


def test_the_command_line_tells_every_problem(project: Folder) -> None:
    project.toml(
        steps("[a]\nscirpt = 'a.py'\n[b]\nscript = 'b.py'\ntimeout = 'x'\n[c]\nscript = 'c.py'\nafter = ['d']")
    )
    done = project.cli("status")
    assert done.returncode == 2
    assert [line.split(": ")[2] for line in done.stderr.splitlines()] == [
        "pipelines.p.steps.a",
        "pipelines.p.steps.b.timeout",
        "pipelines.p.steps.c.after",
    ]


def test_the_command_line_without_a_file(project: Folder) -> None:
    done = project.cli("status")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"mlmake: no pipelines.toml in {project.root} or any folder above it",
        "        `mlmake init` makes a small project that builds",
    ]


def test_a_wrong_override_at_the_command_line(project: Folder) -> None:
    project.toml(steps("[params]\nseed = 7\n[s]\ncommand = 'true'\nparams = ['seed']"))
    done = project.cli("status", "-p", "sede=3")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "mlmake: -p sede=3: unknown parameter 'sede'; did you mean 'seed'?"
