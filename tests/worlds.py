"""Random projects for the model-based test, and a slow oracle that knows what each build must do.

Nothing here comes from mlmake: the oracle reads every file in full at every step, and what a step computes is written
down a second time, as plain Python. Files live in `Disk`, a dict, so that a build can be played through before it is
compared with what was really run and written.
"""

from __future__ import annotations

import copy
import fnmatch
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

PY = """# note {comment:04}
import hashlib, json, os, sys
{imports}
TOKEN, LOSSY, HELPERS = 1{token:03}, {lossy}, [{values}]
try:
    import maybe
    HELPERS.append(maybe.VALUE)
except ImportError:
    pass
env = os.environ
matrix = env.get("MLMAKE_MATRIX_M")
name = "{name}" if matrix is None else "{name}[m=" + matrix + "]"
with open(env["WORLD_TRACE"], "a") as trace:
    trace.write(name + "\\n")
with open(env["WORLD_ORDERS"]) as orders:
    orders = json.load(orders)
edit = orders["edits"].get(name)
if edit and edit["early"]:
    open(edit["path"], "w").write(edit["text"])

def md5(text):
    return hashlib.md5(text.encode()).hexdigest()

def content(path):
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return file.read()
    found = []
    for folder, folders, files in os.walk(path):
        for each in files:
            whole = os.path.join(folder, each)
            found.append((os.path.relpath(whole, path), content(whole)))
    return b"".join(relative.encode() + b"\\0" + inner + b"\\0" for relative, inner in sorted(found))

lines = ["token %d" % TOKEN] + HELPERS
lines += ["param " + env["MLMAKE_PARAM_" + each] for each in {params}]
lines += ["matrix " + str(matrix)]
for each in {inputs}:
    for path in env["MLMAKE_INPUT_" + each].split("\\n"):
        lines.append("input " + each + " " + hashlib.md5(content(path)).hexdigest())
answer = md5("\\n".join(lines))
number = int(answer, 16)
if LOSSY:
    number = number % 2
    answer = str(number)
if edit and not edit["early"]:
    open(edit["path"], "w").write(edit["text"])
fails = name in orders["fail"]
if "MLMAKE_OUTPUT_O" in env:
    with open(env["MLMAKE_OUTPUT_O"], "w") as file:
        file.write("half of it" if fails else answer + "\\n")
if "MLMAKE_OUTPUT_D" in env:
    base = env["MLMAKE_OUTPUT_D"]
    os.makedirs(base + "/deep")
    for each in range(number % 3 + fails):
        with open(base + "/deep/part-%d.txt" % each, "w") as file:
            file.write(answer)
    if not fails:
        with open(base + "/always.txt", "w") as file:
            file.write(answer)
        os.chmod(base + "/always.txt", 0o755 if number % 5 < 2 else 0o644)
if fails:
    sys.exit(3)
if "MLMAKE_OUTPUT_K" in env:
    with open(env["MLMAKE_OUTPUT_K"], "w") as file:
        json.dump({{"score": number % 1000}}, file)
"""

SH = """# note {comment:04}
set -e
name=$1 out=$2
shift 2
echo "$name" >> "$WORLD_TRACE"
if grep -qxF "$name" "$WORLD_ORDERS.fail"; then echo half > "$out"; exit 3; fi
{{ echo "token {token:04}"; for word in "$@"; do
if [ -f "$word" ]; then cat "$word"; else echo "word $word"; fi; done; }} | md5sum | cut -c1-{width} > "$out"
"""

INLINE = (
    """echo '{name}' >> "$WORLD_TRACE"; """
    """if grep -qxF '{name}' "$WORLD_ORDERS.fail"; then echo half > {{outputs.o}}; exit 3; fi; """
    """{{ echo token {token:04}; for word in {words}; do """
    """if [ -f "$word" ]; then cat "$word"; else echo "word $word"; fi; done; }} """
    """| md5sum | cut -c1-{width} > {{outputs.o}}"""
)

Tree: TypeAlias = tuple[tuple[str, bool, bytes], ...]
Content: TypeAlias = bytes | Tree
Facts: TypeAlias = Mapping[str, object]


# What a project says.


@dataclass
class Source:
    """One input: `file`, `glob` and `folder` are data; the others are made by the step `target`."""

    kind: str
    target: str


