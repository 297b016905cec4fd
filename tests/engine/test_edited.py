"""An input that is edited while a step reads it is never recorded as what the step had used."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlmake.model.events import Event, StepStarted
from mlmake.state import snapshot, stamps
from projects import Built, Folder, until

HOLD = "open('../ready', 'w').close()\nimport os, time\nwhile not os.path.exists('../go'): time.sleep(0.01)\n"
STEP = """
    [fit]
    script = "steps/fit.py"
    inputs = { table = "data/table.csv", parts = "data/parts/*.csv", folder = "data/folder/" }
    outputs = { model = "build/model" }
    [next]
    command = "cat {inputs.model} > {outputs.page}"
    inputs = { model = "@fit" }
    outputs = { page = "build/page" }
"""
FILES = {
    "steps/fit.py": f"import sys, helper\n{HOLD}\nopen(os.environ['MLMAKE_OUTPUT_MODEL'], 'w').write(helper.TEXT)",
    "src/helper.py": "import deeper\nTEXT = deeper.TEXT",
    "src/deeper.py": "TEXT = 'x'",
    "src/stranger.py": "",
    "data/table.csv": "1,2\n",
    "data/parts/a.csv": "a",
    "data/parts/b.csv": "b",
    "data/folder/deep/er.csv": "c",
    "data/other.csv": "",
}
FACTS = {
    "data/table.csv": "input table",
    "data/parts/a.csv": "input parts",
    "data/folder/deep/er.csv": "input folder",
    "steps/fit.py": "code steps/fit.py",
    "src/helper.py": "code src/helper.py",
    "src/deeper.py": "code src/deeper.py",
}
"""What can be edited -> the fact that it belongs to."""


@pytest.fixture
def held(project: Folder) -> Folder:
    """A project with a step that waits for `../go`."""
    project.steps(STEP)
    project.write(FILES)
    return project


def build(project: Folder, edit: Callable[[], object]) -> Built:
    """Build; edit when `fit` is in the middle of its work."""

    def sink(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == "p.fit":
            until((project.root / "../ready").exists)
            edit()
            project.write({"../go": ""})

    for name in ("../ready", "../go"):
        (project.root / name).unlink(missing_ok=True)
    return project.build(sink=sink)


def nothing() -> None:
    pass


def assert_stale(project: Folder, built: Built, fact: str) -> None:
    """It ended well and is not fresh, for the reason that its record tells; one more build makes it good."""
    assert built.done == ["fit", "next"]
    assert built.summary.edited == (f"{fact} of fit",)
    record = project.record("p.fit")
    assert record is not None
    assert record.facts[fact] == "edited while it was read"
    assert project.states()["fit"] == "stale"
    assert project.reasons("fit") == [f"{fact} was edited while the last run read it"]
    again = build(project, nothing)
    assert again.done == ["fit"]
    assert again.spared == ["next"]
    assert set(project.states().values()) == {"fresh"}


def test_without_an_edit_all_is_fresh(held: Folder) -> None:
    built = build(held, nothing)
    assert built.summary.edited == ()
    assert set(held.states().values()) == {"fresh"}


@pytest.mark.parametrize("name", FACTS)
def test_an_edit_is_noticed(held: Folder, name: str) -> None:
    built = build(held, lambda: held.write({name: FILES[name] + "\n# edited"}))
    assert_stale(held, built, FACTS[name])


@pytest.mark.parametrize("name", FACTS)
def test_an_edit_that_is_taken_back_after_the_build_is_not_forgotten(held: Folder, name: str) -> None:
    built = build(held, lambda: held.write({name: FILES[name] + "\n# edited"}))
    held.write({name: FILES[name]})
    assert_stale(held, built, FACTS[name])


@pytest.mark.parametrize("name", FACTS)
def test_an_edit_that_is_taken_back_during_the_run_is_noticed(held: Folder, name: str) -> None:
    """The content is as it was before and after, but who knows what the step has seen."""

    def edit() -> None:
        held.write({name: FILES[name] + "\n# edited"})
        time.sleep(0.02)
        held.write({name: FILES[name]})

    assert_stale(held, build(held, edit), FACTS[name])


def test_an_edit_to_a_folder_that_is_long_looked_through_is_noticed(
    held: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen of such a folder is believed for a time; not across a step."""
    stamp = stamps.stamp

    def slow(top: str) -> stamps.Stamp:
        time.sleep(0.5)
        return stamp(top)

    monkeypatch.setattr("mlmake.state.digests.stamp", slow)
    name = "data/folder/deep/er.csv"
    assert_stale(held, build(held, lambda: held.write({name: FILES[name] + "\n# edited"})), FACTS[name])


def test_an_edit_that_is_taken_back_with_its_times_is_noticed(held: Folder) -> None:
    def edit() -> None:
        path = held.root / "data/table.csv"
        status = path.stat()
        path.write_text("9,9\n")
        path.write_text(FILES["data/table.csv"])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert_stale(held, build(held, edit), "input table")


