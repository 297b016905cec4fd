"""A step whose facts were known before is not run again: its outputs come out of the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlmake.model.events import Noticed
from mlmake.model.run import Outcome, StepRun
from mlmake.state.database import connect
from mlmake.state.objects import Objects
from mlmake.state.runs import Runs
from projects import Built, Folder, kill, until

ONE = """
    [s]
    command = "echo s >> ../ran; echo {params.word} > {outputs.x}"
    params = ["word"]
    outputs = { x = "build/x" }
"""
CHAIN = """
    [first]
    command = "echo first >> ../ran; echo {params.word} | cut -c 1 > {outputs.x}"
    params = ["word"]
    outputs = { x = "build/x" }
    [second]
    command = "echo second >> ../ran; cat {inputs.x} {inputs.x} > {outputs.y}"
    inputs = { x = "@first" }
    outputs = { y = "build/y" }
    [third]
    command = "echo third >> ../ran; cat {inputs.y} > {outputs.z}all"
    inputs = { y = "@second" }
    outputs = { z = "build/z/" }
"""


def ran(project: Folder) -> list[str]:
    """The steps that really ran since the last look."""
    found = project.log("../ran")
    project.write({"../ran": ""})
    return found


def noticed(built: Built) -> list[str]:
    return [event.text for event in built.of(Noticed)]


def both(project: Folder, text: str, first: str = "one", second: str = "two") -> None:
    """Build with one word and then with another."""
    for word in (first, second):
        project.steps(text, word=word)
        project.build()
    ran(project)


# Coming back.


def test_a_parameter_that_is_switched_back_restores(project: Folder) -> None:
    both(project, ONE)
    project.steps(ONE, word="one")
    assert project.states() == {"s": "restorable"}
    assert project.reasons("s") == ['param word changed: "two" -> "one"']
    built = project.build()
    assert (ran(project), built.restored, built.done) == ([], ["s"], [])
    assert project.read("build/x") == "one\n"
    assert project.states() == {"s": "fresh"}
    assert project.build().summary.fresh == 1


def test_a_chain_restores(project: Folder) -> None:
    both(project, CHAIN)
    project.steps(CHAIN, word="one")
    built = project.build()
    assert (ran(project), built.restored) == ([], ["first", "second", "third"])
    assert project.read("build/z/all") == "o\no\n"
    assert set(project.states().values()) == {"fresh"}


def test_a_chain_restores_through_an_early_cut_off(project: Folder) -> None:
    """`two` and `three` begin alike, so only `first` differs between them."""
    both(project, CHAIN, "two", "three")
    project.steps(CHAIN, word="two")
    built = project.build()
    assert (ran(project), built.restored, built.spared) == ([], ["first"], ["second", "third"])


def test_new_facts_that_lead_to_known_ones_restore_what_follows(project: Folder) -> None:
    """`first` never ran with `omega`, but it gives what it gave for `one`."""
    both(project, CHAIN)
    project.steps(CHAIN, word="omega")
    built = project.build()
    assert (ran(project), built.restored) == (["first"], ["second", "third"])


def test_code_that_is_switched_back_restores(project: Folder) -> None:
    project.steps("""
        [s]
        script = "s.py"
        outputs = { x = "build/x" }
    """)
    script = "import sys\nopen('../ran', 'a').write('s\\n')\nopen(sys.argv[2], 'w').write('{0}')\n"
    for word in ("one", "two"):
        project.write({"s.py": script.format(word)})
        project.build()
    ran(project)
    project.write({"s.py": script.format("one")})
    assert project.build().restored == ["s"]
    assert (ran(project), project.read("build/x")) == ([], "one")


def test_an_input_that_is_switched_back_restores(project: Folder) -> None:
    project.steps("""
        [s]
        command = "echo s >> ../ran; cat {inputs.a} > {outputs.x}"
        inputs = { a = "a.txt" }
        outputs = { x = "build/x" }
    """)
    for word in ("one", "two"):
        project.write({"a.txt": word})
        project.build()
    ran(project)
    project.write({"a.txt": "one"})
    assert project.build().restored == ["s"]
    assert (ran(project), project.read("build/x")) == ([], "one")


def test_deleted_outputs_are_restored(project: Folder) -> None:
    project.steps(CHAIN, word="one")
    project.build()
    ran(project)
    project.cli("clean", "--all")
    assert set(project.states().values()) == {"restorable"}
    assert project.build().restored == ["first", "second", "third"]
    assert (ran(project), project.read("build/z/all")) == ([], "o\no\n")


def test_edited_outputs_are_restored(project: Folder) -> None:
    project.steps(CHAIN, word="one")
    project.build()
    ran(project)
    project.write({"build/y": "edited", "build/z/more": "a file more"})
    assert project.build().restored == ["second", "third"]
    assert ran(project) == []
    assert os.listdir(project.root / "build" / "z") == ["all"]


def test_a_lost_record_is_no_matter(project: Folder) -> None:
    """As when a colleague takes over the cache: it never ran here, and still need not."""
    project.steps(CHAIN, word="one")
    project.build()
    ran(project)
    connection = connect(project.home, create=False)
    connection.execute("DELETE FROM records")
    connection.close()
    project.cli("clean", "--all")
    assert project.build().restored == ["first", "second", "third"]
    assert ran(project) == []


def test_a_step_of_another_name_with_the_same_facts_restores(project: Folder) -> None:
    project.steps(ONE, word="one")
    project.build()
    ran(project)
    project.steps(ONE.replace("[s]", "[renamed]"), word="one")
    assert project.build().restored == ["renamed"]
    assert ran(project) == []


def test_a_matrix_restores_each_combination(project: Folder) -> None:
    text = """
        [s]
        command = "echo {matrix.n} >> ../ran; echo {params.word} {matrix.n} > {outputs.x}"
        params = ["word"]
        matrix = { n = [1, 2, 3] }
        outputs = { x = "build/x-{matrix.n}" }
    """
    both(project, text)
    project.steps(text.replace("[1, 2, 3]", "[1, 2, 3, 4]"), word="one")
    built = project.build(jobs=1)
    assert sorted(built.restored) == ["s[n=1]", "s[n=2]", "s[n=3]"]
    assert ran(project) == ["4"]
    assert [project.read(f"build/x-{n}") for n in (1, 2, 3, 4)] == [f"one {n}\n" for n in (1, 2, 3, 4)]


def test_metrics_are_restored_and_remembered(project: Folder) -> None:
    text = """
        [s]
        script = "s.py"
        params = ["word"]
        metrics = { m = "build/m.json" }
    """
    project.write({"s.py": "import json, sys\njson.dump({'n': len(sys.argv[4])}, open(sys.argv[2], 'w'))\n"})
    both(project, text, "one", "eleven")
    project.steps(text, word="one")
    assert project.build().restored == ["s"]
    assert project.json("metrics") == {"p.s": {"m": {"n": 3}}}
    old, new = digests(project, 2, 3)
    assert project.json("diff", "2", "3") == [
        {**fact, "step": "p.s"}
        for fact in (
            difference("parameter", "param word", '"eleven"', '"one"'),
            difference("metric", "metric m.n", 6, 3, change=-3.0),
            difference("output", "result build/m.json", old, new, sizes=[8, 8]),
        )
    ]


def test_an_in_place_step_restores(project: Folder) -> None:
    text = """
        [s]
        command = "echo s >> ../ran; echo {params.word} > build/x"
        params = ["word"]
        outputs = { x = "build/x" }
        in_place = true
    """
    both(project, text)
    project.steps(text, word="one")
    assert project.build().restored == ["s"]
    assert (ran(project), project.read("build/x")) == ([], "one\n")
    assert not os.path.exists(project.home.aside) or not os.listdir(project.home.aside)
    assert project.states() == {"s": "fresh"}


@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
def test_every_way_of_linking(project: Folder, link: str) -> None:
    both(project, f"[cache]\nlink = '{link}'\n{CHAIN}")
    for word in ("one", "two", "one"):
        project.steps(f"[cache]\nlink = '{link}'\n{CHAIN}", word=word)
        built = project.build()
        assert built.restored == ["first", "second", "third"]
        assert project.read("build/z/all") == f"{word[0]}\n{word[0]}\n"
    assert (ran(project), set(project.states().values())) == ([], {"fresh"})
    place = project.root / "build" / "x"
    assert (place.is_symlink(), place.stat().st_nlink > 1) == (link == "symlink", link == "hardlink")
    assert os.access(project.root / "build", os.W_OK)


# Staying away.


def test_force_runs(project: Folder) -> None:
    both(project, ONE)
    project.steps(ONE, word="one")
    assert project.build("s", force=True).done == ["s"]
    assert ran(project) == ["s"]


@pytest.mark.parametrize("key", ["reuse = false", "cache = false", "cache = { x = false }"])
def test_a_step_that_is_not_kept_runs(project: Folder, key: str) -> None:
    text = f"{ONE}    {key}\n"
    both(project, text)
    project.steps(text, word="one")
    assert project.states() == {"s": "stale"}
    assert project.build().done == ["s"]
    assert not list(Objects(project.home.cache).all())


def test_no_cache_at_all(project: Folder) -> None:
    text = f"[cache]\nenabled = false\n{ONE}"
    both(project, text)
    project.steps(text, word="one")
    assert project.build().done == ["s"]
    assert not os.path.exists(project.home.cache)


def test_a_cache_that_is_switched_off_restores_nothing(project: Folder) -> None:
    both(project, ONE)
    project.steps(f"[cache]\nenabled = false\n{ONE}", word="one")
    assert project.states() == {"s": "stale"}
    assert project.build().done == ["s"]


def test_a_step_without_outputs_runs(project: Folder) -> None:
    text = """
        [s]
        command = "echo {params.word} >> ../ran"
        params = ["word"]
    """
    both(project, text)
    project.steps(text, word="one")
    assert project.build().done == ["s"]
    assert ran(project) == ["one"]


PARTLY = """
    [s]
    command = "echo s >> ../ran; echo {params.word} > {outputs.x}; echo same > {outputs.big}"
    params = ["word"]
    outputs = { x = "build/x", big = "build/big" }
    cache = { big = false }