@dataclass
class Step:
    """A step as declared."""

    name: str
    language: str
    token: int = 0
    comment: int = 0
    lossy: bool = False
    helpers: list[str] = field(default_factory=list)
    matrix: bool = False
    inputs: dict[str, Source] = field(default_factory=dict)
    params: list[str] = field(default_factory=list)
    variable: bool = False
    folder: bool = False
    metrics: bool = False
    bare: bool = False
    in_place: bool = False
    reuse: bool = True
    salt: int = 0
    after: list[str] = field(default_factory=list)
    words: int = 0
    moved: bool = False

    @property
    def script(self) -> str:
        return f"steps/{self.name}.{'py' if self.language == 'py' else 'sh'}"


@dataclass
class Helper:
    """A module in one of the folders that Python looks in; `shadow` is one of the same name that goes before it."""

    name: str
    place: str
    imports: list[str]
    token: int = 0
    comment: int = 0
    shadow: int | None = None

    @property
    def path(self) -> str:
        return f"{self.place}{self.name}.py"

    @property
    def files(self) -> list[str]:
        """The files that are run when it is imported."""
        if self.shadow is not None:
            return [f"steps/{self.name}.py"]
        return ["src/pk/__init__.py", self.path] if self.place == "src/pk/" else [self.path]


@dataclass
class Model:
    """All that the user wrote: `pipelines.toml`, scripts, helpers, data."""

    steps: dict[str, Step] = field(default_factory=dict)
    helpers: dict[str, Helper] = field(default_factory=dict)
    params: dict[str, int] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    axis: list[int] = field(default_factory=lambda: [0, 1])
    package: int = 0
    maybe: int | None = None
    backwards: bool = False
    caching: bool = False

    # As files.

    def files(self) -> dict[str, str]:
        """Every file by its path, with its text."""
        found = dict(self.data)
        found["pipelines.toml"] = self.toml()
        found["src/pk/__init__.py"] = f"INIT = 1{self.package:03}\n"
        if self.maybe is not None:
            found["steps/maybe.py"] = f"VALUE = 'maybe {self.maybe:04}'\n"
        for helper in self.helpers.values():
            found[helper.path] = self._module(helper, helper.token)
            if helper.shadow is not None:
                found[f"steps/{helper.name}.py"] = self._module(helper, helper.shadow)
        for step in self.steps.values():
            if step.language == "py":
                found[step.script] = self._python(step)
            elif step.language == "sh":
                width = 1 if step.lossy else 32
                found[step.script] = SH.format(comment=step.comment, token=step.token, width=width)
        return found

    def _module(self, helper: Helper, token: int) -> str:
        lines = [f"# note {helper.comment:04}"]
        lines += [self._import(name, within=helper.place) for name in helper.imports]
        parts = [f"'{helper.name} {token:04}'", *(f"{name}.VALUE" for name in helper.imports)]
        return "\n".join([*lines, f"VALUE = {' + '.join(parts)}", ""])

    def _import(self, name: str, within: str = "") -> str:
        if self.helpers[name].place == "src/pk/":
            return f"from . import {name}" if within == "src/pk/" else f"from pk import {name}"
        return f"import {name}"

    def _python(self, step: Step) -> str:
        return PY.format(
            name=step.name,
            comment=step.comment,
            token=step.token,
            lossy=step.lossy,
            imports="\n".join(self._import(name) for name in step.helpers),
            values=", ".join(f"{name}.VALUE" for name in step.helpers),
            params=[name.upper() for name in step.params],
            inputs=[name.upper() for name in step.inputs],
        )

    def toml(self) -> str:
        params = ", ".join(f"{name} = {value}" for name, value in self.params.items())
        lines = [f"[cache]\nenabled = {_toml(self.caching)}", '[compute.other]\nkind = "local"']
        lines += [f"[pipelines.p]\nparams = {{ {params} }}"]
        steps = list(self.steps.values())
        lines += [self._table(step) for step in (reversed(steps) if self.backwards else steps)]
        return "\n".join(lines)

    def _table(self, step: Step) -> str:
        keys: dict[str, object] = {"script": step.script} if step.language == "py" else {"command": self.command(step)}
        keys["inputs"] = {name: self._path(source) for name, source in step.inputs.items()}
        keys["outputs"] = {name: text for name, text in self.outputs(step).items() if name != "k"}
        if step.metrics:
            keys["metrics"] = {"k": self.outputs(step)["k"]}
        if step.matrix:
            keys["matrix"] = {"m": self.axis}
        keys |= {"params": step.params, "after": step.after, "in_place": step.in_place, "reuse": step.reuse}
        keys["version"] = step.salt or ""
        # Words that decide nothing.
        if step.words:
            keys |= {"description": f"words {step.words}", "tags": [f"t{step.words}"], "timeout": 600 + step.words}
            keys |= {"compute": "other" if step.words % 2 else "local", "resources": {"cpus": 1}}
        return "\n".join([f"[pipelines.p.steps.{step.name}]", *(f"{k} = {_toml(v)}" for k, v in keys.items())])

    def command(self, step: Step) -> str:
        name = f"{step.name}[m={{matrix.m}}]" if step.matrix else step.name
        words = [f"{{params.{each}}}" for each in step.params]
        words += ["{env.WORLD_MODE}"] if step.variable else []
        words += [f"{{inputs.{each}}}" for each in step.inputs]
        if step.language == "sh":
            return f"sh {step.script} '{name}' {{outputs.o}} {' '.join(words)}".strip()
        width = 1 if step.lossy else 32
        return INLINE.format(name=name, token=step.token, width=width, words=" ".join(words))

    def outputs(self, step: Step) -> dict[str, str]:
        """The declared outputs with their placeholders."""
        if step.bare:
            return {}
        mark = "-{matrix.m}" if step.matrix else ""
        base = f"build/{step.name}/{'new-' if step.moved else ''}"
        found = {"o": f"{base}o{mark}.txt"}
        if step.folder:
            found["d"] = f"{base}d{mark}/"
        if step.metrics:
            found["k"] = f"{base}k{mark}.json"
        return found

    def _path(self, source: Source) -> str:
        target = source.target
        made = self.outputs(self.steps[target]) if target in self.steps else {}
        return {
            "file": target,
            "glob": f"{target}/*.txt",
            "folder": f"{target}/",
            "all": f"@{target}.o",
            "one": f"@{target}[m=0].o",
            "same": f"@{target}[m={{matrix.m}}].o",
            "path": made.get("o", ""),
            "made glob": f"build/{target}/*.txt",
            "made folder": f"build/{target}/",
            "tree": f"@{target}.d",
            "inside": f"{made.get('d')}always.txt",
        }[source.kind]

    # As steps that run.

    def combinations(self) -> list[Combination]:
        """Every step that runs, in the order of their making: each after all that come before it."""
        found: list[Combination] = []
        for step in self.steps.values():
            found += [Combination(self, step, value) for value in (self.axis if step.matrix else [None])]
        return found

    def closure(self, names: Iterable[str]) -> list[Helper]:
        """Helpers that are imported, directly or through others."""
        found: dict[str, Helper] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = self.helpers[name]
                waiting += self.helpers[name].imports
        return list(found.values())

    def value(self, name: str) -> str:
        """What `VALUE` of a helper is."""
        helper = self.helpers[name]
        token = helper.token if helper.shadow is None else helper.shadow
        return f"{name} {token:04}" + "".join(self.value(each) for each in helper.imports)


