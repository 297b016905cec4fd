"""The command line as a user meets it: real processes, what they print, how they exit."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from pathlib import Path

import pytest

from projects import Folder, until

LINE = """
    [first]
    script = "steps/first.py"
    outputs = { x = "build/x.txt" }
    params = ["word"]

    [second]
    command = "cat {inputs.x} {inputs.x} > {outputs.y}"
    matrix = { n = [1, 2] }
    inputs = { x = "@first" }
    outputs = { y = "build/y-{matrix.n}.txt" }

    [third]
    script = "steps/third.py"
    inputs = { y = "@second" }
    metrics = { scores = "build/scores.json" }
"""
FIRST = "import sys\nprint('log of first')\nopen(sys.argv[2], 'w').write(sys.argv[4] + chr(10))\n"
THIRD = """import json, sys
texts = [open(path).read() for path in sys.argv[2:4]]
json.dump({"length": sum(map(len, texts)), "nested": {"ratio": 1 / 3}}, open(sys.argv[-1], "w"))
"""


@pytest.fixture
def line(project: Folder) -> Folder:
    """Three steps in a row, the middle one a matrix."""
    project.steps(LINE, word="hello", depth=8)
    project.write({"steps/first.py": FIRST, "steps/third.py": THIRD})
    return project


def test_a_bare_mlmake_builds_and_then_has_nothing_to_do(line: Folder) -> None:
    first = line.cli()
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines()[-1].startswith("4 ran, 0 fresh, 0 restored, 0 failed in ")
    assert line.cli().stdout.startswith("0 ran, 4 fresh, 0 restored, 0 failed in ")


@pytest.mark.parametrize(
    ("words", "ran"),
    [
        (["first"], {"first"}),
        (["build", "first"], {"first"}),
        (["-j", "1", "second[n=2]"], {"first", "second[n=2]"}),
        (["build/y-1.txt"], {"first", "second[n=1]"}),
        (["p"], {"first", "second[n=1]", "second[n=2]", "third"}),
        (["p.second"], {"first", "second[n=1]", "second[n=2]"}),
    ],
)
def test_what_the_words_select(line: Folder, words: list[str], ran: set[str]) -> None:
    done = re.findall(r"^(\S+) done", line.cli(*words).stdout, re.MULTILINE)
    assert set(done) == ran


def test_another_folder_and_a_subfolder(line: Folder) -> None:
    assert line.cli("-C", str(line.root), "first", cwd="/").returncode == 0
    inside = line.cli("x.txt", cwd=line.root / "build")
    assert inside.stdout.startswith("0 ran, 1 fresh")
    nowhere = line.cli("status", cwd="/")
    assert nowhere.returncode == 2
    assert "no pipelines.toml in / or any folder above it" in nowhere.stderr
    assert "mlmake init" in nowhere.stderr


def test_unknown_words_name_the_nearest(line: Folder) -> None:
    step = line.cli("secnod")
    assert (step.returncode, step.stdout) == (2, "")
    assert "no pipeline, step or output named 'secnod'; did you mean 'second'?" in step.stderr
    assert "did you mean the command `mlmake status`?" in line.cli("statsu").stderr
    option = line.cli("--jbos", "2")
    assert option.returncode == 2
    assert "No such option" in option.stderr


def test_dry_run_and_status_agree_and_run_nothing(line: Folder) -> None:
    dry = line.cli("-n")
    assert dry.returncode == 0
    assert dry.stdout.splitlines()[-1] == "dry run: 4 stale; nothing was run"
    assert not line.has("build")
    assert not line.has(".mlmake")
    line.cli()
    assert line.cli("-n", "-p", "word=bye").stdout == (
        'stale  first             param word changed: "hello" -> "bye"\n'
        "maybe  second (2 steps)  waits for first\n"
        "maybe  third             waits for second[n=1] (and 1 more)\n"
        "dry run: 1 stale, 3 maybe; nothing was run\n"
    )


def test_status_check_exits_with_3_when_something_is_stale(line: Folder) -> None:
    assert line.cli("status", "--check").returncode == 3
    line.cli()
    assert line.cli("status", "--check").returncode == 0
    line.write({"build/x.txt": "edited"})
    stale = line.cli("status", "--check")
    assert stale.returncode == 3
    assert "output build/x.txt is not what the last run wrote" in stale.stdout


def test_status_folds_a_matrix_unless_it_is_to_expand(line: Folder) -> None:
    assert "second (2 steps)" in line.cli("status").stdout
    assert "second[n=2]" in line.cli("status", "--expand").stdout
    line.cli("second[n=1]")
    told = line.cli("status").stdout
    assert "fresh  second[n=1]" in told
    assert "stale  second[n=2]" in told


def test_status_as_json(line: Folder) -> None:
    line.cli("first")
    told = line.json("status", "third")
    assert isinstance(told, list)
    assert [each["state"] for each in told] == ["fresh", "stale", "stale", "stale"]
    assert told[1] == {
        "step": "p.second[n=1]",
        "name": "second[n=1]",
        "state": "stale",
        "reasons": [{"cause": "never_ran", "subject": "", "old": None, "new": None, "text": "never ran"}],
        "outputs": ["build/y-1.txt"],
    }


def test_a_failure_shows_the_log_and_exits_with_1(line: Folder) -> None:
    line.cli()
    line.write({"steps/first.py": "print('before it broke')\nraise SystemExit('no such column: delay')\n"})
    failed = line.cli()
    assert failed.returncode == 1
    assert "first failed: exit code 1" in failed.stdout
    assert "  | no such column: delay" in failed.stdout
    assert "log: .mlmake/logs/2/p.first.log" in failed.stdout
    assert line.read("build/x.txt") == "hello\n", "the last good output stands"
    assert "-raise" not in line.cli("why", "first").stdout
    assert "+raise SystemExit('no such column: delay')" in line.cli("why", "first").stdout


def test_keep_going_tells_what_was_blocked(project: Folder) -> None:
    project.steps("""
        [bad]
        command = "exit 3"
        outputs = { x = "build/bad.txt" }
        [after]
        command = "cp {inputs.x} {outputs.y}"
        inputs = { x = "@bad" }
        outputs = { y = "build/after.txt" }
        [good]
        command = "sleep 0.2; echo 1 > {outputs.z}"
        outputs = { z = "build/good.txt" }
    """)
    kept = project.cli("-k", "-j", "1")
    assert kept.returncode == 1
    assert "bad failed: exit code 3" in kept.stdout
    assert "after blocked: step p.bad failed" in kept.stdout or "after blocked: step bad failed" in kept.stdout
    assert kept.stdout.splitlines()[-1].startswith("1 ran, 0 fresh, 0 restored, 1 failed, 1 blocked")
    assert project.has("build/good.txt")


def test_a_missing_input_is_named_with_the_step_that_wants_it(project: Folder) -> None:
    project.steps("""
        [one]
        command = "cp {inputs.x} {outputs.y}"
        inputs = { x = "data/x.csv" }
        outputs = { y = "build/y.csv" }
    """)
    told = project.cli()
    assert told.returncode == 2
    assert "step one: input x is missing: data/x.csv" in told.stderr
    assert project.cli("status").stdout.startswith("blocked  one  input x is missing: data/x.csv")


def test_quiet_says_nothing_when_all_is_well(line: Folder) -> None:
    told = line.cli("-q")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    line.write({"steps/first.py": "raise SystemExit('broken')"})
    assert "first failed" in line.cli("-q").stdout


def test_verbose_shows_command_lines(line: Folder) -> None:
    told = line.cli("-v").stdout
    assert "cat build/x.txt build/x.txt > '.mlmake/staging/p.second[n=1]/y-1.txt'" in told


def test_why_shows_old_and_new_and_the_root_cause(line: Folder) -> None:
    line.cli()
    fresh = line.cli("why", "third").stdout
    assert re.match(r"third is fresh since run 1 of .*: \d facts and 1 output unchanged", fresh)
    line.write({"steps/first.py": FIRST.replace("chr(10)", "chr(33)")})
    told = line.cli("why", "first", "third").stdout
    assert "first is stale; the last good run was 1" in told
    assert "-open(sys.argv[2], 'w').write(sys.argv[4] + chr(10))" in told
    assert "+open(sys.argv[2], 'w').write(sys.argv[4] + chr(33))" in told
    assert "root cause: first: code steps/first.py changed" in told
    line.cli("second")
    told = line.cli("why", "third").stdout
    assert "input y changed" in told
    assert re.search(r"build/y-1.txt: \w{12} \(12 bytes\) -> \w{12} \(12 bytes\), made by second\[n=1\] in run 2", told)
    assert "root cause: first: code steps/first.py changed" in told
    json_ = line.json("why", "third")
    assert isinstance(json_, list)
    assert json_[0]["roots"].keys() == {"p.first"}


def test_why_without_a_name_says_what_to_do(line: Folder) -> None:
    told = line.cli("why")
    assert told.returncode == 2
    assert "Name a step" in told.stderr


def test_runs_show_metrics_diff(line: Folder) -> None:
    assert line.cli("runs").stdout == "no runs yet\n"
    assert line.cli("show").returncode == 2
    line.cli()
    line.cli()
    line.cli("-p", "word=goodbye")
    runs = line.json("runs")
    assert isinstance(runs, list)
    assert [run["number"] for run in runs] == [2, 1], "a build with nothing to do is no run"
    assert runs[0]["command"] == "mlmake -p word=goodbye"
    assert [run["outcome"] for run in runs] == ["done", "done"]
    shown = line.json("show", "2")
    assert isinstance(shown, dict)
    assert {each["step"] for each in shown["step_runs"]} == {"p.first", "p.second[n=1]", "p.second[n=2]", "p.third"}
    assert line.json("metrics", "--run", "1") == {"p.third": {"scores": {"length": 24, "nested": {"ratio": 1 / 3}}}}
    assert "third  scores.nested.ratio  0.333333  2" in line.cli("metrics").stdout
    diff = line.json("diff", "1", "2")
    assert isinstance(diff, list)
    kinds = [each["kind"] for each in diff]
    assert list(dict.fromkeys(kinds)) == ["parameter", "fact", "metric", "output"]
    assert kinds == sorted(kinds, key=("parameter", "fact", "metric", "output").index)
    assert diff[0] == {
        "step": "p.first",
        "kind": "parameter",
        "what": "param word",
        "old": '"hello"',
        "new": '"goodbye"',
        "change": None,
        "sizes": None,
    }
    length = next(each for each in diff if each["what"] == "metric scores.length")
    assert (length["old"], length["new"], length["change"]) == (24, 32, 8.0)
    result = next(each for each in diff if each["what"] == "result build/x.txt")
    assert result["sizes"] == [6, 8]
    told = line.cli("diff", "-2", "-1").stdout
    assert re.search(r"^p.third +metric scores.length +24 +32 \(\+8\)$", told, re.MULTILINE)
    assert "(6 B)" in told
    assert line.cli("diff", "2", "2").stdout == "runs 2 and 2 left the same facts, metrics and outputs\n"
    assert line.cli("show", "-1").stdout.startswith("run 2 ")
    assert line.cli("show", "9").returncode == 2


def test_a_run_that_is_not_there_goes_by_its_word(line: Folder) -> None:
    line.build()
    assert "there is no run -9\n" in line.cli("show", "-9").stderr


def test_a_file_whose_name_has_two_lines_is_told_in_one(project: Folder) -> None:
    project.write({"in\nput": "x"})
    project.steps("""
        [two]
        command = "cp {inputs.i} {outputs.o}"
        inputs = { i = "in\\nput" }
        outputs = { o = "out\\rput" }
    """)
    project.build()
    assert "  input i   in\\nput   " in project.cli("show", "--data").stdout
    assert len(project.cli("data").stdout.splitlines()) == 3
    assert project.cli("clean", "two").stdout == "removing out\\rput\n1 removed\n"


def test_logs(line: Folder) -> None:
    assert line.cli("logs", "first").returncode == 2
    line.cli()
    assert line.cli("logs", "first").stdout == "log of first\n"
    assert line.cli("logs", "first", "--path").stdout == ".mlmake/logs/1/p.first.log\n"
    assert "==> second[n=2] <==" in line.cli("logs", "second").stdout


def test_a_log_that_is_gone_says_how_to_get_another(line: Folder) -> None:
    line.build()
    path = line.cli("logs", "first", "--path").stdout.strip()
    (line.root / path).unlink()
    told = line.cli("logs", "first")
    assert (told.returncode, told.stderr) == (
        2,
        f"mlmake: the log {path} is gone\n        `mlmake -f p.first` runs the step again\n",
    )


def test_logs_follow_a_running_step(project: Folder) -> None:
    project.steps("""
        [slow]
        command = "echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; touch {outputs.x}"
        outputs = { x = "build/x" }
    """)
    build = project.start()
    until(lambda: "one" in project.cli("logs", "slow").stdout, "the first line of the log")
    follow = project.start("logs", "slow", "-f")
    assert follow.stdout is not None
    assert follow.stdout.readline() == "one\n"
    project.write({"go": ""})
    assert follow.stdout.read() == "two\n"
    assert (follow.wait(), build.wait()) == (0, 0)


def test_clean_removes_declared_outputs_only(line: Folder) -> None:
    line.cli()
    line.write({"build/mine.txt": "not declared"})
    assert line.cli("clean").returncode == 2
    assert line.cli("clean", "second", "-n").stdout.splitlines() == [
        "would remove build/y-1.txt",
        "would remove build/y-2.txt",
        "2 would be removed",
    ]
    assert line.has("build/y-1.txt")
    line.cli("clean", "second")
    assert sorted(os.listdir(line.root / "build")) == ["mine.txt", "scores.json", "x.txt"]
    line.cli("clean", "--all")
    assert os.listdir(line.root / "build") == ["mine.txt"]
    assert line.cli().stdout.splitlines()[-1].startswith("0 ran, 0 fresh, 4 restored")


def test_clean_tells_of_a_damaged_state(line: Folder) -> None:
    line.cli("first")
    with sqlite3.connect(line.home.database) as connection:
        connection.execute("DROP TABLE away")
    connection.close()
    done = line.cli("clean", "--all")
    assert (done.returncode, "is damaged" in done.stderr) == (2, True)
    assert line.has("build/x.txt")


def test_init_makes_a_project_that_builds(tmp_path: Path, project: Folder) -> None:
    assert project.cli("init", "hello", cwd=tmp_path).returncode == 0
    hello = Folder(tmp_path / "hello")
    built = hello.cli()
    assert built.returncode == 0, built.stdout + built.stderr
    assert hello.read("build/report.txt").splitlines()[-1] == "best: degree 2"
    assert hello.cli("status", "--check").returncode == 0
    again = project.cli("init", "hello", cwd=tmp_path)
    assert again.returncode == 2
    assert "nothing was written" in again.stderr


def test_graph_in_every_format(line: Folder) -> None:
    assert "second" in line.cli("graph").stdout
    assert line.cli("graph", "--format", "mermaid").stdout.count("-->") == 2
    assert line.cli("graph", "--format", "dot", "--expand").stdout.count("->") == 4
    assert line.cli("graph", "--format", "svg").stdout.startswith(("<svg", "<?xml"))
    told = line.json("graph", "--data")
    assert isinstance(told, dict)
    assert {node["name"] for node in told["nodes"]} == {"first", "second", "third"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(line: Folder, shell: str) -> None:
    assert "_MLMAKE_COMPLETE" in line.cli("completion", shell).stdout


def test_the_shell_completes_steps(line: Folder) -> None:
    env = {"_MLMAKE_COMPLETE": "bash_complete", "COMP_WORDS": "mlmake why se", "COMP_CWORD": "2"}
    completed = line.cli(env=env).stdout
    assert "second" in completed
    assert "first" not in completed


def test_help_has_examples(line: Folder) -> None:
    from mlmake.cli.verbs import COMMANDS

    assert "mlmake why fit" in line.cli("--help").stdout
    for command in COMMANDS:
        told = line.cli(command, "--help")
        assert told.returncode == 0
        assert "mlmake" in told.stdout.partition("\n\n")[2], f"{command} --help has no example"


def test_version(line: Folder) -> None:
    assert re.fullmatch(r"mlmake, version \d+\.\d+\.\d+\n", line.cli("--version").stdout)


def test_a_closed_pipe_is_no_error(line: Folder) -> None:
    process = line.start("graph", "--format", "svg")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 0


def test_a_build_goes_on_when_nobody_listens(line: Folder) -> None:
    process = line.start()
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 0
    assert line.cli("status", "--check").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_exits_with_130(project: Folder, number: int) -> None:
    project.steps("""
        [slow]
        command = "touch started; sleep 600; touch {outputs.x}"
        outputs = { x = "build/x" }
    """)
    build = project.start()
    until(lambda: project.has("started"), "the step's start")
    build.send_signal(number)
    assert build.stdout is not None
    told = build.stdout.read()
    assert build.wait() == 130
    assert "1 cancelled" in told
    assert not project.processes()


def test_a_bug_leaves_a_log_with_versions_and_no_traceback(line: Folder) -> None:
    broken = {"PYTHONPATH": str(line.root / "broken")}
    line.write({"broken/sitecustomize.py": "import mlmake.config.load as m\nm.load = lambda *_: 1 / 0\n"})
    told = line.cli("status", env=broken)
    assert told.returncode == 70
    assert "Traceback" not in told.stderr
    assert "this is a bug in mlmake: ZeroDivisionError" in told.stderr
    (log,) = (line.root / ".mlmake" / "crashes").iterdir()
    text = log.read_text()
    assert "Traceback" in text
    assert re.search(r"^doit \d", text, re.MULTILINE)


def test_no_color_and_no_terminal_give_plain_text(line: Folder) -> None:
    assert "\x1b" not in line.cli().stdout + line.cli("status").stdout
    assert json.dumps(line.json("status"))