"""


def test_an_uncached_output_that_stands_in_its_place_does(project: Folder) -> None:
    both(project, PARTLY)
    assert [size for _, _, size in Objects(project.home.cache).all()] == [4, 4]
    before = os.stat(project.root / "build" / "big").st_ino
    project.steps(PARTLY, word="one")
    assert project.build().restored == ["s"]
    assert (project.read("build/x"), project.read("build/big"), ran(project)) == ("one\n", "same\n", [])
    assert os.stat(project.root / "build" / "big").st_ino == before
    assert project.states() == {"s": "fresh"}


@pytest.mark.parametrize("change", ["gone", "edited"])
def test_an_uncached_output_that_does_not_stand_makes_the_step_run(project: Folder, change: str) -> None:
    both(project, PARTLY)
    if change == "gone":
        (project.root / "build" / "big").unlink()
    else:
        project.write({"build/big": "edited"})
    project.steps(PARTLY, word="one")
    assert project.states() == {"s": "stale"}
    assert project.build().done == ["s"]
    assert (project.read("build/x"), project.read("build/big")) == ("one\n", "same\n")


def test_an_uncached_folder_that_stands_in_its_place_does(project: Folder) -> None:
    text = PARTLY.replace("{outputs.big}", "{outputs.big}in").replace('"build/big"', '"build/big/"')
    both(project, text)
    project.steps(text, word="one")
    assert project.build().restored == ["s"]
    assert (ran(project), project.read("build/big/in"), project.states()) == ([], "same\n", {"s": "fresh"})


def test_facts_that_were_edited_while_they_were_read_give_no_action(project: Folder) -> None:
    """Nobody knows which bytes the step saw, so nobody may be given what it wrote."""
    project.steps("""
        [s]
        command = "cat {inputs.a} > {outputs.x}; [ -e ../calm ] || echo two > a.txt"
        inputs = { a = "a.txt" }
        outputs = { x = "build/x" }
    """)
    project.write({"a.txt": "one\n"})
    assert project.build().summary.edited
    project.write({"../calm": "", "a.txt": "one\n"})
    assert project.states() == {"s": "stale"}
    assert project.build().done == ["s"]
    project.write({"a.txt": "two\n"})
    assert project.build().done == ["s"]
    project.write({"a.txt": "one\n"})
    assert project.build().restored == ["s"]


def test_a_failed_step_gives_no_action(project: Folder) -> None:
    text = ONE.replace("echo {params.word}", "echo {params.word} | grep -v bad")
    both(project, text, "bad", "good")
    project.steps(text, word="bad")
    assert project.states() == {"s": "stale"}
    assert project.build().failed == ["s"]
    assert project.read("build/x") == "good\n"


def test_a_restored_step_whose_object_is_gone_runs(project: Folder) -> None:
    both(project, ONE)
    objects = Objects(project.home.cache)
    for digest, kind, _ in list(objects.all()):
        objects.remove(digest, kind)
    project.steps(ONE, word="one")
    assert project.states() == {"s": "stale"}
    built = project.build()
    assert (built.done, noticed(built)) == (["s"], [])


def test_a_damaged_object_in_a_chain_costs_that_step_alone(project: Folder) -> None:
    both(project, CHAIN)
    objects = Objects(project.home.cache)
    twice = next(d for d, k, size in objects.all() if size == 4 and Path(objects.path(d, k)).read_text() == "o\no\n")
    os.chmod(objects.path(twice), 0o644)
    Path(objects.path(twice)).write_text("o\nO\n")
    project.steps(CHAIN, word="one")
    built = project.build()
    assert built.restored == ["first", "third"], "what `second` wrote again serves `third`, whose file it is, too"
    assert ran(project) == ["second"]
    (told,) = noticed(built)
    assert told == f"second cannot be restored and runs: damaged in the cache, and set aside there: {twice}"
    assert project.read("build/z/all") == "o\no\n"
    assert project.cli("cache", "verify").returncode == 0


# What is told.


def test_it_is_told_everywhere(project: Folder) -> None:
    both(project, CHAIN)
    project.steps(CHAIN, word="one")
    status = project.cli("status").stdout.splitlines()
    assert status[0] == 'restorable  first   param word changed: "two" -> "one"'
    states = project.json("status")
    assert isinstance(states, list)
    assert states[0]["state"] == "restorable"
    assert "first" in project.cli("why", "first").stdout
    assert project.cli("status", "--check").returncode == 3
    told = project.cli().stdout.splitlines()
    assert told[:3] == ["first restored", "second restored", "third restored"]
    assert told[-1].startswith("0 ran, 0 fresh, 3 restored, 0 failed in ")
    runs = project.json("runs")
    assert isinstance(runs, list)
    assert [(run["number"], run["ran"], run["restored"]) for run in runs] == [(3, 0, 3), (2, 3, 0), (1, 3, 0)]
    shown = project.cli("show").stdout
    assert "0 ran, 0 fresh, 3 restored, 0 failed of 3" in shown
    assert shown.count("restored  ") == 3
    steps = project.json("show")
    assert isinstance(steps, dict)
    assert {each["outcome"] for each in steps["step_runs"]} == {"restored"}
    assert project.cli("logs", "first").returncode == 0


def test_a_dry_run_tells_and_restores_nothing(project: Folder) -> None:
    both(project, ONE)
    project.steps(ONE, word="one")
    assert project.cli("-n").stdout.splitlines()[-1] == "dry run: 1 restorable; nothing was run"
    assert project.read("build/x") == "two\n"


def test_a_restored_step_counts_as_its_last_run(project: Folder) -> None:
    both(project, ONE)
    project.steps(ONE, word="one")
    project.build()
    (restored,) = step_runs(project, 3)
    (first,) = step_runs(project, 1)
    assert restored.outcome is Outcome.RESTORED
    assert restored.log == first.log, "its log is that of the run that wrote it"
    assert (restored.facts, restored.outputs) == (first.facts, first.outputs)
    record = project.record("p.s")
    assert record is not None
    assert record.run == 3


# Killed.


def test_a_kill_while_restoring_leaves_whole_states(project: Folder) -> None:
    text = """
        [s]
        command = "yes {params.word} | head -c 50000000 | tee {outputs.x} > {outputs.d}f"
        params = ["word"]
        outputs = { x = "build/x", d = "build/d/" }
    """
    both(project, text)
    words = ["one", "two"]
    for attempt in range(6):
        project.steps(text, word=words[attempt % 2])
        build = project.start()
        staging = Path(project.home.staging)
        until(lambda: _holds_a_file(staging) or build.poll() is not None, "the first bytes to come")  # noqa: B023
        kill(build.pid)
        build.wait()
        for name in ("x", "d/f"):
            content = (project.root / "build" / name).read_bytes()
            assert len(content) == 50_000_000
            assert content[:4] in (b"one\n", b"two\n")
            assert content == (content[:4] * 12_500_000), "one word throughout"
    assert project.build().restored in (["s"], [])
    assert project.states() == {"s": "fresh"}


def _holds_a_file(folder: Path) -> bool:
    try:
        return any(path.is_file() for path in folder.rglob("*"))
    except OSError:
        return False


def step_runs(project: Folder, run: int) -> list[StepRun]:
    connection = connect(project.home, create=False)
    try:
        return Runs(connection).steps_of(run)
    finally:
        connection.close()


def digests(project: Folder, *runs: int) -> list[str]:
    """The digest of the one output of a step in each of some runs."""
    return [step_runs(project, run)[0].outputs[0].digest for run in runs]


def difference(
    kind: str, what: str, old: object, new: object, change: float | None = None, sizes: list[int] | None = None
) -> dict[str, object]:
    """As `diff --json` tells it, without the step."""
    return {"kind": kind, "what": what, "old": old, "new": new, "change": change, "sizes": sizes}
