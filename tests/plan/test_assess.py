"""Whole pipelines judged at once, each step after those before it, by what is on disk."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from mlmake.engine.look import look
from mlmake.model.reason import Cause, Reason, State, Verdict
from mlmake.plan.assess import Assessor
from mlmake.state.cache import Cache
from mlmake.state.database import connect
from mlmake.state.digests import Digests
from mlmake.state.fingerprint import Fingerprints
from mlmake.state.records import Records
from mlmake.state.runs import Runs
from projects import Folder

CHAIN = """
    [a]
    command = "cat {inputs.x} > {outputs.x}"
    inputs = { x = "x.txt" }
    outputs = { x = "build/a" }
    [b]
    command = "wc -c < {inputs.x} > {outputs.x}"
    inputs = { x = "@a" }
    outputs = { x = "build/b" }
    [c]
    command = "cat {inputs.x} {inputs.y} > {outputs.x}"
    inputs = { x = "@b", y = "y.txt" }
    outputs = { x = "build/c" }
    [later]
    command = "echo > {outputs.x}"
    after = ["c"]
    outputs = { x = "build/later" }
"""


@pytest.fixture
def chain(project: Folder) -> Folder:
    """a -> b -> c, and one after c; all built."""
    project.steps(CHAIN)
    project.write({"x.txt": "1", "y.txt": "1"})
    assert project.build().done == ["a", "b", "c", "later"]
    assert set(project.states().values()) == {"fresh"}
    return project


def states(project: Folder) -> str:
    """The states in the order of the file, by their first letters."""
    found = project.states()
    return " ".join(f"{name}:{found[name]}" for name in sorted(found) if found[name] != "fresh")


def test_before_the_first_build_all_is_stale(project: Folder) -> None:
    project.steps(CHAIN)
    project.write({"x.txt": "1", "y.txt": "1"})
    assert set(project.states().values()) == {"stale"}
    assert project.reasons("c") == ["never ran"]


EDITS: list[tuple[str, Callable[[Folder], object], str, str]] = [
    ("input", lambda p: p.write({"x.txt": "2"}), "a:stale b:maybe c:maybe", "input x changed"),
    (
        "output edited",
        lambda p: p.write({"build/a": "9"}),
        "a:restorable b:maybe c:maybe",
        "output build/a is not what",
    ),
    (
        "output emptied",
        lambda p: p.write({"build/a": ""}),
        "a:restorable b:maybe c:maybe",
        "output build/a is not what",
    ),
    (
        "output gone",
        lambda p: os.unlink(p.root / "build/a"),
        "a:restorable b:maybe c:maybe",
        "output build/a is missing",
    ),
    ("input of the end", lambda p: p.write({"y.txt": "2"}), "c:stale", ""),
    ("both ends", lambda p: p.write({"x.txt": "2", "y.txt": "2"}), "a:stale b:maybe c:stale", "input x changed"),
    ("output of the middle", lambda p: p.write({"build/b": "9"}), "b:restorable c:maybe", ""),
    ("the last", lambda p: p.write({"build/later": "9"}), "later:restorable", ""),
    ("touched", lambda p: os.utime(p.root / "x.txt", (1, 1)), "", ""),
    ("same content", lambda p: p.write({"x.txt": "1", "build/a": "1"}), "", ""),
]


@pytest.mark.parametrize(("edit", "expected", "reason"), [each[1:] for each in EDITS], ids=[each[0] for each in EDITS])
def test_what_an_edit_makes_of_a_chain(
    chain: Folder, edit: Callable[[Folder], object], expected: str, reason: str
) -> None:
    edit(chain)
    assert states(chain) == expected
    if reason:
        assert chain.reasons("a")[0].startswith(reason)
        assert len(chain.reasons("a")) == 1
    chain.build()
    assert states(chain) == ""


def test_a_step_that_waits_says_for_whom(chain: Folder) -> None:
    chain.write({"x.txt": "2"})
    assert chain.reasons("b") == ["waits for a"]
    assert chain.reasons("c") == ["waits for b"]
    assert chain.reasons("later") == []


def test_equal_bytes_leave_those_behind_fresh(chain: Folder) -> None:
    chain.write({"x.txt": "2"})  # b counts bytes: still one
    built = chain.build()
    assert (built.done, built.spared) == (["a", "b"], ["c"])


def test_an_edit_that_is_taken_back_was_none(chain: Folder) -> None:
    chain.write({"x.txt": "2"})
    chain.write({"x.txt": "1"})
    assert states(chain) == ""
    assert chain.build().done == []


def test_a_missing_input_blocks_what_needs_it(chain: Folder) -> None:
    os.unlink(chain.root / "x.txt")
    assert states(chain) == "a:blocked b:blocked c:blocked"
    assert chain.reasons("a") == ["input x is missing: x.txt"]
    assert chain.reasons("b") == ["step a is blocked"]
    chain.write({"build/later": "9"})
    assert states(chain) == "a:blocked b:blocked c:blocked later:blocked"
    assert chain.reasons("later") == ["step c is blocked"]


def test_a_missing_input_of_a_step_blocks_only_what_comes_behind_it(chain: Folder) -> None:
    os.unlink(chain.root / "y.txt")
    chain.write({"x.txt": "2"})
    assert states(chain) == "a:stale b:maybe c:blocked"


def test_a_step_that_may_run_after_a_blocked_one_is_blocked(project: Folder) -> None:
    project.steps("""
        [a]
        command = "cat {inputs.x} > {outputs.x}"
        inputs = { x = "x.txt" }
        outputs = { x = "a" }
        [b]
        command = "cat {inputs.x} > {outputs.x}"
        inputs = { x = "y.txt" }
        outputs = { x = "b" }
        [c]
        command = "cat {inputs.x} > {outputs.x}"
        inputs = { x = "@a" }
        outputs = { x = "c" }
        after = ["b"]
    """)
    project.write({"x.txt": "1", "y.txt": "1"})
    project.build()
    project.write({"x.txt": "2"})
    os.unlink(project.root / "y.txt")
    assert project.states() == {"a": "stale", "b": "blocked", "c": "blocked"}
    built = project.build(keep_going=True)
    assert built.done == ["a"]
    assert project.read("c") == "1"


def test_a_step_without_reuse_always_runs_and_its_followers_wait(project: Folder) -> None:
    project.steps("""
        [a]
        command = "echo 1 > {outputs.x}"
        reuse = false
        outputs = { x = "a" }
        [b]
        command = "cat {inputs.x} > {outputs.x}"
        inputs = { x = "@a" }
        outputs = { x = "b" }
    """)
    assert project.build().done == ["a", "b"]
    assert project.states() == {"a": "stale", "b": "maybe"}
    assert project.reasons("a") == ["reuse = false: it always runs"]
    built = project.build()
    assert (built.done, built.spared) == (["a"], ["b"])


def test_a_glob_waits_for_each_of_its_makers(project: Folder) -> None:
    project.steps("""
        [a]
        command = "cat {inputs.x} > {outputs.x}"
        matrix = { n = [1, 2] }
        inputs = { x = "{matrix.n}.txt" }
        outputs = { x = "build/{matrix.n}" }
        [b]
        command = "cat {inputs.x} > {outputs.x}"
        inputs = { x = "build/*" }
        outputs = { x = "b" }
        [c]
        command = "ls {inputs.x} > {outputs.x}"
        inputs = { x = "build/" }
        outputs = { x = "c" }
    """)
    project.write({"1.txt": "1", "2.txt": "2"})
    project.build()
    project.write({"2.txt": "3"})
    assert project.states() == {"a[n=1]": "fresh", "a[n=2]": "stale", "b": "maybe", "c": "maybe"}
    assert project.reasons("b") == ["waits for a[n=2]"]
    assert sorted(project.build().done) == ["a[n=2]", "b", "c"]
    project.write({"build/3": "by hand"})
    assert project.states() == {"a[n=1]": "fresh", "a[n=2]": "fresh", "b": "stale", "c": "stale"}


def test_an_input_renamed_while_its_maker_is_stale_makes_a_step_stale_at_once(chain: Folder) -> None:
    chain.write({"x.txt": "2"})
    chain.steps(CHAIN.replace('{ x = "@a" }', '{ z = "@a" }').replace("wc -c < {inputs.x}", "wc -c < {inputs.z}"))
    assert states(chain) == "a:stale b:stale c:maybe"
    assert set(chain.reasons("b")) == {"args changed", "input x is gone", "input z is new"}


def test_a_parameter_that_is_gone_makes_a_step_stale_although_it_waits(chain: Folder) -> None:
    with_param = CHAIN.replace('inputs = { x = "@a" }', 'inputs = { x = "@a" }\n    version = 1')
    chain.steps(with_param)
    chain.build()
    chain.write({"x.txt": "2"})
    chain.steps(CHAIN)
    assert states(chain) == "a:stale b:stale c:maybe"
    assert chain.reasons("b") == ["version is gone"]


def test_forced_steps_are_stale_and_keep_their_own_reasons(chain: Folder) -> None:
    project = chain.load()
    connection = connect(chain.home, create=False)
    ledger = look(project, connection)
    verdicts = ledger.assess(project.steps.values(), {"p.b"})
    assert [verdicts[f"p.{step}"].state for step in ("a", "b", "c", "later")] == [
        State.FRESH,
        State.STALE,
        State.MAYBE,
        State.FRESH,
    ]
    assert verdicts["p.b"].reasons == (Reason(cause=Cause.FORCED),)
    chain.write({"build/b": "9"})
    verdicts = look(project, connection).assess(project.steps.values(), {"p.b"})
    assert [reason.cause for reason in verdicts["p.b"].reasons] == [Cause.FORCED, Cause.OUTPUT_CHANGED]


def test_a_forced_step_whose_input_is_missing_is_blocked(chain: Folder) -> None:
    os.unlink(chain.root / "y.txt")
    project = chain.load()
    verdicts = look(project, connect(chain.home, create=False)).assess(project.steps.values(), {"p.c"})
    assert verdicts["p.c"].state is State.BLOCKED


def test_steps_that_are_not_asked_for_count_as_settled(chain: Folder) -> None:
    chain.write({"x.txt": "2"})
    project = chain.load()
    ledger = look(project, connect(chain.home, create=False))
    assert ledger.assess([project.steps["p.b"], project.steps["p.c"]]) == {
        "p.b": Verdict(state=State.FRESH),
        "p.c": Verdict(state=State.FRESH),
    }


def test_reasons_for_a_step_that_is_settled(chain: Folder) -> None:
    project = chain.load()
    connection = connect(chain.home, create=False)
    digests = Digests(connection)
    looker = Fingerprints(project, digests, connection)
    assessor = Assessor(
        project, Records(connection), digests, looker, Cache(chain.home, project.cache, connection), Runs(connection)
    )
    step = project.steps["p.b"]
    assert assessor.reasons(step) == ()
    chain.write({"build/a": "longer"})
    assert [str(reason) for reason in assessor.reasons(step)] == ["input x changed"]
    assert assessor.contents(step, None) == {}
    assert list(assessor.contents(step, Records(connection).get("p.b"))) == ["build/b"]


def test_outputs_that_are_folders(project: Folder) -> None:
    project.steps("""
        [a]
        command = "mkdir -p {outputs.d}/in; echo 1 > {outputs.d}/in/x; echo 2 > {outputs.d}/y"
        outputs = { d = "build/d/" }
        [b]
        command = "cat {inputs.x} > {outputs.x}"
        inputs = { x = "build/d/in/x" }
        outputs = { x = "b" }
    """)
    project.build()
    assert set(project.states().values()) == {"fresh"}
    for edit in (
        lambda: project.write({"build/d/more": ""}),
        lambda: os.unlink(project.root / "build/d/y"),
        lambda: project.write({"build/d/in/x": "9"}),
        lambda: (project.root / "build/d").rename(project.root / "build/away"),
    ):
        edit()
        assert project.states() == {"a": "restorable", "b": "maybe"}
        assert project.build().restored == ["a"]
        assert set(project.states().values()) == {"fresh"}


def test_states_are_the_same_for_each_combination_judged_alone(project: Folder) -> None:
    project.steps("""
        [a]
        command = "cat {inputs.x} > {outputs.x}"
        matrix = { n = [1, 2, 3] }
        inputs = { x = "{matrix.n}.txt" }
        outputs = { x = "build/{matrix.n}" }
    """)
    project.write({f"{n}.txt": str(n) for n in (1, 2, 3)})
    project.build()
    project.write({"2.txt": "edited"})
    os.unlink(project.root / "3.txt")
    assert project.states() == {"a[n=1]": "fresh", "a[n=2]": "stale", "a[n=3]": "blocked"}
