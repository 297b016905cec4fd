"""Whole builds whose steps run on a host: a real sshd of this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from hosts import Door
from mlmake.model.events import Noticed, StepRetried, StepStarted
from mlmake.transports.agent import guard
from projects import Folder, kill, until
from servers import free_port

FOREVER = "while :; do sleep 0.05; done"


def jobs(root: Path) -> list[str]:
    return os.listdir(root / "jobs") if (root / "jobs").exists() else []


def targets(events: list[StepStarted]) -> dict[str, str]:
    return {event.step.partition(".")[2]: event.target for event in events}


PIPELINE = """
    [clean]
    script = "steps/clean.py"
    inputs = { raw = "data/raw.csv" }
    outputs = { table = "build/clean.csv" }

    [fit]
    script = "steps/fit.py"
    matrix = { fold = [0, 1, 2] }
    inputs = { table = "@clean.table" }
    params = ["seed"]
    outputs = { model = "build/model-{matrix.fold}.txt", extra = "build/extra-{matrix.fold}/" }
    metrics = { scores = "build/scores-{matrix.fold}.json" }
    compute = "box"

    [report]
    command = "cat {inputs.models} > {outputs.page}; hostname >> /dev/null"
    inputs = { models = "@fit.model", extras = "@fit.extra" }
    outputs = { page = "build/report.txt" }