def test_another_file_of_equal_content_in_its_place_is_noticed(held: Folder) -> None:
    def edit() -> None:
        path = held.root / "data/table.csv"
        shutil.copy2(path, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    assert_stale(held, build(held, edit), "input table")


@pytest.mark.parametrize("name", ["data/parts/c.csv", "data/folder/new.csv"])
def test_a_file_that_came_is_noticed(held: Folder, name: str) -> None:
    fact = "input parts" if "parts" in name else "input folder"
    assert_stale(held, build(held, lambda: held.write({name: "new"})), fact)


@pytest.mark.parametrize("name", ["data/parts/b.csv", "data/folder/deep/er.csv"])
def test_a_file_that_went_is_noticed(held: Folder, name: str) -> None:
    fact = "input parts" if "parts" in name else "input folder"
    assert_stale(held, build(held, (held.root / name).unlink), fact)


def test_an_input_that_went_altogether(held: Folder) -> None:
    built = build(held, (held.root / "data/table.csv").unlink)
    assert built.summary.edited == ("input table of fit",)
    assert held.states()["fit"] == "blocked"
    held.write({"data/table.csv": FILES["data/table.csv"]})
    assert held.states()["fit"] == "stale"


def test_what_the_step_does_not_read_does_not_matter(held: Folder) -> None:
    edits = {"src/stranger.py": "x = 1", "data/other.csv": "edited", "README": "edited"}
    built = build(held, lambda: held.write(edits))
    assert built.summary.edited == ()
    assert set(held.states().values()) == {"fresh"}


def test_a_link_or_a_lock_beside_an_input_does_not_matter(held: Folder) -> None:
    def link() -> None:
        os.link(held.root / "data/table.csv", held.root / "data/linked.csv")
        os.link(held.root / "data/folder/deep/er.csv", held.root / "data/deep.csv")
        held.write({"data/folder/.lock": ""})
        (held.root / "data/folder/.lock").unlink()
        (held.root / "data/table.csv").read_text()

    built = build(held, link)
    assert built.summary.edited == ()
    assert set(held.states().values()) == {"fresh"}


def test_links_in_circles_end(held: Folder) -> None:
    (held.root / "data/folder/circle").symlink_to("../folder")
    (held.root / "data/folder/broken").symlink_to("nowhere")
    build(held, nothing)
    assert set(held.states().values()) == {"fresh"}


def test_the_output_of_a_step_that_was_edited_is_still_used(held: Folder) -> None:
    """What is made is real; it is only not trusted."""
    build(held, lambda: held.write({"src/deeper.py": "TEXT = 'y'"}))
    assert held.read("build/page") == "x"
    build(held, nothing)
    assert held.read("build/page") == "y"


def test_an_edit_between_two_attempts_is_what_the_second_one_reads(project: Folder) -> None:
    project.write({"x": "1"})
    project.steps("""
        [one]
        command = "[ $(cat {inputs.x}) = 2 ] && cp {inputs.x} {outputs.y}"
        inputs = { x = "x" }
        outputs = { y = "build/y" }
        retries = 1
    """)

    def sink(event: Event) -> None:
        if isinstance(event, StepStarted) and event.attempt == 1:
            until(lambda: os.path.getsize(project.root / event.log) == 0)
        if type(event).__name__ == "StepRetried":
            project.write({"x": "2"})

    built = project.build(sink=sink)
    assert built.done == ["one"]
    assert built.summary.edited == ()
    assert project.states() == {"one": "fresh"}


def test_the_last_lines_of_a_build_say_so(held: Folder) -> None:
    running = held.start()
    until((held.root / "../ready").exists)
    held.write({"data/table.csv": "edited", "src/deeper.py": "TEXT = 'y'", "../go": ""})
    said, _ = running.communicate()
    assert running.returncode == 0
    lines = said.splitlines()
    warnings = [line for line in lines if "was edited while it was read: the step is stale and runs again" in line]
    assert [line.partition(" was ")[0] for line in warnings] == ["code src/deeper.py of fit", "input table of fit"]
    assert lines[-3:-1] == warnings
    assert lines[-1].startswith("2 ran, 0 fresh, 0 restored, 0 failed in ")
    assert held.cli("status", "--check").returncode == 3
    why = held.cli("why", "fit")
    assert "input table was edited while the last run read it" in why.stdout


def test_an_edit_of_pipelines_toml_counts_for_the_next_build(held: Folder) -> None:
    toml = held.read("pipelines.toml")
    salted = toml.replace("[pipelines.p.steps.fit]", "[pipelines.p.steps.fit]\nversion = 2")
    built = build(held, lambda: held.toml(salted))
    assert built.summary.edited == ()
    assert held.states() == {"fit": "stale", "next": "maybe"}
    assert Path(held.root / "build/model").exists()


def test_a_file_that_is_read_no_more_lets_a_build_be_short_again(project: Folder) -> None:
    project.write({"in/1": "1", "in/2": "2"})
    project.steps("""
        [all]
        command = "cat in/* > {outputs.y}"
        inputs = { x = "in/*" }
        outputs = { y = "y" }
    """)
    project.build()
    (project.root / "in/2").unlink()
    assert project.build().done == ["all"]
    look = snapshot.read(snapshot.path_of(str(project.root), (), str(project.root)), project.home.database)
    assert look is not None
    assert look.changed() == {}
