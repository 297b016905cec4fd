"""The proof by model: random pipelines, random edits, random builds, held against an oracle that shares no code.

After every build: just those steps ran that the oracle says, `status` had said so before, every file of the project is
what the oracle computes, and after a whole build that is what a clean build gives. `MLMAKE_EXAMPLES=5000` runs longer.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import closing, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from mlmake.cli.entry import at_once
from mlmake.config.load import load
from mlmake.engine.look import judge, look
from mlmake.engine.run import Request, build
from mlmake.engine.scope import open_scope
from mlmake.errors import MissingInputError
from mlmake.home import Home
from mlmake.model.events import Event, StepFinished
from mlmake.model.run import Outcome, Summary
from mlmake.plan.selection import named, with_upstream
from mlmake.state.database import connect
from worlds import Combination, Disk, Edit, Helper, Model, Oracle, Order, Play, Source, Step, World, built_anew, remove

EXAMPLES = int(os.environ.get("MLMAKE_EXAMPLES", "25"))
PATIENCE = 60.0
FILES = ["data/x0.txt", "data/x1.txt", "data/x2.txt"]
PARAMS = ["p0", "p1", "p2"]
PLACES = ["steps/", "src/", "", "src/pk/", "src/pk/", "src/"]
FLAGS = ["folder", "metrics", "in_place", "always", "own", "variable", "bare"]
SMALL = st.integers(0, 3)
PICK = st.integers(0, 40)
STYLES = st.sampled_from(["write", "write", "rename", "keep", "rename keep"])
WAYS = st.sampled_from(["narrow", "whole"])
"""As the command line does it, looking only at what can have changed, or with the whole project."""

SHAPES = st.fixed_dictionaries(
    {
        "language": st.sampled_from(["py", "py", "sh", "inline"]),
        "lossy": st.booleans(),
        "matrix": st.sampled_from([False, False, True]),
        "picks": st.lists(PICK, min_size=0, max_size=3),
        "helpers": st.lists(SMALL, max_size=2),
        "params": st.lists(st.integers(0, 2), max_size=2, unique=True),
        "flags": st.lists(st.sampled_from(FLAGS), max_size=2),
        "after": st.lists(PICK, max_size=1),
    }
)


def model_of(shapes: list[dict[str, Any]], imports: list[list[int]]) -> Model:
    """A model from small numbers, so that it shrinks and prints well."""
    model = Model(params=dict.fromkeys(PARAMS, 0), data=dict.fromkeys(FILES, "0000\n"))
    model.data |= {f"data/g/{name}.txt": "0000\n" for name in "ab"} | {"data/d/in/a.txt": "0000\n"}
    for number, picks in enumerate(imports):
        later = [f"h{other}" for other in picks if number < other < len(imports)]
        model.helpers[f"h{number}"] = Helper(f"h{number}", PLACES[number], list(dict.fromkeys(later)))
    for number, shape in enumerate(shapes):
        flags, is_python = shape["flags"], shape["language"] == "py"
        step = Step(f"s{number}", shape["language"], lossy=shape["lossy"], matrix=shape["matrix"])
        step.folder, step.metrics = is_python and "folder" in flags, is_python and "metrics" in flags
        step.bare = is_python and "bare" in flags and not step.folder and not step.metrics
        step.in_place, step.reuse = "in_place" in flags, "always" not in flags
        step.variable = not is_python and "variable" in flags
        step.params = [f"p{each}" for each in shape["params"]]
        step.helpers = sorted({f"h{each}" for each in shape["helpers"] if each < len(imports)}) if is_python else []
        for name, pick in zip("abc", shape["picks"], strict=False):
            step.inputs[name] = chosen(sources(model, step), pick)
        if is_python and "own" in flags and not step.matrix:
            model.data[f"data/own-{step.name}.txt"] = "0000\n"
            step.inputs["q"] = Source("file", f"data/own-{step.name}.txt")
        step.after = [chosen(list(model.steps), each) for each in shape["after"] if model.steps]
        model.steps[step.name] = step
    return model


def sources(model: Model, step: Step) -> list[Source]:
    """Everything that a step could read: data, and what the steps before it make."""
    found = [Source("file", path) for path in FILES] + [Source("glob", "data/g")]
    found += [Source("folder", "data/d")] if step.language == "py" else []
    for above in model.steps.values():
        if above.name == step.name:
            break
        if above.bare:
            continue
        kinds = ["all"] * 3 + ["made glob"]
        kinds += (["one"] + ["same"] * step.matrix) if above.matrix else ["path"]
        kinds += ["made folder"] if step.language == "py" else []
        kinds += ["tree"] if above.folder and step.language == "py" else []
        kinds += ["inside"] if above.folder and not above.matrix else []
        found += [Source(kind, above.name) for kind in kinds]
    return found


def chosen(items: list[Any], pick: int) -> Any:
    """One of the items; the last ones, which are made by steps, first."""
    return items[-1 - pick % len(items)]


# Edits: each changes the model by two small numbers.


def edit_script(model: Model, pick: int, value: int) -> None:
    chosen(list(model.steps.values()), pick).token = value


def edit_comment(model: Model, pick: int, value: int) -> None:
    chosen([*model.steps.values(), *model.helpers.values()], pick).comment = value


def edit_helper(model: Model, pick: int, value: int) -> None:
    if model.helpers:
        chosen(list(model.helpers.values()), pick).token = value


def edit_package(model: Model, pick: int, value: int) -> None:
    model.package = value


def shadow_helper(model: Model, pick: int, value: int) -> None:
    found = [each for each in model.helpers.values() if each.place in ("src/", "")]
    if found:
        helper = chosen(found, pick)
        helper.shadow = value if helper.shadow is None else None


def edit_maybe(model: Model, pick: int, value: int) -> None:
    model.maybe = value if pick % 2 else None


def edit_param(model: Model, pick: int, value: int) -> None:
    model.params[chosen(PARAMS, pick)] = value


def edit_data(model: Model, pick: int, value: int) -> None:
    model.data[chosen([*FILES, *model.data], pick)] = f"{value:04}\n"


def more_data(model: Model, pick: int, value: int) -> None:
    path = chosen(["data/g/{}.txt", "data/d/in/{}.txt", "data/d/{}"], pick).format("abcd"[value])
    if model.data.pop(path, None) is None:
        model.data[path] = "0000\n"


def lose_data(model: Model, pick: int, value: int) -> None:
    model.data.pop(chosen(FILES, pick), None)


def rename_data(model: Model, pick: int, value: int) -> None:
    step = chosen(list(model.steps.values()), pick)
    for source in step.inputs.values():
        if source.kind == "file" and source.target in FILES and source.target in model.data:
            new = f"data/renamed-{value}.txt"
            model.data[new] = model.data[source.target]
            source.target = new
            return


def edit_salt(model: Model, pick: int, value: int) -> None:
    chosen(list(model.steps.values()), pick).salt = value


def edit_words(model: Model, pick: int, value: int) -> None:
    chosen(list(model.steps.values()), pick).words = value


def edit_order(model: Model, pick: int, value: int) -> None:
    names = list(model.steps)
    step = chosen(list(model.steps.values()), pick)
    before = names[: names.index(step.name)]
    step.after = [] if step.after or not before else [chosen(before, value)]


def turn_file_around(model: Model, pick: int, value: int) -> None:
    model.backwards = not model.backwards


def toggle(model: Model, pick: int, value: int) -> None:
    step = chosen(list(model.steps.values()), pick)
    attribute = ("lossy", "in_place", "reuse", "moved")[value]
    setattr(step, attribute, not getattr(step, attribute))


def toggle_param(model: Model, pick: int, value: int) -> None:
    step = chosen(list(model.steps.values()), pick)
    name = PARAMS[value % 3]
    step.params = toggled(step.params, name)


def toggled(names: list[str], name: str) -> list[str]:
    """The names without one of them, or with it where it was not there."""
    return [each for each in names if each != name] if name in names else [*names, name]


def toggle_import(model: Model, pick: int, value: int) -> None:
    scripts = [each for each in model.steps.values() if each.language == "py"]
    name = f"h{value}"
    if scripts and name in model.helpers:
        step = chosen(scripts, pick)
        step.helpers = toggled(step.helpers, name)


def toggle_input(model: Model, pick: int, value: int) -> None:
    step = chosen(list(model.steps.values()), pick)
    name = "abc"[value % 3]
    if step.inputs.pop(name, None) is None:
        step.inputs[name] = chosen(sources(model, step), value)


def edit_axis(model: Model, pick: int, value: int) -> None:
    model.axis = [0, 1, 2][: 1 + value % 3]


def drop_last_step(model: Model, pick: int, value: int) -> None:
    name = list(model.steps)[-1]
    if len(model.steps) > 1 and not any(name in step.after for step in model.steps.values()):
        del model.steps[name]


EDITS: list[Callable[[Model, int, int], None]] = [
    *(edit_script, edit_comment, edit_helper, edit_package, shadow_helper, edit_maybe, edit_param, edit_data),
    *(edit_data, more_data, lose_data, rename_data, edit_salt, edit_words, edit_order, turn_file_around, toggle),
    *(toggle_param, toggle_import, toggle_input, edit_axis, drop_last_step),
]


class Builds(RuleBasedStateMachine):
    """One project over its life."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="mlmake-model-"))
        self.root = self.base / "project"
        self.root.mkdir()
        self.trace, self.orders = self.base / "trace", self.base / "orders"
        self.old_env = dict(os.environ)
        # Bytecode of a module that keeps its size and its mtime would be Python's own mistake.
        os.environ.update(WORLD_TRACE=str(self.trace), WORLD_ORDERS=str(self.orders), PYTHONDONTWRITEBYTECODE="1")
        self.oracle = Oracle()
        self.world: World | None = None
        self.is_sound = True

    @initialize(
        shapes=st.lists(SHAPES, min_size=1, max_size=7),
        imports=st.lists(st.lists(SMALL, max_size=2), max_size=4),
        caching=st.booleans(),
    )
    def start(self, shapes: list[dict[str, Any]], imports: list[list[int]], caching: bool) -> None:
        """With a cache, a step that is restored counts as one that ran; steps that fail or edit are left out."""
        self.world = World(self.root, replace(model_of(shapes, imports), caching=caching))
        self.set_mode("0000")
        self.world.sync()

    # What a user does between builds.

    @rule(edit=st.sampled_from(EDITS), pick=PICK, value=SMALL, style=STYLES)
    def edit(self, edit: Callable[[Model, int, int], None], pick: int, value: int, style: str) -> None:
        self.here.keep()
        edit(self.model, pick, value)
        self.here.sync(style)

    @rule(steps=SMALL, style=STYLES)
    def take_back(self, steps: int, style: str) -> None:
        self.here.go_back(steps)
        self.here.sync(style)

    @rule(value=st.sampled_from(["0000", "0001"]))
    def set_mode(self, value: str) -> None:
        self.here.mode = os.environ["WORLD_MODE"] = value

    @rule(pick=PICK, how=st.sampled_from(["edit", "empty", "delete", "touch", "rewrite", "more", "less", "flat"]))
    def tamper(self, pick: int, how: str) -> None:
        paths = [path for each in self.model.combinations() for path in each.outputs.values()]
        path = self.root / chosen(paths or ["nothing"], pick)
        if not path.exists():
            return
        if path.is_dir():
            tamper_with_folder(path, how)
        else:
            tamper_with_file(path, how)

    @rule(pick=PICK)
    def touch(self, pick: int) -> None:
        os.utime(self.root / chosen(sorted(self.model.files()), pick))

    # Builds.

    @rule(jobs=st.sampled_from([1, 2, 4]), way=WAYS)
    def build_all(self, jobs: int, way: str) -> None:
        self.build(jobs=jobs, way=way)

    @rule(name=st.sampled_from(PARAMS), value=SMALL, way=WAYS)
    def build_with_another_parameter(self, name: str, value: int, way: str) -> None:
        written = self.model
        self.here.model = replace(written, params={**written.params, name: value})
        try:
            self.build(overrides=(f"{name}={value}",), way=way)
        finally:
            self.here.model = written

    @rule(way=WAYS, pick=PICK, narrow=st.booleans())
    def look(self, way: str, pick: int, narrow: bool) -> None:
        self.check_status(self.disk(), way)
        if narrow:
            group = chosen(list(self.model.steps), pick)
            self.check_status(self.disk(), way, targets=(group,))

    @rule(
        pick=PICK,
        form=st.sampled_from(["step", "group", "output"]),
        force=st.sampled_from([False, False, True]),
        way=WAYS,
    )
    def build_one(self, pick: int, form: str, force: bool, way: str) -> None:
        each = chosen(self.model.combinations(), pick)
        output = each.outputs.get("o", each.name)
        target = {"step": each.name, "group": each.step.name, "output": output}[form]
        group = [each] if form != "group" else [c for c in self.model.combinations() if c.step.name == each.step.name]
        names = [member.name for member in group]
        self.build(targets=(target,), selected=self.with_upstream(names), forced=names if force else (), way=way)

    @rule(picks=st.lists(PICK, min_size=1, max_size=2), keep_going=st.booleans(), way=WAYS)
    def build_with_failures(self, picks: list[int], keep_going: bool, way: str) -> None:
        sure = [each.name for each in self.model.combinations() if self.oracle.is_sure(each.name)]
        if sure and not self.model.caching:
            self.build(order=Order(fail=[chosen(sure, pick) for pick in picks]), keep_going=keep_going, way=way)

    @rule(pick=PICK, value=SMALL, what=st.sampled_from(["early", "late", "code"]), way=WAYS)
    def build_and_edit_meanwhile(self, pick: int, value: int, what: str, way: str) -> None:
        own = [step for step in self.model.steps.values() if "q" in step.inputs]
        if not own or self.model.caching:
            return
        step = chosen(own, pick)
        if what == "code":
            new = Model(steps={step.name: Step(**{**vars(step), "comment": 9})}, helpers=self.model.helpers)
            path, text = step.script, new.files()[step.script]
        else:
            path, text = step.inputs["q"].target, f"{value + 5:04}\n"
        edit = Edit(path, text, early=what == "early")
        if self.build(order=Order(edits={step.name: edit}), way=way) and (self.root / path).read_text() == text:
            if what == "code":
                step.comment = 9
            else:
                self.model.data[path] = text
            self.here.was_written(path, text)

    @rule(
        where=st.sampled_from(["anywhere", "at the end of a step", "from outside"]),
        count=st.integers(0, 6000),
        way=WAYS,
    )
    def build_and_kill(self, where: str, count: int, way: str) -> None:
        if self.model.caching or any(each.missing(self.disk()) for each in self.model.combinations()):
            return
        self.is_sound = False
        before = self.disk()
        Order().write(self.orders)
        self.trace.write_text("")
        if where == "from outside":
            survived = self.kill_from_outside(count % 5)
        else:
            survived = self.kill_inside(where, count, way)
        self.wait_for_all_to_be_gone()
        play = self.play(before, self.names(), killed=not survived)
        self.check(play)
        after = self.disk()
        for each in self.model.combinations():
            for path in () if each.name in self.oracle.open else each.outputs.values():
                assert after.read(path) in (before.read(path), play.disk.read(path)), f"half written: {path}"
        self.is_sound = True

    def teardown(self) -> None:
        try:
            if self.world is not None and self.is_sound:
                self.finish()
        finally:
            os.environ.clear()
            os.environ.update(self.old_env)
            shutil.rmtree(self.base, ignore_errors=True)

    def finish(self) -> None:
        """Everything that was lost comes back; then a clean build in a fresh copy gives the same bytes."""
        for step in self.model.steps.values():
            for source in step.inputs.values():
                if source.kind == "file":
                    self.model.data.setdefault(source.target, "0000\n")
                elif source.kind == "glob":
                    self.model.data.setdefault("data/g/a.txt", "0000\n")
                elif source.kind == "folder":
                    self.model.data.setdefault("data/d/in/a.txt", "0000\n")
        self.here.sync()
        assert self.build()
        assert self.build()
        copy = self.base / "copy"
        shutil.copytree(self.root, copy, ignore=shutil.ignore_patterns(".mlmake", "build"))
        summary = run_build(copy, Request(), "whole")
        assert (summary.ran, summary.failed) == (len(self.model.combinations()), 0)
        assert Disk.load(copy).plain() == self.disk().plain()

    # How a build is held against the oracle.

    def build(
        self,
        targets: tuple[str, ...] = (),
        selected: Collection[str] | None = None,
        order: Order | None = None,
        forced: Collection[str] = (),
        overrides: tuple[str, ...] = (),
        keep_going: bool = False,
        jobs: int = 2,
        way: str = "narrow",
    ) -> bool:
        """Build, check all that is promised; whether everything that was asked for is up to date now."""
        self.is_sound = False
        names = self.names() if selected is None else selected
        order = order or Order()
        before = self.disk()
        states = self.check_status(before, way, overrides=overrides)
        order.write(self.orders)
        self.trace.write_text("")
        if not keep_going and any(each.missing(before) for each in self.model.combinations() if each.name in names):
            self.build_with_missing_input(before, way, targets=targets, overrides=overrides)
            self.is_sound = True
            return False
        request = Request(targets=targets, keep_going=keep_going, jobs=jobs, force=bool(forced), folder=str(self.root))
        restored: list[str] = []
        summary = run_build(self.root, request, way, overrides, restored)
        with self.trace.open("a") as trace:
            trace.writelines(f"{name}\n" for name in restored)
        stops = bool(summary.failed) and not keep_going
        play = self.play(before, names, order=order, forced=forced, stops=stops)
        self.check(play)
        self.check_summary(summary, play, states)
        self.check_disk(play)
        is_good = not summary.failed and not summary.blocked
        if is_good and not order.edits and selected is None:
            assert built_anew(self.model, self.disk(), self.here.mode).plain() == self.disk().plain()
        for each in ("narrow", "whole"):
            self.check_status(self.disk(), each, overrides=overrides)
        self.is_sound = True
        return is_good

    def play(self, before: Disk, names: Collection[str], **other: Any) -> Play:
        play = Play(
            oracle=self.oracle,
            model=self.model,
            disk=Disk(before.files),
            mode=self.here.mode,
            trace=self.trace.read_text().splitlines(),
            selected=names,
            **other,
        )
        note(f"ran: {' '.join(play.trace)}")
        return play

    def check(self, play: Play) -> None:
        problems = play.run()
        assert not problems, "\n".join(problems)

    def build_with_missing_input(
        self, before: Disk, way: str, targets: tuple[str, ...], overrides: tuple[str, ...]
    ) -> None:
        try:
            run_build(self.root, Request(targets=targets, folder=str(self.root)), way, overrides)
        except MissingInputError:
            assert self.trace.read_text() == ""
            if not self.oracle.open:
                assert self.disk().files == before.files
        else:
            raise AssertionError("an input is missing, and nothing was said")

    def check_summary(self, summary: Summary, play: Play, states: dict[str, str]) -> None:
        failed = [name for name in play.trace if name in play.order.fail]
        assert (summary.ran + summary.restored, summary.failed) == (len(play.trace) - len(failed), len(failed))
        assert not summary.cancelled
        wrong = [name for name in play.trace if states[name] not in ("stale", "maybe", "restorable")]
        assert not [name for name in wrong if name not in play.forced and self.was_sure[name]], (wrong, states)
        if not play.stops and not play.order.fail and not summary.blocked:
            left = [
                name for name in play.selected if states[name] in ("stale", "restorable") and name not in play.trace
            ]
            assert not [name for name in left if self.was_sure[name]], (left, states)

    def check_disk(self, play: Play) -> None:
        loose = [path for each in self.combinations(self.oracle.open) for path in each.outputs.values()]
        assert self.disk().without(loose).plain() == play.disk.without(loose).plain()
        for each in self.model.combinations():
            if each.step.folder and each.name not in self.oracle.open:
                path = each.outputs["d"]
                assert self.disk().read(path) == play.disk.read(path)
        home = Home(str(self.root))
        for folder in (home.staging, home.aside):
            assert not os.path.isdir(folder) or os.listdir(folder) == []

    def check_status(
        self, disk: Disk, way: str, targets: tuple[str, ...] = (), overrides: tuple[str, ...] = ()
    ) -> dict[str, str]:
        """`status` says what the oracle says; and the command that answers at once answers only if all is fresh."""
        expected = self.oracle.states(self.model, disk, self.here.mode)
        if targets:
            groups = [each.name for each in self.model.combinations() if each.step.name in targets]
            expected = {name: expected[name] for name in self.with_upstream(groups)}
        if not overrides and is_answered_at_once(self.root, targets):
            assert {*expected.values()} <= {"fresh", None}, expected
        states = run_status(self.root, way, targets, overrides)
        self.was_sure = {name: state is not None for name, state in expected.items()}
        assert states.keys() == expected.keys()
        told = {name: state for name, state in states.items() if self.was_sure[name]}
        for name, state in told.items():
            if state == "restorable":  # it has something to do, as stale has; what it will read may be known by now
                assert self.model.caching
                assert expected[name] in ("stale", "maybe")
                told[name] = expected[name] or ""
        assert told == {name: state for name, state in expected.items() if state is not None}
        return states

    # Killing.

    def kill_inside(self, where: str, count: int, way: str) -> bool:
        """Build in a child of ours that kills itself at the call that the count says; whether it came to its end."""
        home = str(Path(sys.modules["mlmake"].__file__ or "").parent)
        parts = ("engine", "state") if where == "anywhere" else ("engine/ledger", "engine/staging", "state/database")
        places = tuple(f"{home}/{part}" for part in parts)
        left = count if where == "anywhere" else count // 6
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                sys.setprofile(Bomb(places, left).count)
                run_build(self.root, Request(), way)
                sys.setprofile(None)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, -signal.SIGKILL), code
        note(f"killed: {code != 0}")
        return code == 0

    def kill_from_outside(self, count: int) -> bool:
        """Kill a real `mlmake` when so many steps have started; whether it came to its end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "mlmake", "build", "-j2"],
            cwd=self.root,
            env={name: value for name, value in os.environ.items() if not name.startswith("MLMAKE_")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and len(self.trace.read_text().splitlines()) < count:
            time.sleep(0.002)
        process.kill()
        code = process.wait()
        assert code in (0, -signal.SIGKILL), code
        note(f"killed: {code != 0}")
        return code == 0

    def wait_for_all_to_be_gone(self) -> None:
        """A killed build leaves no process: what it had started is ended, and then so is its guard."""
        end = time.monotonic() + PATIENCE
        while any(belongs_to(pid, f"{self.root}:".encode()) for pid in os.listdir("/proc") if pid.isdigit()):
            assert time.monotonic() < end, "a process was left behind"
            time.sleep(0.002)

    # Small things.

    @property
    def here(self) -> World:
        assert self.world is not None
        return self.world

    @property
    def model(self) -> Model:
        return self.here.model

    def disk(self) -> Disk:
        return Disk.load(self.root)

    def names(self) -> list[str]:
        return [each.name for each in self.model.combinations()]

    def combinations(self, names: Collection[str]) -> list[Combination]:
        return [each for each in self.model.combinations() if each.name in names]

    def with_upstream(self, names: Collection[str]) -> set[str]:
        found = set(names)
        for each in reversed(self.model.combinations()):
            if each.name in found:
                found.update(each.above, each.after)
        return found


class Bomb:
    """Counts the calls in some modules, of Python and of C, and kills its process at one of them."""

    def __init__(self, places: tuple[str, ...], left: int) -> None:
        self.places = places
        self.left = left

    def count(self, frame: FrameType, event: str, _: object) -> None:
        if frame.f_code.co_filename.startswith(self.places):
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def run_build(
    root: Path, request: Request, way: str, overrides: tuple[str, ...] = (), restored: list[str] | None = None
) -> Summary:
    """Build; the names of steps that came out of the cache are added to `restored`."""

    def sink(event: Event) -> None:
        if restored is not None and isinstance(event, StepFinished) and event.outcome is Outcome.RESTORED:
            restored.append(event.step.removeprefix("p."))

    if way == "whole":
        return build(load(str(root), overrides), request, sink)
    scope = open_scope(str(root), request.targets, request.folder, overrides, narrow=not request.force)
    return build(scope.project, request, sink, scope)


def run_status(root: Path, way: str, targets: tuple[str, ...], overrides: tuple[str, ...]) -> dict[str, str]:
    with closing(connect(Home(str(root)), create=False)) as connection:
        if way == "whole":
            project = load(str(root), overrides)
            steps = with_upstream(project, named(project, targets))
            verdicts = look(project, connection).assess(steps)
        else:
            scope = open_scope(str(root), targets, str(root), overrides)
            verdicts = judge(scope, connection)
            project = scope.project
    return {project.shown(step): verdict.state.value for step, verdict in verdicts.items()}


def is_answered_at_once(root: Path, targets: tuple[str, ...]) -> bool:
    with redirect_stdout(StringIO()):
        return at_once(["-C", str(root), "status", *targets])


def belongs_to(pid: str, mark: bytes) -> bool:
    if int(pid) == os.getpid():
        return False
    try:
        told = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return mark in told


def tamper_with_file(path: Path, how: str) -> None:
    if how in ("edit", "more"):
        path.write_bytes(b"tampered with\n")
    elif how in ("empty", "less"):
        path.write_bytes(b"")
    elif how == "delete":
        path.unlink()
    elif how == "touch":
        os.utime(path)
    else:
        path.write_bytes(path.read_bytes())


def tamper_with_folder(path: Path, how: str) -> None:
    inner = path / "always.txt"
    if how == "more":
        (path / "new").mkdir(exist_ok=True)
    elif how == "delete":
        remove(path)
    elif how == "flat":
        remove(path)
        path.write_bytes(b"a file now\n")
    elif how == "less":
        remove(path / "deep")
    elif how == "touch":
        os.utime(path)
    elif how == "rewrite":
        inner.write_bytes(inner.read_bytes())
    else:
        inner.write_bytes(b"" if how == "empty" else b"tampered with\n")


SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=14,
    deadline=None,
    print_blob=True,
    derandomize=False,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


@pytest.mark.slow
def test_any_history_of_edits_and_builds() -> None:
    run_state_machine_as_test(Builds, settings=SETTINGS)