"""
CLEAN = """
import sys
from shared import upper
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
open(args["--table"], "w").write(upper(open(args["--raw"]).read()))
"""
FIT = """
import json, os, sys
from shared import upper
from lib.deep import double
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
text = open(args["--table"]).read()
open(args["--model"], "w").write(f"{double(text)} {args['--fold']} {args['--seed']}\\n")
os.makedirs(args["--extra"], exist_ok=True)
open(os.path.join(args["--extra"], "x"), "w").write(args["--fold"])
json.dump({"score": len(text)}, open(args["--scores"], "w"))
"""


def pipeline(project: Folder, compute: str = "box") -> None:
    project.steps(PIPELINE.replace('"box"', f'"{compute}"'), seed=7)
    project.write(
        {
            "data/raw.csv": "a,b\n",
            "steps/clean.py": CLEAN,
            "steps/fit.py": FIT,
            "steps/shared.py": "def upper(text):\n    return text.upper()\n",
            "src/lib/__init__.py": "",
            "src/lib/deep.py": "def double(text):\n    return text + text\n",
        }
    )


def test_some_here_some_there(far: Folder, root: Path) -> None:
    pipeline(far)
    built = far.build()
    assert built.failed == []
    names = ["clean", "fit[fold=0]", "fit[fold=1]", "fit[fold=2]", "report"]
    assert sorted(built.done) == names
    ran = targets(built.of(StepStarted))
    assert {ran[name] for name in names if name.startswith("fit")} == {"box"}
    assert ran["clean"] == ran["report"] == "local"
    assert far.read("build/report.txt") == "".join(f"A,B\nA,B\n {fold} 7\n" for fold in range(3))
    assert far.read("build/extra-2/x") == "2"
    assert far.build().done == []
    assert set(far.states().values()) == {"fresh"}
    until(lambda: jobs(root) == [], "the host forgets what was fetched")
    far.write({"steps/fit.py": FIT + "# edited\n"})
    again = far.build()
    assert sorted(again.done) == names[1:4]
    assert again.reasons("fit[fold=1]") == ["code steps/fit.py changed"]


def test_a_host_gives_what_this_machine_gives(far: Folder, tmp_path: Path) -> None:
    pipeline(far)
    far.build()
    here = Folder(tmp_path / "here")
    here.root.mkdir()
    here.head = far.head
    pipeline(here, "local")
    here.build()
    for name in ("build/report.txt", "build/scores-1.json", "build/model-2.txt"):
        assert far.read(name) == here.read(name)


def test_moving_a_step_leaves_it_fresh(far: Folder) -> None:
    pipeline(far, "local")
    far.build()
    pipeline(far, "box")
    assert far.build().started == []
    far.write({"data/raw.csv": "c,d\n"})
    assert len(far.build().done) == 5
    pipeline(far, "local")
    assert far.build().started == []


def test_only_what_is_declared_travels(far: Folder, root: Path) -> None:
    far.write(
        {
            "steps/look.py": "import os\nimport used\nfor top, _, names in os.walk('.'):\n"
            "    for name in names: print(os.path.join(top, name))\n"
            "open(os.environ['MLMAKE_OUTPUT_X'], 'w').write('1')\n",
            "steps/used.py": "",
            "steps/unused.py": "",
            "secret.env": "KEY=1",
            ".git/config": "",
            ".gitignore": "ignored\n",
            "ignored": "",
            "data/declared": "",
            "data/other": "",
            "globbed/a.txt": "",
            "globbed/b.txt": "",
            "globbed/c.dat": "",
            "folder/deep/x": "",
            "folder/.git": "",
        }
    )
    far.steps("""
        [look]
        script = "steps/look.py"
        args = []
        inputs = { one = "data/declared", many = "globbed/*.txt", folder = "folder/" }
        outputs = { x = "build/x" }
        compute = "box"
    """)
    built = far.build()
    assert built.done == ["look"], built.message("look")
    log = (far.root / built.of(StepStarted)[0].log).read_text().split()
    assert sorted(name for name in log if "__pycache__" not in name) == [
        "./.mlmake/inside/mlmake/__init__.py",
        "./.mlmake/inside/mlmake/table.py",
        "./data/declared",
        "./folder/.git",
        "./folder/deep/x",
        "./globbed/a.txt",
        "./globbed/b.txt",
        "./steps/look.py",
        "./steps/used.py",
    ]


def test_data_from_outside_the_project(far: Folder, tmp_path: Path) -> None:
    (tmp_path / "lake/deep").mkdir(parents=True)
    (tmp_path / "lake/one.txt").write_text("one")
    (tmp_path / "lake/deep/two.txt").write_text("two")
    far.head += f'[datastores]\nlake = "{tmp_path}/lake"\nfar = "memory://far-host-builds"\n'
    far.steps(
        """
        [read]
        command = "cat {inputs.one} {inputs.deep}two.txt > {outputs.both}; echo $MLMAKE_INPUT_ONE"
        inputs = { one = "lake://one.txt", deep = "lake://deep/" }
        outputs = { both = "lake://out/both.txt" }
        compute = "box"

        [next]
        command = "cat {inputs.both} > {outputs.x}"
        inputs = { both = "@read" }
        outputs = { x = "build/x" }
        compute = "box"
    """.replace("{inputs.deep}two.txt", "{inputs.deep}/two.txt")
    )
    built = far.build()
    assert built.failed == []
    assert (tmp_path / "lake/out/both.txt").read_text() == "onetwo"
    assert far.read("build/x") == "onetwo"
    assert far.build().started == []


def test_a_folder_of_just_the_files_that_were_named(far: Folder, tmp_path: Path) -> None:
    """`mode = "folder"` hands over the same here and there."""
    (tmp_path / "lake/deep").mkdir(parents=True)
    for name in ("one.csv", "one.txt", "deep/two.csv"):
        (tmp_path / "lake" / name).write_text(name)
    far.write({"data/own.csv": "own", "data/other.csv": "other"})
    far.head += f'[datastores]\nlake = "{tmp_path}/lake"\n'
    table = """
        command = "for f in {inputs.lake} {inputs.own}; do (cd $f && find -L . | sort); done > {outputs.x}"
        inputs.lake = { path = "lake://**/*.csv", mode = "folder" }
        inputs.own = { path = ["data/own.csv", "@first"], mode = "folder" }
        outputs = { x = "build/NAME" }
    """
    far.steps(
        '[first]\ncommand = "mkdir {outputs.d}/in; echo 1 > {outputs.d}/in/x"\noutputs = { d = "build/d/" }\n'
        f"[here]\n{table}\n[there]\n{table}\ncompute = 'box'".replace("NAME", "here", 1).replace("NAME", "there", 1)
    )
    assert far.build().done == ["first", "here", "there"]
    found = far.log("build/here")
    assert found == [".", "./deep", "./deep/two.csv", "./one.csv", *(".", "./build", "./build/d", "./build/d/in"),
                     "./build/d/in/x", "./data", "./data/own.csv"]  # fmt: skip
    assert far.log("build/there") == found
    assert far.build().started == []
    (tmp_path / "lake/deep/two.csv").write_text("changed")
    assert far.build().done == ["here", "there"]
    assert list((far.root / ".mlmake/staging").glob("*/*")) == []


def test_a_folder_of_nothing(far: Folder) -> None:
    step = 'command = "ls -A {inputs.x} | wc -l > {outputs.y}"\ninputs.x = { path = [], mode = "folder" }\n'
    there = "outputs = { y = 'build/there' }\ncompute = 'box'\n"
    far.steps(f"[here]\n{step}outputs = {{ y = 'build/here' }}\n[there]\n{step}{there}")
    assert far.build().failed == []
    assert far.read("build/here").strip() == far.read("build/there").strip() == "0"


def test_data_of_a_remote_datastore(far: Folder) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/host-builds/in.txt", b"from afar")
    far.head += '[datastores]\nfar = "memory://host-builds"\n'
    far.steps("""
        [read]
        command = "tr a-z A-Z < {inputs.x} > {outputs.y}"
        inputs = { x = "far://in.txt" }
        outputs = { y = "far://out.txt" }
        compute = "box"
    """)
    built = far.build()
    assert built.done == ["read"]
    assert memory.cat("/host-builds/out.txt") == b"FROM AFAR"
    assert far.build().started == []


def test_steps_with_fixed_paths(far: Folder) -> None:
    far.steps("""
        [fixed]
        command = "[ ! -e build/x ] && cat in.txt > build/x && mkdir -p build/f && echo 1 > build/f/y"
        inputs = { source = "in.txt" }
        outputs = { x = "build/x", f = "build/f/" }
        in_place = true
        compute = "box"
    """)
    far.write({"in.txt": "one"})
    assert far.build().done == ["fixed"]
    far.write({"in.txt": "two"})
    built = far.build()
    assert built.done == ["fixed"], built.message("fixed")
    assert far.read("build/x") == "two"
    far.steps(
        (far.root / "pipelines.toml").read_text()
        and """
        [fixed]
        command = "echo half > build/x; exit 4"
        inputs = { source = "in.txt" }
        outputs = { x = "build/x", f = "build/f/" }
        in_place = true
        compute = "box"
    """
    )
    assert far.build().failed == ["fixed"]
    assert far.read("build/x") == "two"


def test_a_failure_shows_its_words(far: Folder, root: Path) -> None:
    far.steps("""
        [bad]
        command = "echo the reason; exit 3"
        outputs = { x = "build/x" }
        compute = "box"
        [silent]
        command = "true"
        outputs = { x = "build/y" }
        compute = "box"
        [good]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/z" }
        compute = "box"
        [after]
        command = "true"
        after = ["bad"]
    """)
    ran = far.cli("-k")
    assert ran.returncode == 1
    assert "the reason" in ran.stdout
    assert "exit code 3" in ran.stdout
    assert "did not write its output x (build/y)" in ran.stdout
    assert "1 ran" in ran.stdout.splitlines()[-1]
    assert far.states() == {"bad": "stale", "silent": "stale", "good": "fresh", "after": "stale"}
    assert far.cli("logs", "bad").stdout.rstrip().endswith("the reason")
    until(lambda: jobs(root) == [], "the host forgets what failed, too")


def test_retries_run_again(far: Folder) -> None:
    far.steps(f"""
        [flaky]
        command = "echo try >> {far.root}/../tries; [ $(wc -l < {far.root}/../tries) -ge 3 ] && echo 1 > {{outputs.x}}"
        outputs = {{ x = "build/x" }}
        retries = 3
        compute = "box"
    """)
    built = far.build()
    assert built.done == ["flaky"]
    assert len(built.of(StepRetried)) == 2
    assert len(far.log("../tries")) == 3


def test_a_timeout_ends_it_there(far: Folder, root: Path) -> None:
    far.steps(f"""
        [slow]
        command = "{FOREVER}"
        timeout = 1
        compute = "box"
    """)
    built = far.build()
    assert built.failed == ["slow"]
    assert "timeout" in built.message("slow")
    assert guard.marked(f"{root}/jobs/") == []


def test_force_runs_what_has_run(far: Folder) -> None:
    far.steps(f"""
        [one]
        command = "echo ran >> {far.root}/../ran; echo 1 > {{outputs.x}}"
        outputs = {{ x = "build/x" }}
        compute = "box"
    """)
    far.build()
    assert far.build(force=True).done == ["one"]
    assert len(far.log("../ran")) == 2


def test_the_cache_has_what_a_host_made(far: Folder) -> None:
    far.steps("""
        [one]
        command = "cat in.txt > {outputs.x}; mkdir {outputs.f}/d; echo 1 > {outputs.f}/d/y"
        inputs = { source = "in.txt" }
        outputs = { x = "build/x", f = "build/f/" }
        compute = "box"
    """)
    far.write({"in.txt": "one"})
    far.build()
    far.write({"in.txt": "two"})
    far.build()
    far.write({"in.txt": "one"})
    built = far.build()
    assert built.restored == ["one"]
    assert far.read("build/x") == "one"
    assert far.read("build/f/d/y") == "1\n"


# Ended


def held(far: Folder, script: str = "") -> None:
    ready = f"touch {far.root}/../ready; "
    work = script or f"(trap '' TERM; {FOREVER}) & setsid sleep 600 & {ready}{FOREVER}"
    far.steps(f"""
        [held]
        command = "echo ran >> {far.root}/../ran; echo begun; {work}; echo 1 > {{outputs.x}}"
        outputs = {{ x = "build/x" }}
        compute = "box"
    """)


def test_ctrl_c_ends_the_tree_there(far: Folder, root: Path) -> None:
    held(far)
    running = far.start(grace=0.3)
    until(lambda: far.has("../ready"))
    assert len(guard.marked(f"{root}/jobs/")) >= 3
    os.killpg(running.pid, signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "held cancelled" in said
    assert guard.marked(f"{root}/jobs/") == []
    until(lambda: jobs(root) == [], "what was cancelled is no result")
    assert not far.has("build/x")


def test_ctrl_c_while_a_host_is_away(far: Folder, box: Door, root: Path) -> None:
    far.head = f"[compute.box]\n{box.table(root, port=free_port())}\n"
    held(far)
    running = far.start()
    assert running.stdout is not None
    assert any("trying again" in line for line in running.stdout)
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert time.monotonic() - began < 60, "it would be tried again for minutes"


WAIT = "touch {root}/../ready; while [ ! -e {root}/../go ]; do sleep 0.05; done"


@pytest.mark.parametrize("is_over", [False, True])
def test_a_killed_build_is_taken_up_again(far: Folder, root: Path, is_over: bool) -> None:
    held(far, WAIT.format(root=far.root))
    running = far.start()
    until(lambda: far.has("../ready"))
    running.kill()
    running.wait()
    assert guard.marked(f"{root}/jobs/"), "it goes on"
    if is_over:
        far.write({"../go": ""})
        until(lambda: list(root.glob("jobs/*/exit.json")), "its end, while nobody watches")
    again = far.start()
    if not is_over:
        time.sleep(1)
        far.write({"../go": ""})
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert far.read("build/x") == "1\n"
    assert far.log("../ran") == ["ran"], "it ran once"
    assert "begun" in far.cli("logs", "held").stdout
    assert far.build().started == []
    until(lambda: jobs(root) == [])


def test_what_was_edited_meanwhile_runs_anew(far: Folder, root: Path) -> None:
    held(far, WAIT.format(root=far.root))
    running = far.start()
    until(lambda: far.has("../ready"))
    running.kill()
    running.wait()
    held(far, "echo edited; true")
    assert far.build().done == ["held"]
    assert far.log("../ran") == ["ran", "ran"]
    far.write({"../go": ""})


def test_mlmake_dies_in_a_transfer(far: Folder, root: Path) -> None:
    """What had come is used; no half file is taken for a whole one."""
    far.write({"large": os.urandom(100 << 20)})
    far.steps("""
        [copy]
        command = "cp large {outputs.x}"
        inputs = { large = "large" }
        outputs = { x = "build/x" }
        compute = "box"
    """)
    running = far.start()
    until(lambda: any(part.stat().st_size > 8 << 20 for part in root.glob("incoming/*.part")))
    running.kill()
    running.wait()
    assert far.build().done == ["copy"]
    assert subprocess.run(["cmp", far.root / "large", far.root / "build/x"], check=False).returncode == 0
    assert os.listdir(root / "incoming") == []


# Targets


def test_a_pool_goes_on_without_a_member(far: Folder, box: Door, root: Path) -> None:
    far.head += f"""
