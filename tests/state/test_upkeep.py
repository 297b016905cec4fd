"""What stays in the cache and what goes: what is needed never does, and with a limit the longest unused goes first."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlmake.model.events import Noticed
from mlmake.state.cache import Cache
from mlmake.state.database import connect
from mlmake.state.needs import needs_of
from mlmake.state.objects import FILES
from mlmake.state.upkeep import Collected, collect, stats, trim, verify
from projects import Folder

ONE = """
    [s]
    command = "printf '%1000s' {params.word} > {outputs.x}; printf '%1000s' {params.word} > {outputs.d}f"
    params = ["word"]
    outputs = { x = "build/x", d = "build/d/" }
"""
LISTING = len("f\0-\0") + 32
RESULT = 1000 + LISTING
"""Bytes of a result of it: one file, as both outputs hold the same, and the folder's listing."""


@contextmanager
def opened(project: Folder) -> Iterator[tuple[Cache, sqlite3.Connection]]:
    connection = connect(project.home, create=False)
    try:
        yield Cache(project.home, project.load().cache, connection), connection
    finally:
        connection.close()


def build(project: Folder, *words: str, cache: str = "", text: str = ONE) -> None:
    for word in words:
        project.steps(f"[cache]\n{cache}\n{text}", word=word)
        project.build()


def gc(project: Folder, runs: int = 0, limit: int | None = None, *, dry_run: bool = False) -> Collected:
    with opened(project) as (cache, connection):
        needs = needs_of(project.load(), connection, runs)
        return collect(cache, needs, connection, limit=limit, dry_run=dry_run)


def left(project: Folder) -> list[str]:
    """The words whose results are kept, by going back to each."""
    found = []
    with opened(project) as (cache, _):
        for action in cache.actions.all():
            if all(cache.objects.has(kept.digest) for kept in action.outputs):
                path = cache.objects.path(action.outputs[0].digest)
                found.append(Path(path).read_text().strip())
    return sorted(found)


def size(project: Folder) -> int:
    with opened(project) as (cache, _):
        return sum(size for _, _, size in cache.objects.all())


# What goes.


def test_only_what_the_project_last_wrote_stays(project: Folder) -> None:
    build(project, "one", "two", "three")
    assert gc(project) == Collected(results=2, objects=4, freed=2 * RESULT, left=RESULT)
    assert left(project) == ["three"]
    assert gc(project) == Collected(results=0, objects=0, freed=0, left=RESULT)


@pytest.mark.parametrize(("runs", "words"), [(1, ["four"]), (2, ["four", "three"]), (3, ["four", "three", "two"])])
def test_what_stood_after_the_newest_runs_stays(project: Folder, runs: int, words: list[str]) -> None:
    build(project, "one", "two", "three", "four")
    gc(project, runs)
    assert left(project) == words


def test_a_run_that_left_a_step_alone_needs_what_stood(project: Folder) -> None:
    """Run 2 only ran `other`; to bring it back takes what `s` wrote in run 1, too."""
    text = f"""{ONE}
    [other]
    command = "cat {{inputs.a}} > {{outputs.y}}"
    inputs = {{ a = "a.txt" }}
    outputs = {{ y = "build/y" }}
    """
    project.write({"a.txt": "1"})
    build(project, "one", text=text)
    project.write({"a.txt": "2"})
    build(project, "one", text=text)
    build(project, "two", text=text)
    gc(project, 2)
    assert {"one", "two"} <= set(left(project))


def test_what_an_older_action_shares_with_a_needed_one_stays(project: Folder) -> None:
    text = ONE.replace("> {outputs.x}", "| tr a-z A-Z | tr -d OT > {outputs.x}")
    project.steps(text, word="one")
    project.build()
    with opened(project) as (cache, _):
        before = {digest for digest, _, _ in cache.objects.all()}
    project.steps(text, word="two")
    project.build()
    gc(project)
    project.steps(text, word="two")
    project.cli("clean", "--all")
    assert project.build().restored == ["s"]
    with opened(project) as (cache, _):
        assert before - {digest for digest, _, _ in cache.objects.all()}


def test_a_step_that_is_gone_needs_nothing_but_by_its_runs(project: Folder) -> None:
    build(project, "one")
    project.steps(ONE.replace("[s]", "[t]").replace("build/", "out/"), word="two")
    project.build()
    gc(project, 2)
    assert left(project) == ["one", "two"]
    gc(project, 1)
    assert left(project) == ["two"]


def test_a_cache_without_a_project_state_holds_nothing_of_use(project: Folder) -> None:
    build(project, "one")
    os.unlink(project.home.database)
    assert gc(project).left == 0


def test_what_was_never_finished_goes(project: Folder) -> None:
    build(project, "one")
    with opened(project) as (cache, _):
        digest, kind, _ = next(cache.objects.all())
        Path(f"{cache.objects.path(digest, kind)}.1-ab").write_bytes(b"12345")
        orphan = Path(cache.objects.path("0" * 32))
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"123")
    assert gc(project, dry_run=True) == gc(project) == Collected(results=0, objects=1, freed=8, left=RESULT)
    assert not orphan.exists()
    assert gc(project).freed == 0


def test_a_dry_run_removes_nothing(project: Folder) -> None:
    build(project, "one", "two")
    assert gc(project, dry_run=True).results == 1
    assert left(project) == ["one", "two"]