@dataclass(frozen=True)
class Combination:
    """A step that runs."""

    model: Model
    step: Step
    value: int | None

    @property
    def name(self) -> str:
        return self.step.name if self.value is None else f"{self.step.name}[m={self.value}]"

    @property
    def outputs(self) -> dict[str, str]:
        return {k: text.replace("{matrix.m}", str(self.value)) for k, text in self.model.outputs(self.step).items()}

    def producers(self, source: Source) -> list[Combination]:
        """The steps that make a source."""
        if source.kind in ("file", "glob", "folder"):
            return []
        members = [each for each in self.model.combinations() if each.step.name == source.target]
        wanted = {"one": 0, "same": self.value}.get(source.kind)
        return [each for each in members if wanted is None or each.value == wanted]

    @property
    def above(self) -> list[str]:
        """Names of the steps that it reads from."""
        return [each.name for source in self.step.inputs.values() for each in self.producers(source)]

    @property
    def after(self) -> list[str]:
        return [each.name for each in self.model.combinations() if each.step.name in self.step.after]

    def paths(self, source: Source, disk: Disk) -> list[str]:
        """What a source names, in the order in which it is handed over; a folder ends in a slash."""
        target = source.target
        if source.kind == "glob":
            return disk.matching(f"{target}/*.txt")
        if source.kind == "made glob":
            return disk.matching(f"build/{target}/*.txt")
        if source.kind == "folder":
            return [f"{target}/"]
        if source.kind == "made folder":
            return [f"build/{target}/"]
        if source.kind == "inside":
            return [f"{each.outputs['d']}always.txt" for each in self.producers(source)]
        if source.kind == "file":
            return [target]
        return [each.outputs["d" if source.kind == "tree" else "o"] for each in self.producers(source)]

    def missing(self, disk: Disk) -> bool:
        """Whether something that nobody makes is not there."""
        for source in self.step.inputs.values():
            if not self.producers(source):
                paths = self.paths(source, disk)
                if not paths or any(disk.read(path) is None for path in paths):
                    return True
        return False

    # Facts and results.

    def facts(self, disk: Disk, mode: str, unknown: Collection[str] = ()) -> Facts:
        """Everything that decides what it computes; inputs made by `unknown` steps are left out."""
        found: dict[str, object] = {"outputs": self.outputs, "salt": self.step.salt, "in_place": self.step.in_place}
        found["params"] = {name: self.model.params[name] for name in self.step.params}
        found["matrix"] = self.value
        if self.step.language != "py":
            found["command"] = self.model.command(self.step)
        found["mode"] = mode if self.step.variable else None
        for path in self.code():
            found[f"code {path}"] = disk.read(path)
        for name, source in self.step.inputs.items():
            if not any(each.name in unknown for each in self.producers(source)):
                found[f"input {name}"] = [(path, disk.read(path)) for path in self.paths(source, disk)]
        return found

    def code(self) -> list[str]:
        """The files that are its code."""
        if self.step.language == "inline":
            return []
        found = [self.step.script]
        if self.step.language == "py":
            found += [path for helper in self.model.closure(self.step.helpers) for path in helper.files]
            found += ["steps/maybe.py"] if self.model.maybe is not None else []
        return found

    def compute(self, disk: Disk, mode: str) -> dict[str, Content]:
        """What it writes, by path."""
        answer = self._python(disk) if self.step.language == "py" else self._shell(disk, mode)
        number = int(hashlib.md5(answer.encode()).hexdigest(), 16) if self.step.language != "py" else int(answer, 16)
        if self.step.lossy and self.step.language == "py":
            number %= 2
            answer = str(number)
        if self.step.bare:
            return {}
        written: dict[str, Content] = {self.outputs["o"]: f"{answer}\n".encode()}
        if self.step.folder:
            parts = [(f"deep/part-{each}.txt", False, answer.encode()) for each in range(number % 3)]
            always = ("always.txt", number % 5 < 2, answer.encode())
            written[self.outputs["d"]] = tuple(sorted([always, ("deep/", False, b""), *parts]))
        if self.step.metrics:
            written[self.outputs["k"]] = json.dumps({"score": number % 1000}).encode()
        return written

    def _python(self, disk: Disk) -> str:
        lines = [f"token 1{self.step.token:03}", *(self.model.value(name) for name in self.step.helpers)]
        lines += [f"maybe {self.model.maybe:04}"] if self.model.maybe is not None else []
        lines += [f"param {self.model.params[name]}" for name in self.step.params]
        lines += [f"matrix {self.value}"]
        for name, source in self.step.inputs.items():
            for path in self.paths(source, disk):
                lines.append(f"input {name.upper()} {hashlib.md5(_flat(disk.read(path))).hexdigest()}")
        return hashlib.md5("\n".join(lines).encode()).hexdigest()

    def _shell(self, disk: Disk, mode: str) -> str:
        words = [str(self.model.params[name]) for name in self.step.params] + ([mode] if self.step.variable else [])
        text = f"token {self.step.token:04}\n".encode() + b"".join(f"word {word}\n".encode() for word in words)
        for source in self.step.inputs.values():
            for path in self.paths(source, disk):
                text += _flat(disk.read(path))
        return hashlib.md5(text).hexdigest()[: 1 if self.step.lossy else 32]


