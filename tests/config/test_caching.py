"""`[cache]`, and the key `cache` of a step: what they say, and what is wrong in them."""

from __future__ import annotations

import pytest
from reading import ROOT, read, step, told

from mlmake.model.caching import CachePolicy, Link, Mode

S = "[s]\nscript = 's.py'\noutputs = { table = 't.csv', log = 'l.txt' }\nmetrics = { scores = 's.json' }\n"
AT = "pipelines.p.steps.s"
SIZE = "expected a size such as '8GiB' or a number of bytes"
KNOWN = "enabled, link, size, runs, remote, mode"
WAYS = "expected 'copy' or 'hardlink' or 'symlink'"
URL = "expected a URL such as s3://… or a path on a datastore"
UNKNOWN = "unknown datastore 's4' in 's4://a/b'; known: none, and URLs such as s3://"
MODES = "expected 'read' or 'write' or 'read-write'"


def policy(text: str) -> CachePolicy:
    return read(f"{text}\n{S}").cache


# What it says.


def test_without_a_table_results_are_kept_and_shared_with_nobody() -> None:
    assert read(S).cache == policy("[cache]") == CachePolicy()
    assert CachePolicy() == CachePolicy(enabled=True, link=Link.COPY, size=0, runs=10, remote="", mode=Mode.BOTH)


def test_every_key() -> None:
    found = policy("""
[cache]
enabled = false
link = "hardlink"
size = "50GiB"
runs = 3
remote = "s3://acme/cache"
mode = "read"
""")
    assert found == CachePolicy(
        enabled=False,
        link=Link.HARDLINK,
        size=50 << 30,
        runs=3,
        remote="s3://acme/cache",
        name="s3://acme/cache",
        mode=Mode.READ,
    )


@pytest.mark.parametrize(("word", "reads", "writes"), [("read", 1, 0), ("write", 0, 1), ("read-write", 1, 1)])
def test_modes(word: str, reads: bool, writes: bool) -> None:
    mode = policy(f"[cache]\nremote = 's3://a/b'\nmode = '{word}'").mode
    assert (mode.reads, mode.writes) == (reads, writes)


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("s3://acme/cache", "s3://acme/cache"),
        ("file:///srv/cache", "file:///srv/cache"),
        ("lake://cache", "s3://acme/lake/cache"),
        ("lake://", "s3://acme/lake"),
        ("near://cache", f"file://{ROOT}/data/cache"),
        ("near://", f"file://{ROOT}/data"),
    ],
)
def test_where_it_is_shared(remote: str, url: str) -> None:
    stores = "[datastores]\nlake = { url = 's3://acme/lake', key = '${env:LAKE_KEY}' }\nnear = 'data'\n"
    found = policy(f"{stores}[cache]\nremote = '{remote}'")
    assert (found.remote, found.name) == (url, remote)
    assert found.options == ({"key": "${env:LAKE_KEY}"} if remote.startswith("lake") else {})


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("", {"table": True, "log": True, "scores": True}),
        ("cache = true", {"table": True, "log": True, "scores": True}),
        ("cache = false", {"table": False, "log": False, "scores": False}),
        ("cache = { log = false }", {"table": True, "log": False, "scores": True}),
        ("cache = { log = true, scores = false }", {"table": True, "log": True, "scores": False}),
    ],
)
def test_what_a_step_keeps(key: str, kept: dict[str, bool]) -> None:
    spec = step(f"{S}{key}\n").spec
    assert {output: spec.caches(output) for output in kept} == kept


# What is wrong.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cache = 3", "cache: expected a table, got 3"),
        ("[cache]\nsise = 1", "cache: unknown key 'sise'; did you mean 'size'?"),
        ("[cache]\nqqq = 1", f"cache: unknown key 'qqq'; known: {KNOWN}"),
        ("[cache]\nenabled = 1", "cache.enabled: expected true or false, got 1"),
        ("[cache]\nenabled = 'no'", "cache.enabled: expected true or false, got 'no'"),
        ("[cache]\nlink = 'hardlinks'", f"cache.link: {WAYS}, got 'hardlinks'; did you mean 'hardlink'?"),
        ("[cache]\nlink = true", f"cache.link: {WAYS}, got true"),
        ("[cache]\nlink = []", f"cache.link: {WAYS}, got []"),
        ("[cache]\nlink = ''", f"cache.link: {WAYS}, got ''"),
        ("[cache]\nsize = 'much'", f"cache.size: {SIZE}, got 'much'"),
        ("[cache]\nsize = -1", f"cache.size: {SIZE}, got -1"),
        ("[cache]\nruns = -1", "cache.runs: cannot be negative: -1"),
        ("[cache]\nruns = 1.5", "cache.runs: expected a whole number, got 1.5"),
        ("[cache]\nremote = 3", "cache.remote: expected a text, got 3"),
        ("[cache]\nremote = 'cache'", f"cache.remote: {URL}, got 'cache'"),
        ("[cache]\nremote = '/srv/c'", f"cache.remote: {URL}, got '/srv/c'; did you mean 'file:///srv/c'?"),
        ("[cache]\nremote = 's4://a/b'", f"cache.remote: {UNKNOWN}"),
        ("[cache]\nmode = 'read'", "cache: 'mode' is that of the shared cache: name it with 'remote'"),
        (
            "[cache]\nremote = 's3://a/b'\nmode = 'reed'",
            f"cache.mode: {MODES}, got 'reed'; did you mean 'read'?",
        ),
    ],
)
def test_bad_tables(text: str, message: str) -> None:
    assert told(f"{text}\n{S}") == [message]


def test_a_password_in_its_url_is_refused_and_not_shown() -> None:
    (line,) = told(f"[cache]\nremote = 'sftp://me:secret@host/cache'\n{S}")
    assert line.startswith("cache.remote: a sftp:// URL holds a password")
    assert "secret" not in line


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("cache = 'no'", f"{AT}.cache: expected true, false or a table of them by output, got 'no'"),
        ("cache = 0", f"{AT}.cache: expected true, false or a table of them by output, got 0"),
        ("cache = ['table']", f"{AT}.cache: expected true, false or a table of them by output, got ['table']"),
        ("cache = { table = 1 }", f"{AT}.cache.table: expected true or false, got 1"),
        ("cache = { tabel = false }", f"{AT}.cache: the step has no output 'tabel'; did you mean 'table'?"),
        ("cache = { qqq = false }", f"{AT}.cache: the step has no output 'qqq'"),
        ("cahce = false", f"{AT}: unknown key 'cahce'; did you mean 'cache'?"),
    ],
)
def test_bad_keys(key: str, message: str) -> None:
    assert told(f"{S}{key}\n") == [message]


def test_all_at_once() -> None:
    lines = told(f"[cache]\nlink = 'x'\nsize = 'y'\nrunz = 1\n{S}cache = {{ a = false, b = 2 }}\n")
    assert {line.partition(":")[0] for line in lines} == {"cache", "cache.link", "cache.size", f"{AT}.cache.b"}