[compute.gone]
{box.table(root, port=free_port())}
[compute.farm]
kind = "pool"
of = ["gone", "box"]
"""
    far.steps("""
        [one]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/x" }
        compute = "farm"
    """)
    began = time.monotonic()
    built = far.build()
    assert built.done == ["one"]
    assert targets(built.of(StepStarted)) == {"one": "box"}
    assert any("'gone' cannot be reached" in notice.text for notice in built.of(Noticed))
    assert time.monotonic() - began < 30, "nobody waits for the one that is away"


NEAR = """
    [first]
    command = "true"
    compute = "one"
    reuse = false
    [second]
    command = "true"
    compute = "two"
    reuse = false
    [make]
    command = "head -c 100000 /dev/zero > {outputs.large}"
    outputs = { large = "build/large" }
    compute = "two"
    after = ["first", "second"]
    [use]
    command = "cat {inputs.large} {inputs.small} | wc -c > {outputs.n}; echo {params.word}"
    inputs = { large = "@make", small = "small" }
    outputs = { n = "build/n" }
    params = ["word"]
    compute = "farm"
    after = ["first", "second"]
    [nothing]
    command = "true"
    compute = "farm"
    after = ["use"]
    [here]
    command = "cat {inputs.large}"
    inputs = { large = "@make" }
    compute = "home"
    after = ["use"]