def _flat(content: Content | None) -> bytes:
    assert content is not None
    if isinstance(content, bytes):
        return content
    inner = ((name, each) for name, _, each in content if not name.endswith("/"))
    return b"".join(name.encode() + b"\0" + each + b"\0" for name, each in sorted(inner))


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return json.dumps(value)


# What stands on the disk.


class Disk:
    """Files and folders of a project by their paths, `.mlmake` left out; a folder's path ends in a slash."""

    def __init__(self, files: Mapping[str, tuple[bool, bytes]]) -> None:
        self.files = dict(files)

    @classmethod
    def load(cls, root: Path) -> Disk:
        found: dict[str, tuple[bool, bytes]] = {}
        for folder, folders, files in os.walk(root):
            folders[:] = [each for each in folders if each not in (".mlmake", "__pycache__")]
            relative = os.path.relpath(folder, root)
            base = "" if relative == "." else f"{relative}/"
            found.update((f"{base}{each}/", (False, b"")) for each in folders)
            for each in files:
                path = os.path.join(folder, each)
                with open(path, "rb") as file:
                    found[f"{base}{each}"] = (bool(os.stat(path).st_mode & 0o100), file.read())
        return cls(found)

    def read(self, path: str) -> Content | None:
        """What is at a path; the path of a folder may lack its slash."""
        plain = path.removesuffix("/")
        if plain in self.files:
            return self.files[plain][1]
        base = f"{plain}/"
        if base not in self.files:
            return None
        return tuple(sorted((p[len(base) :], *self.files[p]) for p in self.files if p.startswith(base) and p != base))

    def write(self, path: str, content: Content) -> None:
        """Put a file or a whole folder into its place."""
        self.remove(path)
        parts = path.removesuffix("/").split("/")
        for end in range(1, len(parts)):
            self.files["/".join(parts[:end]) + "/"] = (False, b"")
        if isinstance(content, bytes):
            self.files[path] = (False, content)
            return
        self.files[path] = (False, b"")
        self.files.update((f"{path}{name}", (is_run, inner)) for name, is_run, inner in content)

    def remove(self, path: str) -> None:
        plain = path.removesuffix("/")
        gone = [each for each in self.files if each == plain or each.startswith(f"{plain}/")]
        for each in gone:
            del self.files[each]

    def matching(self, pattern: str) -> list[str]:
        """Paths that a glob matches, in the order of their names."""
        depth = pattern.count("/")
        found = (path.removesuffix("/") for path in self.files)
        return sorted(path for path in found if path.count("/") == depth and fnmatch.fnmatchcase(path, pattern))

    def without(self, paths: Iterable[str]) -> Disk:
        """All but some files and folders."""
        rest = Disk(self.files)
        for path in paths:
            rest.remove(path)
        return rest

    def plain(self) -> dict[str, tuple[bool, bytes]]:
        """Files without the folders around them, to compare."""
        return {path: each for path, each in self.files.items() if not path.endswith("/")}