def test_an_output_that_is_a_link_keeps_its_object(project: Folder) -> None:
    """The step is gone, but what it wrote still stands there, and is nowhere but in the cache."""
    build(project, "one", cache="link = 'symlink'")
    project.steps("[cache]\nlink = 'symlink'\n" + ONE.replace("[s]", "[t]").replace("build/", "out/"), word="two")
    project.build()
    gc(project)
    assert project.read("build/x").strip() == "one"
    assert project.read("build/d/f").strip() == "one"
    project.cli("clean", "--all")
    (project.root / "build" / "x").unlink()
    (project.root / "build" / "d" / "f").unlink()
    gc(project)
    assert left(project) == ["two"]


# Limits.


def test_with_a_limit_the_longest_unused_goes_first(project: Folder) -> None:
    build(project, "one", "two", "three", "four")
    build(project, "one", "four")  # restored, which is a use
    done = gc(project, limit=3 * RESULT)
    assert done == Collected(results=1, objects=2, freed=RESULT, left=3 * RESULT)
    assert left(project) == ["four", "one", "three"]
    assert gc(project, limit=3 * RESULT).results == 0
    gc(project, limit=2 * RESULT)
    assert left(project) == ["four", "one"]


def test_a_limit_takes_nothing_that_is_needed(project: Folder) -> None:
    build(project, "one", "two", "three")
    assert gc(project, runs=2, limit=0).left == 2 * RESULT
    assert left(project) == ["three", "two"]


def test_with_a_limit_nothing_goes_that_frees_nothing(project: Folder) -> None:
    """Two actions with the same results: to forget the older one would only cost a run."""
    same = """
        [s]
        command = "echo {params.word} | wc -c > {outputs.x}"
        params = ["word"]
        outputs = { x = "build/x" }
    """
    build(project, "one", "two", text=same)
    assert gc(project, limit=0).results == 0
    assert gc(project).results == 1


def test_a_build_keeps_the_cache_under_its_size(project: Folder) -> None:
    build(project, "one", "two", "three", "four", cache=f"size = {2 * RESULT}\nruns = 1")
    assert size(project) <= 2 * RESULT
    with opened(project) as (cache, connection):
        assert trim(cache, str(project.root), connection) == ""
    assert left(project) == ["four", "three"]


def test_what_cannot_be_trimmed_is_told_with_the_next_move(project: Folder) -> None:
    build(project, "one", "two", "three", cache=f"size = {RESULT}\nruns = 2")
    with opened(project) as (cache, connection):
        told = trim(cache, str(project.root), connection)
    assert told == (
        "the cache holds 2.0 KiB, its size is 1.0 KiB, and all that is left is needed: allow more under [cache] size, "
        "or keep fewer than 2 runs under [cache] runs"
    )
    assert left(project) == ["three", "two"]
    assert [event.text for event in project.build().of(Noticed)] == [told]


def test_a_file_that_cannot_be_read_keeps_all(project: Folder) -> None:
    build(project, "one", "two", "three", cache="size = 1\nruns = 9")
    with opened(project) as (cache, connection):
        project.toml("[nonsense]")
        assert trim(cache, str(project.root), connection) == ""
    build(project, "three", cache="runs = 9")
    assert left(project) == ["one", "three", "two"]


# Looking.


def test_stats(project: Folder) -> None:
    build(project, "one", "two", "three")
    with opened(project) as (cache, connection):
        found = stats(cache, needs_of(project.load(), connection, 2))
    assert (found.results, found.files, found.folders) == (3, 3, 3)
    assert (found.size, found.needed, found.damaged) == (3 * RESULT, 2 * RESULT, 0)


def test_stats_of_nothing(project: Folder) -> None:
    project.steps(ONE, word="one")
    with opened(project) as (cache, connection):
        found = stats(cache, needs_of(project.load(), connection, 2))
    assert (found.results, found.size, found.needed) == (0, 0, 0)


def test_verify_finds_what_is_damaged_and_whose_it_was(project: Folder) -> None:
    build(project, "one", "two")
    with opened(project) as (cache, _):
        assert verify(cache).damaged == ()
        path = next(
            p for d, k, _ in cache.objects.all() if k == FILES and "one" in Path(p := cache.objects.path(d)).read_text()
        )
        os.chmod(path, 0o644)
        Path(path).write_text("1")
        found = verify(cache)
        assert (found.objects, len(found.damaged)) == (4, 1)
        (damaged,) = found.damaged
        assert damaged.steps == ("p.s",)
        assert Path(damaged.place).read_text() == "1"
        assert not os.path.exists(path)
        assert verify(cache).damaged == ()
    build(project, "one")
    assert left(project) == ["one", "two"], "it ran, and is kept again"


def test_verify_finds_a_damaged_listing(project: Folder) -> None:
    build(project, "one")
    with opened(project) as (cache, _):
        digest, kind = next((d, k) for d, k, _ in cache.objects.all() if k != FILES)
        os.chmod(cache.objects.path(digest, kind), 0o644)
        Path(cache.objects.path(digest, kind)).write_bytes(b"f\0-")
        (damaged,) = verify(cache).damaged
    assert (damaged.digest, damaged.steps) == (digest, ("p.s",))
    project.cli("clean", "--all")
    assert project.build().done == ["s"]
