"""What a build runs and what it leaves alone: cut-off, shapes of graphs, order, force, salts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from mlmake.engine.request import variables
from mlmake.errors import MissingInputError, UsageError
from mlmake.model.events import Ended, Planned, StepStarted
from mlmake.model.reason import State
from mlmake.model.template import Call
from projects import Folder

DIAMOND = """
[top]
command = "cat {inputs.x} > {outputs.y}; echo top >> ../ran"
inputs = { x = "x.txt" }
outputs = { y = "build/top" }
[left]
command = "head -n 1 {inputs.top} > {outputs.y}; echo left >> ../ran"
inputs = { top = "@top" }
outputs = { y = "build/left" }
[right]
command = "wc -l < {inputs.top} > {outputs.y}; echo right >> ../ran"
inputs = { top = "@top" }
outputs = { y = "build/right" }
[bottom]
command = "cat {inputs.both} > {outputs.y}; echo bottom >> ../ran"
inputs = { both = ["@left", "@right"] }
outputs = { y = "build/bottom" }
"""


@pytest.fixture
def diamond(project: Folder) -> Folder:
    project.steps(DIAMOND)
    project.write({"x.txt": "one\ntwo\n"})
    assert project.build().started[0] == "top"
    assert sorted(project.log("../ran")) == ["bottom", "left", "right", "top"]
    assert project.log("../ran")[-1] == "bottom"
    (project.root / "../ran").unlink()
    return project


def test_a_diamond_is_built_once_and_then_fresh(diamond: Folder) -> None:
    assert diamond.read("build/bottom").split() == ["one", "2"]
    built = diamond.build()
    assert built.started == []
    assert (built.summary.ran, built.summary.fresh) == (0, 4)
    assert built.summary.run is None
    assert set(diamond.states().values()) == {"fresh"}


def test_equal_bytes_leave_followers_fresh(diamond: Folder) -> None:
    diamond.write({"x.txt": "one\nother\n"})  # the first line and the count of lines are as they were
    assert diamond.states() == {"top": "stale", "left": "maybe", "right": "maybe", "bottom": "maybe"}
    built = diamond.build()
    assert sorted(diamond.log("../ran")) == ["left", "right", "top"]
    assert built.spared == ["bottom"]
    assert (built.summary.ran, built.summary.fresh) == (3, 1)
    assert set(diamond.states().values()) == {"fresh"}


def test_equal_bytes_on_one_side_do_not_spare_what_the_other_changes(diamond: Folder) -> None:
    diamond.write({"x.txt": "new\ntwo\n"})
    built = diamond.build()
    assert sorted(diamond.log("../ran")) == ["bottom", "left", "right", "top"]
    assert diamond.read("build/bottom").split() == ["new", "2"]
    assert built.reasons("bottom") == ["input both changed"]


def test_equal_bytes_at_the_top_spare_all(diamond: Folder) -> None:
    os.utime(diamond.root / "x.txt", (1, 1))
    assert set(diamond.states().values()) == {"fresh"}
    diamond.toml(diamond.read("pipelines.toml").replace("echo top", "echo  top"))
    built = diamond.build()
    assert built.started == ["top"]
    assert sorted(built.spared) == ["bottom", "left", "right"]


def test_names_tags_and_descriptions_are_no_facts(diamond: Folder) -> None:
    described = "[pipelines.p.steps.top]\ndescription = 'x'\ntags = ['a']\nretries = 3\ntimeout = '1h'"
    diamond.toml(diamond.read("pipelines.toml").replace("[pipelines.p.steps.top]", described))
    assert set(diamond.states().values()) == {"fresh"}


def test_a_lost_output_is_made_again_and_spares_the_rest(diamond: Folder) -> None:
    (diamond.root / "build/top").unlink()
    assert diamond.reasons("top") == ["output build/top is missing"]
    built = diamond.build()
    assert built.restored == ["top"]
    assert (built.summary.restored, built.summary.fresh) == (1, 3)


def test_an_output_that_somebody_changed_is_made_again(diamond: Folder) -> None:
    diamond.write({"build/left": "mine"})
    assert diamond.reasons("left") == ["output build/left is not what the last run wrote"]
    built = diamond.build()
    assert built.restored == ["left"]
    assert diamond.read("build/left") == "one\n"


def test_an_output_of_equal_size_and_time_is_still_noticed(diamond: Folder) -> None:
    path = diamond.root / "build/left"
    status = path.stat()
    path.write_text("eno\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert diamond.build().restored == ["left"]


def test_only_what_is_asked_for_and_what_it_needs(project: Folder) -> None:
    project.steps(DIAMOND)
    project.write({"x.txt": "one\n"})
    assert project.build("left").started == ["top", "left"]
    assert project.build("build/right").started == ["right"]
    assert project.build("p.bottom").started == ["bottom"]
    assert project.build("p").started == []
    with pytest.raises(UsageError, match="did you mean 'bottom'"):
        project.build("botom")


def test_a_dry_run_runs_nothing_and_writes_nothing(project: Folder) -> None:
    project.steps(DIAMOND)
    project.write({"x.txt": "one\n"})
    built = project.build(dry_run=True)
    (planned,) = built.of(Planned)
    assert [verdict.state for verdict in planned.verdicts.values()] == [State.STALE] * 4
    assert built.of(StepStarted) == []
    assert not project.has(".mlmake")


def test_force_runs_what_is_named_and_nothing_before_it(diamond: Folder) -> None:
    built = diamond.build("left", force=True)
    assert built.started == ["left"]
    assert built.reasons("left") == ["forced"]
    assert diamond.build("p", force=True).started[0] == "top"
    assert sorted(diamond.log("../ran")) == ["bottom", "left", "left", "right", "top"]


def test_force_tells_the_other_reasons_too(diamond: Folder) -> None:
    diamond.write({"x.txt": "1\n"})
    assert diamond.build("top", force=True).reasons("top") == ["forced", "input x changed"]


def test_a_salt_makes_stale(project: Folder) -> None:
    for salt in ("", 'version = "a"', "version = 2", 'version = "2"', ""):
        project.steps(f"""
            [one]
            command = "echo 1 >> ../log; echo 1 > {{outputs.x}}"
            outputs = {{ x = "build/x" }}
            {salt}
        """)
        project.build()
    assert len(project.log("../log")) == 3  # 2 and "2" are the same salt, and the last one was there before


def test_reuse_false_always_runs_and_its_followers_only_on_other_bytes(project: Folder) -> None:
    project.write({"now": "1"})
    project.steps("""
        [clock]
        command = "cat now > {outputs.x}"
        outputs = { x = "build/clock" }
        reuse = false
        [next]
        command = "cat {inputs.x} > {outputs.y}"
        inputs = { x = "@clock" }
        outputs = { y = "build/next" }
    """)
    assert project.build().started == ["clock", "next"]
    assert project.states() == {"clock": "stale", "next": "maybe"}
    built = project.build()
    assert built.started == ["clock"]
    assert built.reasons("clock") == ["reuse = false: it always runs"]
    assert built.spared == ["next"]
    project.write({"now": "2"})
    assert project.build().started == ["clock", "next"]


def test_after_is_order_without_data(project: Folder) -> None:
    project.steps("""
        [report]
        command = "cat ../first > {outputs.x}"
        outputs = { x = "build/report" }
        after = ["setup"]
        [setup]
        command = "sleep 0.2; date +%N > ../first"
    """)
    built = project.build()
    assert built.started == ["setup", "report"]
    assert project.has("build/report")
    built = project.build("report", force=True)
    assert built.started == ["report"]
    built = project.build("setup", force=True)
    assert project.states() == {"report": "fresh", "setup": "fresh"}
    assert built.started == ["setup"]


def test_after_a_failure_what_comes_after_is_blocked(project: Folder) -> None:
    project.steps("""
        [setup]
        command = "exit 1"
        [report]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/report" }
        after = ["setup"]
    """)
    built = project.build(keep_going=True)
    assert built.started == ["setup"]
    assert built.summary.blocked == 1


def test_a_fan_in_of_200(project: Folder) -> None:
    project.steps(f"""
        [part]
        command = "echo {{matrix.n}} > {{outputs.x}}"
        matrix = {{ n = {list(range(200))} }}
        outputs = {{ x = "build/parts/{{matrix.n}}" }}
        [sum]
        command = "cat {{inputs.all}} > {{outputs.total}}"
        inputs = {{ all = "@part" }}
        outputs = {{ total = "build/sum" }}
    """)
    built = project.build()
    assert len(built.done) == 201
    assert built.done[-1] == "sum"
    assert project.log("build/sum") == [str(n) for n in range(200)]
    assert project.build().started == []
    project.write({"build/parts/77": "changed\n"})
    built = project.build()
    assert built.restored == ["part[n=77]"]
    assert built.spared == ["sum"]


def test_a_fan_in_too_long_for_a_variable(project: Folder) -> None:
    """Thousands of inputs must not keep a step from starting: their list is left out of the environment."""
    name = "n" * 200
    project.write({f"data/{name}{n}": "" for n in range(700)})
    project.write({"count.py": "import os, sys; open(sys.argv[-1], 'w').write(f'{len(sys.argv)} {len(os.environ)}')"})
    project.steps("""
        [count]
        script = "count.py"
        inputs = { files = "data/*" }
        outputs = { n = "build/n" }
    """)
    assert project.build().done == ["count"]
    assert project.read("build/n").split()[0] == "704"


def test_a_chain_of_500(project: Folder) -> None:
    links = [
        f"[s{n}]\ncommand = '''cat {{inputs.x}} > {{outputs.y}}; echo {n} >> {{outputs.y}}'''\n"
        f'inputs = {{ x = "{f"@s{n - 1}" if n else "x.txt"}" }}\noutputs = {{ y = "build/{n}" }}'
        for n in range(500)
    ]
    project.write({"x.txt": "start\n"})
    project.steps("\n".join(reversed(links)))  # from the last to the first, as people do not write them
    built = project.build()
    assert built.done == [f"s{n}" for n in range(500)]
    assert project.log("build/499") == ["start", *map(str, range(500))]
    assert project.build().summary.fresh == 500
    project.write({"build/250": "changed"})
    built = project.build()
    assert built.restored == ["s250"]
    assert len(built.spared) == 249


def test_every_combination_of_a_matrix_is_a_step_of_its_own(project: Folder) -> None:
    project.steps("""
        [fit]
        command = "echo {matrix.a} {matrix.b} > {outputs.x}"
        matrix = { a = [1, 2], b = ["x", "y z"] }
        outputs = { x = "build/{matrix.a}-{matrix.b}" }
    """)
    assert project.build("fit[a=1]").done == ["fit[a=1,b=x]", "fit[a=1,b=y z]"]
    assert project.build("fit[a=2,b=y z]").done == ["fit[a=2,b=y z]"]
    assert project.build().done == ["fit[a=2,b=x]"]
    assert project.read("build/2-y z") == "2 y z\n"


def test_an_input_that_nobody_makes_stops_the_build_before_it_starts(project: Folder) -> None:
    text = """
        [one]
        command = "cat {inputs.x} > {outputs.y}"
        inputs = { x = "nowhere.csv" }
        outputs = { y = "build/y" }
        [two]
        command = "echo > {outputs.z}"
        outputs = { z = "build/z" }
        [three]
        command = "cat {inputs.y} > {outputs.w}"
        inputs = { y = "@one" }
        outputs = { w = "build/w" }
    """
    project.steps(text)
    with pytest.raises(MissingInputError, match=r"step one: input x is missing: nowhere\.csv"):
        project.build()
    assert not project.has("build/z")
    built = project.build(keep_going=True)
    assert built.done == ["two"]
    assert built.summary.blocked == 2
    assert project.states() == {"one": "blocked", "two": "fresh", "three": "blocked"}


def test_the_environment_of_a_step(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMAKE_LEFT_OVER", "1")
    monkeypatch.setenv("OWN", "a 'b'")
    code = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv, os.getcwd(), sys.executable]))"
    project.write({"show.py": f"open(__import__('os').environ['MLMAKE_OUTPUT_X'], 'w').close(); {code}", "a b": "1"})
    project.toml("""
        [pipelines.p]
        params = { seed = 7, list = [1, "a b"], model = { depth = 3, deep = true } }
        [pipelines.p.steps.show]
        script = "show.py"
        matrix = { fold = ["ü 1"] }
        inputs = { the-file = "a b", none = [] }
        outputs = { x = "build/x-{matrix.fold}/" }
        params = ["seed", "list", "model"]
    """)
    built = project.build()
    assert built.failed == ["show[fold=ü 1]"]  # the output is a folder, and the script opens it as a file
    project.toml(project.read("pipelines.toml").replace('}/" }', '}" }'))
    built = project.build()
    env, argv, folder, python = json.loads(project.read(built.of(StepStarted)[0].log))
    staged = ".mlmake/staging/"
    assert folder == str(project.root)
    assert python == sys.executable
    assert argv[1:5] == ["--the-file", "a b", "--none", "--x"]
    assert argv[5].startswith(staged)
    assert argv[6:] == [
        *["--seed", "7", "--list", "1", "a b", "--model-depth", "3", "--model-deep", "true", "--fold", "ü 1"]
    ]
    mine = {name: value for name, value in env.items() if name.startswith("MLMAKE_")}
    assert mine.pop("MLMAKE_OUTPUT_X") == argv[5]
    assert mine.pop("MLMAKE_BUILD").startswith(f"{project.root}:")
    assert mine.pop("MLMAKE_KEEP") == project.home.keep(int(mine.pop("MLMAKE_RUN")), mine.pop("MLMAKE_STEP"))
    assert mine == {
        "MLMAKE_INPUTS": '["the-file", "none"]',
        "MLMAKE_INPUT_THE_FILE": "a b",
        "MLMAKE_INPUT_NONE": "",
        "MLMAKE_PARAM_SEED": "7",
        "MLMAKE_PARAM_LIST": '[1, "a b"]',
        "MLMAKE_PARAM_MODEL_DEPTH": "3",
        "MLMAKE_PARAM_MODEL_DEEP": "true",
        "MLMAKE_MATRIX_FOLD": "ü 1",
    }
    assert env["OWN"] == "a 'b'"


def test_several_paths_stand_a_line_each() -> None:
    call = Call(python="", inputs={"x": ("a", "b c")}, outputs={}, params={}, matrix={}, env={})
    assert variables(call) == {"MLMAKE_INPUT_X": "a\nb c"}


def test_the_last_event_is_the_summary(diamond: Folder) -> None:
    built = diamond.build()
    assert built.events[-1] == Ended(built.summary)


def test_a_step_cannot_build_its_own_project(project: Folder) -> None:
    """It would wait for the lock of the build that it is a part of, for ever."""
    project.steps(f"""
        [inner]
        command = "{sys.executable} -m mlmake other; exit $?"
        [other]
        command = "true"
    """)
    built = project.build("inner")
    assert built.failed == ["inner"]
    log = project.read(built.of(StepStarted)[0].log)
    assert "cannot build its own project" in log


def test_a_step_may_build_another_project(project: Folder, tmp_path: Path) -> None:
    inner = Folder(tmp_path / "inner")
    inner.write({"pipelines.toml": "[pipelines.p.steps.x]\ncommand = 'echo 1 > {outputs.y}'\noutputs.y = 'y'"})
    project.steps(f"""
        [outer]
        command = "{sys.executable} -m mlmake -C {inner.root}"
    """)
    assert project.build().done == ["outer"]
    assert inner.read("y") == "1\n"