# What a build must do.


@dataclass
class Memory:
    """A good run that may be the last one of a step; without facts it equals nothing."""

    facts: Facts | None
    outputs: Mapping[str, Content | None]


class Oracle:
    """Remembers each step's last good run and says what a build must do.

    A step has several memories where a build that was killed may or may not have remembered its run, and is `open`
    where that build may have left what an in-place step had half written.
    """

    def __init__(self) -> None:
        self.memories: dict[str, list[Memory | None]] = {}
        self.open: set[str] = set()

    def of(self, name: str) -> list[Memory | None]:
        return self.memories.get(name, [None])

    def is_sure(self, name: str) -> bool:
        return name not in self.open and len(self.of(name)) == 1

    def differs(
        self, each: Combination, disk: Disk, mode: str, memory: Memory | None, unknown: Collection[str] = ()
    ) -> bool:
        """Whether a step must run if that was its last good run."""
        if memory is None or memory.facts is None or not each.step.reuse:
            return True
        facts = each.facts(disk, mode, unknown)
        declared = {f"input {name}" for name in each.step.inputs}
        waiting = declared - facts.keys()
        if waiting - memory.facts.keys():
            return True
        if facts != {name: value for name, value in memory.facts.items() if name not in waiting}:
            return True
        return any(disk.read(path) != content for path, content in memory.outputs.items())

    def states(self, model: Model, disk: Disk, mode: str, forced: Collection[str] = ()) -> dict[str, str | None]:
        """What `status` must say of each step; None where that is open."""
        states: dict[str, str | None] = {}
        unsure: set[str] = set()
        for each in model.combinations():
            above, after = [states[name] for name in each.above], [states[name] for name in each.after]
            if not self.is_sure(each.name) or any(name in unsure for name in (*each.above, *each.after)):
                unsure.add(each.name)
                states[each.name] = None
                continue
            unknown = [name for name in each.above if states[name] != "fresh"]
            is_stale = each.name in forced or self.differs(each, disk, mode, self.of(each.name)[0], unknown)
            if each.missing(disk) or "blocked" in above or ("blocked" in after and (is_stale or unknown)):
                states[each.name] = "blocked"
            else:
                states[each.name] = "stale" if is_stale else "maybe" if unknown else "fresh"
        return states