"""


def test_a_pool_prefers_the_member_that_has_the_inputs(far: Folder, box: Door, tmp_path: Path) -> None:
    far.write({"small": "of little weight"})
    far.head = "".join(f"[compute.{name}]\n{box.table(tmp_path / name, cpus=1)}\n" for name in ("one", "two"))
    far.head += '[compute.farm]\nkind = "pool"\nof = ["one", "two"]\n'
    far.head += '[compute.home]\nkind = "pool"\nof = ["local", "one", "two"]\n'
    far.steps(NEAR, word="a")
    ran = targets(far.build().of(StepStarted))
    where = {"first": "one", "second": "two", "make": "two", "nothing": "one", "here": "local"}
    assert ran == {**where, "use": "two"}, "make wrote there what use reads; this machine has everything"
    far.steps(NEAR, word="b")
    ran = targets(far.build().of(StepStarted))
    assert ran == {"first": "one", "second": "two", "use": "two"}, "a later build knows it from the last one"


def started_on(far: Folder) -> dict[str, str]:
    """Where each step has started, as the state tells."""
    with closing(sqlite3.connect(far.home.database)) as connection:
        return dict(connection.execute("SELECT step, target FROM step_runs").fetchall())


def test_a_pool_finds_the_job_that_a_killed_build_has_left(far: Folder, box: Door, tmp_path: Path) -> None:
    """Though another member comes first now; no second job of a step is started."""
    far.head = "".join(f"[compute.{name}]\n{box.table(tmp_path / name, cpus=1)}\n" for name in ("one", "two"))
    far.head += '[compute.farm]\nkind = "pool"\nof = ["one", "two"]\n'
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"
    far.steps(f"""
        [first]
        command = "touch {tmp_path}/first; {wait}; echo $$ >> {tmp_path}/ran"
        compute = "farm"
        [second]
        command = "touch {tmp_path}/second; {wait}; echo $$ >> {tmp_path}/ran"
        compute = "farm"
    """)
    running = far.start()
    until(lambda: (tmp_path / "first").exists() and (tmp_path / "second").exists())
    left = until(lambda: started_on(far) if len(started_on(far)) == 2 else {})
    kill(running.pid)
    running.wait()
    far.toml((far.root / "pipelines.toml").read_text().replace('["one", "two"]', '["two", "one"]'))
    (tmp_path / "go").touch()
    ran = targets(far.build().of(StepStarted))
    assert {f"p.{step}": target for step, target in ran.items()} == left
    assert len((tmp_path / "ran").read_text().split()) == 2


def test_a_host_that_cannot_be_used_fails_its_steps_only(far: Folder, box: Door, root: Path) -> None:
    far.head = f"[compute.box]\n{box.table(root, known_hosts='/dev/null')}\n"
    far.steps("""
        [there]
        command = "true"
        compute = "box"
        [here]
        command = "true"
    """)
    built = far.build(keep_going=True)
    assert built.done == ["here"]
    assert built.failed == ["there"]
    assert "has a key that is not known here" in built.message("there")


def test_a_full_host_does_not_hold_back_this_machine(far: Folder, box: Door, root: Path) -> None:
    far.head = f"[compute.box]\n{box.table(root, cpus=2)}\n"
    above = f"{far.root}/.."
    counted = f"echo + >> {above}/now; while [ ! -e {above}/go ]; do sleep 0.02; done; echo - >> {above}/now"
    there = "\n".join(f'[t{n}]\ncommand = "{counted}"\ncompute = "box"' for n in range(5))
    here = f"""
        [h1]
        command = "until [ $(wc -l < {far.root}/../now) -ge 2 ]; do sleep 0.02; done; sleep 0.5"
        [h2]
        command = "cp {far.root}/../now {far.root}/../seen; touch {far.root}/../go"
        after = ["h1"]
    """
    far.steps(f"{there}\n{here}")
    built = far.build(jobs=1)
    assert len(built.done) == 7
    assert far.log("../seen") == ["+", "+"], "two at once, while this machine went on"
    running = most = 0
    for line in far.log("../now"):
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most == 2


def test_two_targets_that_are_both_this_machine(project: Folder) -> None:
    """Their jobs have the same numbers; the end of one's first job must not be that of the other's."""
    project.steps("""
        [long]
        command = "touch ../ready; while [ ! -e ../go ]; do sleep 0.02; done"
        [short]
        command = "until [ -e ../ready ]; do sleep 0.02; done"
        compute = "other"
        [last]
        command = "touch ../go"
        after = ["short"]
        compute = "other"
    """)
    text = project.read("pipelines.toml")
    project.toml(f"[compute.other]\nkind = 'local'\n{text}")
    assert sorted(project.build(jobs=2).done) == ["last", "long", "short"]


def test_where_a_step_ran_is_told(far: Folder) -> None:
    pipeline(far)
    assert far.cli().returncode == 0
    shown = far.cli("show", "1").stdout
    assert re.search(r"fit\[fold=1\].* on box", shown)
    assert not re.search(r"clean.* on ", shown)
    told = far.json("show", "1")
    assert isinstance(told, dict)
    assert {step["step"].partition(".")[2]: step["target"] for step in told["step_runs"]}["fit[fold=1]"] == "box"


def test_two_projects_share_a_host(far: Folder, tmp_path: Path, root: Path) -> None:
    other = Folder(tmp_path / "other")
    other.root.mkdir()
    other.head = far.head
    for each in (far, other):
        each.write({"in.txt": "same"})
        each.steps("""
            [same]
            command = "sleep 0.3; cat in.txt > {outputs.x}"
            inputs = { source = "in.txt" }
            outputs = { x = "build/x" }
            compute = "box"
        """)
    running = [each.start() for each in (far, other)]
    for process in running:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert far.read("build/x") == other.read("build/x") == "same"
    other.close()


def test_a_project_that_has_moved_is_another(far: Folder, tmp_path: Path) -> None:
    pipeline(far)
    first = far.build()
    assert [(name, first.message(name)) for name in first.failed] == []
    moved = Folder(tmp_path / "moved")
    shutil.copytree(far.root, moved.root)
    built = moved.build()
    assert [(name, built.reasons(name)) for name in built.started] == []


def test_nothing_stays_behind_here(far: Folder) -> None:
    pipeline(far)
    assert far.cli().returncode == 0
    left = [each for each in psutil.process_iter() if _mentions(each, str(far.root))]
    assert left == []


def _mentions(process: psutil.Process, text: str) -> bool:
    try:
        return text in " ".join(process.cmdline())
    except psutil.Error:
        return False