@dataclass
class Order:
    """How a build goes on: which steps fail, and which file is edited under which step."""

    fail: Sequence[str] = ()
    edits: Mapping[str, Edit] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        edits = {name: {"path": e.path, "text": e.text, "early": e.early} for name, e in self.edits.items()}
        path.write_text(json.dumps({"fail": list(self.fail), "edits": edits}))
        Path(f"{path}.fail").write_text("".join(f"{name}\n" for name in self.fail) or "-\n")


@dataclass
class Edit:
    """A file that a step's script writes while the step runs, before or after it has read its inputs."""

    path: str
    text: str
    early: bool


@dataclass(kw_only=True)
class Play:
    """Plays a build through and holds it against what really ran.

    Attributes:
        trace: the steps that really ran, as they told themselves.
        selected: the steps that the build was asked for, with all before them.
        stops: the build ends at the first failure, or was killed: a step that did not run proves nothing.
        killed: the build was killed: what ran last may be forgotten.
    """

    oracle: Oracle
    model: Model
    disk: Disk
    mode: str
    trace: Sequence[str]
    selected: Collection[str]
    order: Order = field(default_factory=Order)
    forced: Collection[str] = ()
    stops: bool = False
    killed: bool = False

    def run(self) -> list[str]:
        """What is wrong; the oracle and `disk` are brought up to date."""
        problems = [f"{name} ran twice" for name in {*self.trace} if self.trace.count(name) > 1]
        problems += [f"{name} ran, but was not asked for" for name in {*self.trace} - {*self.selected}]
        self._planned = self.oracle.states(self.model, self.disk, self.mode, self.forced)
        self._stopped: set[str] = set()
        for each in self.model.combinations():
            if each.name in self.selected:
                problems += self._step(each)
        return problems

    def _step(self, each: Combination) -> Iterator[str]:
        oracle, name = self.oracle, each.name
        did = name in self.trace
        verdicts = [oracle.differs(each, self.disk, self.mode, memory) for memory in oracle.of(name)]
        may = any(verdicts) or name in oracle.open or name in self.forced
        must = (all(verdicts) and name not in oracle.open) or name in self.forced
        waits = self._planned[name] != "fresh" and not self._stopped.isdisjoint((*each.above, *each.after))
        if waits or self._planned[name] == "blocked":
            self._stopped.add(name)
            if did:
                yield f"{name} ran, but something before it failed or is missing"
            return
        if did and not may:
            yield f"{name} ran, but was fresh"
        proves = not (self.stops or self.killed)
        if must and not did and proves:
            yield f"{name} did not run, but was stale: {self._why(each)}"
        if did:
            self._ran(each)
        elif self.killed and may and each.step.in_place:
            self.oracle.open.add(name)  # its old output may have been set aside, although it has not told of itself
        elif proves:
            self._settle(each, verdicts)

    def _ran(self, each: Combination) -> None:
        edit = self.order.edits.get(each.name)
        facts: Facts | None = each.facts(self.disk, self.mode)
        if each.name in self.order.fail:
            self._stopped.add(each.name)
            if edit:
                self.disk.write(edit.path, edit.text.encode())
            return
        if edit and edit.early:
            self.disk.write(edit.path, edit.text.encode())
        written = each.compute(self.disk, self.mode)
        if edit:
            self.disk.write(edit.path, edit.text.encode())
            facts = None
        for path, content in written.items():
            self.disk.write(path, content)
        memory = Memory(facts, written)
        self.oracle.open.discard(each.name)
        if self.killed and not self._has_followers(each):
            self.oracle.memories[each.name] = [*self.oracle.of(each.name), memory]
            if each.step.in_place or each.step.folder:
                self.oracle.open.add(each.name)  # these take more than one rename; the next build puts them right
        else:
            self.oracle.memories[each.name] = [memory]

    def _has_followers(self, each: Combination) -> bool:
        """Whether a step that comes after it ran: then it was remembered before that."""
        return any(
            each.name in (*other.above, *other.after) for other in self.model.combinations() if other.name in self.trace
        )

    def _settle(self, each: Combination, verdicts: Sequence[bool]) -> None:
        """It was judged and did not run: the memories that would have made it run are wrong."""
        if each.name in self.oracle.open:
            self.oracle.open.discard(each.name)
            written = each.compute(self.disk, self.mode)
            for path, content in written.items():
                self.disk.write(path, content)
            self.oracle.memories[each.name] = [Memory(each.facts(self.disk, self.mode), written)]
            return
        kept = [m for m, differs in zip(self.oracle.of(each.name), verdicts, strict=True) if not differs]
        self.oracle.memories[each.name] = kept[:1] or self.oracle.of(each.name)[:1]

    def _why(self, each: Combination) -> str:
        memory = self.oracle.of(each.name)[0]
        if memory is None or memory.facts is None:
            return "never ran" if memory is None else "something was edited while it ran"
        facts = each.facts(self.disk, self.mode)
        names = [name for name in facts.keys() | memory.facts.keys() if facts.get(name) != memory.facts.get(name)]
        return ", ".join(names) or "its outputs"


def built_anew(model: Model, disk: Disk, mode: str) -> Disk:
    """The disk after a clean build of the same sources."""
    found = disk.without(["build"])
    for each in model.combinations():
        for path, content in each.compute(found, mode).items():
            found.write(path, content)
    return found


# Making a world, and writing it down.


class World:
    """A model, and the folder that holds it."""

    def __init__(self, root: Path, model: Model) -> None:
        self.root = root
        self.model = model
        self.mode = "0000"
        self.history: list[Model] = []
        self._written: dict[str, str] = {}

    def keep(self) -> None:
        """Remember the model as it is, to come back to."""
        self.history.append(copy.deepcopy(self.model))

    def go_back(self, steps: int) -> None:
        if self.history:
            self.model = copy.deepcopy(self.history[-1 - steps % len(self.history)])

    def sync(self, style: str = "write") -> None:
        """Bring the folder up to the model, writing each file that differs in the given style."""
        files = self.model.files()
        for path in self._written.keys() - files.keys():
            (self.root / path).unlink(missing_ok=True)
        for path, text in files.items():
            if self._written.get(path) != text or not (self.root / path).exists():
                save(self.root / path, text, style)
        self._written = files
        self._drop_orphans()

    def was_written(self, path: str, text: str) -> None:
        """Someone else wrote a file of the model."""
        self._written[path] = text

    def _drop_orphans(self) -> None:
        """Remove what steps that are no more have made: a glob would still find it, as in make."""
        made = {path for each in self.model.combinations() for path in each.outputs.values()}
        disk = Disk.load(self.root)
        for path in sorted(disk.files, reverse=True):
            inside = path in made or any(path.startswith(each) for each in made if each.endswith("/"))
            around = path.endswith("/") and any(each.startswith(path) for each in made)
            if path.startswith("build/") and not inside and not around:
                remove(self.root / path)


def save(path: Path, text: str, style: str = "write") -> None:
    """Write a file: in place or by renaming; `keep` leaves its mtime as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.stat() if path.exists() else None
    if "rename" in style:
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text)
        beside.replace(path)
    else:
        path.write_text(text)
    if "keep" in style and old:
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


def remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink()
