"""What is wrong in a file is told with its place, what it is, and the nearest legal word; all of it at once."""

from __future__ import annotations

import re

import pytest
from reading import read, steps, told

from mlmake.config.load import load, parse
from mlmake.engine.checks import check_supported
from mlmake.errors import ConfigError, Problem, UsageError
from mlmake.plan.selection import named
from projects import Folder

S = "[s]\nscript = 's.py'\n"
PIPELINE = """
[clean]
script = "c.py"
outputs = { table = "t.csv", log = "l.txt" }
[fit]
script = "f.py"
matrix = { fold = [0, 1], rate = [0.1, 0.2] }
outputs = { fitted = "m-{matrix.fold}-{matrix.rate}" }
[params]
seed = 7
model = { depth = 8 }
names = ["a"]
"""
AT = "pipelines.p.steps.s"
DURATION = "expected a duration such as '90s', '2h' or '1h30m', or a number of seconds"
SIZE = "expected a size such as '8GiB' or a number of bytes"
NAME = "is no name: use letters, digits, _ and -, at most 100"
FIRST = "the file declares no pipelines; a step is a table [pipelines.NAME.steps.NAME]"
SECTIONS = "project, datastores, cache, tracking, environments, compute, pipelines"
LISTED = "expected a table, got a list of tables; a table's header has single brackets: [name]"
OUTSIDE = "declare its folder under [datastores] and write name://path"
NO_PART = "cannot be part of a step's name: no [ ] = , * and no line breaks, no blanks around it"
NO_KEY = "is no key for a parameter: it is empty or holds a dot or a ="
KEYS = 'expected a list of parameter keys or a table `own-name = "key"`'
SYSTEM = "'system' is the Python that runs mlmake: give this one another name"
NOT_BOTH = "a step has a 'script' or a 'command', not both"


def alone(text: str) -> str:
    """The one problem of a file."""
    (line,) = told(text)
    return line


# Tables and keys.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", FIRST),
        ("# only a comment\n", FIRST),
        ("[project]", f"pipelines: {FIRST}"),
        ("[pipelines]", f"pipelines: {FIRST}"),
        ("[pipelines.p]", "pipelines.p: the pipeline has no steps: each is a table [pipelines.p.steps.NAME]"),
        ("[pipelines.p.steps]", "pipelines.p: the pipeline has no steps: each is a table [pipelines.p.steps.NAME]"),
        ("a = 1", f"unknown key 'a'; known: {SECTIONS}"),
        ("[pipeline.p.steps.s]\nscript='x'", "unknown table 'pipeline'; did you mean 'pipelines'?"),
        ("[steps.s]\nscript='x'", "unknown table 'steps': steps stand in a pipeline, as [pipelines.NAME.steps.NAME]"),
        (f"default = 's'\n{S}", "unknown key 'default': it stands in [project]"),
        (f"[project]\ndefult = 's'\n{S}", "project: unknown key 'defult'; did you mean 'default'?"),
        (f"[project]\nroot = '.'\n{S}", "project: unknown key 'root'; known: name, default"),
        ("[pipelines.p.step.s]\nscript='x'", "pipelines.p: unknown key 'step'; did you mean 'steps'?"),
        ("[s]\nscirpt = 'x'", f"{AT}: unknown key 'scirpt'; did you mean 'script'?"),
        ("[s]\ncmd = 'x'", f"{AT}: unknown key 'cmd'; did you mean 'command'?"),
        (f"{S}input = {{}}", f"{AT}: unknown key 'input'; did you mean 'inputs'?"),
        (f"{S}deps = {{}}", f"{AT}: unknown key 'deps'; did you mean 'inputs'?"),
        (f"{S}outs = {{}}", f"{AT}: unknown key 'outs'; did you mean 'outputs'?"),
        (f"{S}depends_on = []", f"{AT}: unknown key 'depends_on'; did you mean 'after'?"),
        (f"{S}Retries = 1", f"{AT}: unknown key 'Retries'; did you mean 'retries'?"),
        (f"{S}qqq = 1", f"{AT}: unknown key 'qqq'"),
        (f"{S}'a\\nb' = 1", f"{AT}: unknown key 'a\\\\nb'"),
        ('[s]\nscript="s.py"\n"a\\nb\\u001b[31m" = 1', f"{AT}: unknown key 'a\\nb\\x1b[31m'"),
        ("[s]", f"{AT}: what does it run? Give it a 'script' or a 'command'"),
        ("[s]\nkind = 'python'", f"{AT}: key 'script' is missing"),
        ("[s]\nkind = 'pyhton'\nscript = 's.py'", f"{AT}.kind: unknown step kind 'pyhton'; did you mean 'python'?"),
        (
            "[s]\nkind = 'spark'\nscript = 's.py'",
            f"{AT}.kind: unknown step kind 'spark'; known: python, command, transfer, pick",
        ),
        ("[s]\nscript = 's.py'\ncommand = 'x'", f"{AT}: {NOT_BOTH}"),
        (
            "[s]\nkind = 'command'\nscript = 's.py'",
            f"{AT}: kind 'command' has no 'script'; without 'kind' the step is what it names",
        ),
        (
            "[s]\ncommand = 'x'\nargs = []",
            f"{AT}: unknown key 'args': a command holds its arguments itself; 'args' go with a 'script'",
        ),
    ],
)
def test_tables_and_keys(text: str, message: str) -> None:
    assert alone(text) == message


@pytest.mark.parametrize(
    "where",
    [
        "project",
        "datastores",
        "environments",
        "environments.e",
        "compute",
        "compute.c",
        "pipelines",
        "pipelines.p",
        "pipelines.p.params",
        "pipelines.p.steps",
        "pipelines.p.steps.t",
        "pipelines.p.steps.t.inputs",
        "pipelines.p.steps.t.outputs",
        "pipelines.p.steps.t.metrics",
        "pipelines.p.steps.t.matrix",
        "pipelines.p.steps.t.resources",
    ],
)
@pytest.mark.parametrize(("value", "shown"), [("3", "3"), ("'x'", "'x'"), ("[]", "[]"), ("[{ a = 1 }]", "")])
def test_something_else_where_a_table_is_due(where: str, value: str, shown: str) -> None:
    script = "pipelines.p.steps.t.script = 'x'\n" if where.startswith("pipelines.p.steps.t.") else ""
    is_above = where in ("pipelines", "pipelines.p", "pipelines.p.steps")
    other = "" if is_above else "pipelines.p.steps.s.script = 's.py'\n"
    wanted = f"expected a table, got {shown}" if shown else LISTED
    assert told(f"{script}{other}{where} = {value}") == [f"{where}: {wanted}"]


@pytest.mark.parametrize(
    ("text", "where"), [("[[pipelines.p.steps.s]]", AT), ("[[pipelines.p]]", "pipelines.p"), ("[[project]]", "project")]
)
def test_double_brackets(text: str, where: str) -> None:
    assert f"{where}: {LISTED}" in told(text)


# Single values.


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("script = 3", "script: expected a text, got 3"),
        ("script = ''", "script: a path cannot be empty"),
        ("script = ['a.py']", "script: expected a text, got ['a.py']"),
        ("script = 's.py'\nargs = '--x'", "args: expected a list of texts, got '--x'"),
        ("script = 's.py'\nargs = [1]", "args: expected a list of texts, got [1]"),
        ("command = ''", "command: expected a text or a list of texts, got ''"),
        ("command = '  '", "command: expected a text or a list of texts, got '  '"),
        ("command = []", "command: expected a text or a list of texts, got []"),
        ("command = ['']", "command: expected a text or a list of texts, got ['']"),
        ("command = ['a', 1]", "command: expected a text or a list of texts, got ['a', 1]"),
        ("command = { a = 1 }", "command: expected a text or a list of texts, got { a = 1 }"),
        ('command = "a\\u0000b"', "command: a command line cannot hold a NUL character"),
        ("kind = 3\nscript = 's.py'", "kind: expected a text, got 3"),
    ],
)
def test_what_a_step_runs(said: str, message: str) -> None:
    assert alone(f"[s]\n{said}") == f"{AT}.{message}"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("description = 3", "description: expected a text, got 3"),
        ("tags = 'slow'", "tags: expected a list of texts, got 'slow'"),
        ("tags = [1]", "tags: expected a list of texts, got [1]"),
        ("inputs = { a = 3 }", "inputs.a: expected a path or a list of paths, got 3"),
        ("inputs = { a = [3] }", "inputs.a: expected a path or a list of paths, got [3]"),
        (
            "inputs = { a = { b = 'c' } }",
            "inputs.a: expected a path, a list of paths or a table with 'path', got { b = 'c' }",
        ),
        ("inputs = { a = 1979-05-27T07:32:00Z }", re.compile(r"inputs\.a: .*, got 1979-05-27 07:32:00.*")),
        ("inputs = { 'a b' = 'x' }", f"inputs: 'a b' {NAME}"),
        ("inputs = { 'a.b' = 'x' }", f"inputs: 'a.b' {NAME}"),
        ("inputs = { '' = 'x' }", f"inputs: '' {NAME}"),
        ("inputs = { '-x' = 'x' }", f"inputs: '-x' {NAME}"),
        (f"inputs = {{ {'x' * 101} = 'x' }}", f"inputs: '{'x' * 55}…' {NAME}"),
        ("outputs = { a = ['x'] }", "outputs.a: expected a text, got ['x']"),
        ("outputs = { 'a b' = 'x' }", f"outputs: 'a b' {NAME}"),
        ("metrics = { a = 3 }", "metrics.a: expected a text, got 3"),
        ("metrics = { a = 'm/' }", "metrics.a: metrics are a JSON file, not a folder: 'm/'"),
        ("outputs = { a = 'x' }\nmetrics = { a = 'y' }", "metrics: 'a' is the name of an output already"),
        ("code = 3", "code: expected a path or a list of paths, got 3"),
        ("code = ['../x']", "code: '../x' leaves the project; a step's code lies in the project"),
        ("code = 's3://b/x.py'", "code: 's3://b/x.py' is no file of the project: code is not read from elsewhere"),
        ("code = ['{matrix.x}/*']", "code: '{matrix.x}/*': placeholders cannot stand here"),
        ("after = 'clean'", "after: expected a list of texts, got 'clean'"),
        ("retries = -1", "retries: cannot be negative: -1"),
        ("retries = 1.5", "retries: expected a whole number, got 1.5"),
        ("retries = '2'", "retries: expected a whole number, got '2'"),
        ("retries = true", "retries: expected a whole number, got true"),
        (f"retries = 1{'0' * 30}", "retries: expected a whole number, got one too large for TOML"),
        ("timeout = '2 hours'", f"timeout: {DURATION}, got '2 hours'"),
        ("timeout = '5'", f"timeout: {DURATION}, got '5'"),
        ("timeout = ''", f"timeout: {DURATION}, got ''"),
        ("timeout = -3", f"timeout: {DURATION}, got -3"),
        ("timeout = nan", f"timeout: {DURATION}, got nan"),
        ("timeout = inf", f"timeout: {DURATION}, got inf"),
        ("timeout = true", f"timeout: {DURATION}, got true"),
        ("timeout = 07:32:00", f"timeout: {DURATION}, got 07:32:00"),
        ("version = [1]", "version: expected a text or a number, got [1]"),
        ("version = true", "version: expected a text or a number, got true"),
        ("in_place = 'yes'", "in_place: expected true or false, got 'yes'"),
        ("reuse = 1", "reuse: expected true or false, got 1"),
        ("compute = 3", "compute: expected a text, got 3"),
        ("environment = []", "environment: expected a text, got []"),
        ("resources = { cpu = 1 }", "resources.cpu: unknown resource 'cpu'; did you mean 'cpus'?"),
        ("resources = { gpu = 1 }", "resources.gpu: unknown resource 'gpu'; did you mean 'gpus'?"),
        ("resources = { mem = '1GB' }", "resources.mem: unknown resource 'mem'; did you mean 'memory'?"),
        ("resources = { memroy = 1 }", "resources.memroy: unknown resource 'memroy'; did you mean 'memory'?"),
        ("resources = { cpus = 'x' }", "resources.cpus: expected a number, got 'x'"),
        ("resources = { cpus = nan }", "resources.cpus: expected a number, got nan"),
        ("resources = { cpus = -1 }", "resources.cpus: cannot be negative: -1"),
        ("resources = { gpus = 0.5 }", "resources.gpus: expected a whole number, got 0.5"),
        ("resources = { memory = '8Gigs' }", f"resources.memory: {SIZE}, got '8Gigs'"),
        ("resources = { memory = '0X' }", f"resources.memory: {SIZE}, got '0X'"),
        ("resources = { memory = inf }", f"resources.memory: {SIZE}, got inf"),
        (f"resources = {{ memory = '{'9' * 40}' }}", f"resources.memory: {SIZE}, got '{'9' * 40}'"),
        ("resources = { licence = 'x' }", "resources.licence: expected a number, got 'x'"),
        (f"resources = {{ cpus = 1{'0' * 400} }}", f"resources.cpus: expected a number, got 1{'0' * 56}..."),
    ],
)
def test_values_of_a_step(said: str, message: str | re.Pattern[str]) -> None:
    line = alone(f"{S}{said}").removeprefix(f"{AT}.")
    assert message.fullmatch(line) if isinstance(message, re.Pattern) else line == message


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("3", ".i: expected a list of one or more values, got 3"),
        ("[]", ".i: expected a list of one or more values, got []"),
        ("{ a = 1 }", ".i: expected a list of one or more values, got { a = 1 }"),
        ("[[1]]", ".i: expected texts, numbers, true or false, got [1]"),
        ("[1979-05-27]", ".i: expected texts, numbers, true or false, got 1979-05-27"),
        ("['']", ".i: '' cannot be part of a step's name: it is empty"),
        (f"['{'x' * 201}']", f".i: '{'x' * 55}…' cannot be part of a step's name: it is longer than 200 characters"),
        ("[' a']", f".i: ' a' {NO_PART}"),
        ('["a\\nb"]', f".i: 'a\\nb' {NO_PART}"),
        ("['a,b']", f".i: 'a,b' {NO_PART}"),
        ("[1, '1']", ".i: '1' stands twice: the steps would have one name"),
        ("[true, 'true']", ".i: 'true' stands twice: the steps would have one name"),
        ("[0.1, 0.10]", ".i: 0.1 stands twice: the steps would have one name"),
        (
            f"{list(range(2000))}\nmatrix.j = {list(range(2000))}",
            ": 4,000,000 combinations; at most 1,000,000 are possible",
        ),
    ],
)
def test_matrices(said: str, message: str) -> None:
    assert alone(f"{S}matrix.i = {said}") == f"{AT}.matrix{message}"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("params = 'seed'", f"params: {KEYS}, got 'seed'"),
        ("params = [1]", f"params: {KEYS}, got [1]"),
        ("params = { a = 1 }", f"params: {KEYS}, got {{ a = 1 }}"),
        ("params = { 'a b' = 'seed' }", f"params: 'a b' {NAME}"),
        ("params = ['sede']", "params: unknown parameter 'sede': not in pipelines.p.params; did you mean 'seed'?"),
        (
            "params = ['model.dept']",
            "params: unknown parameter 'model.dept': not in pipelines.p.params; did you mean 'model.depth'?",
        ),
        ("params = ['seed.x']", "params: unknown parameter 'seed.x': not in pipelines.p.params; did you mean 'seed'?"),
        ("params = ['']", "params: unknown parameter '': not in pipelines.p.params"),
        (
            "params = { 'model.depth' = 'seed', model = 'model' }",
            "params: two parameters would be named 'model.depth': rename one",
        ),
    ],
)
def test_parameters_of_a_step(said: str, message: str) -> None:
    assert alone(f"{PIPELINE}{S}{said}") == f"{AT}.{message}"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("'a.b' = 1", f"pipelines.p.params: 'a.b' {NO_KEY}"),
        ("'' = 1", f"pipelines.p.params: '' {NO_KEY}"),
        ("m = { 'a=b' = 1 }", f"pipelines.p.params.m: 'a=b' {NO_KEY}"),
        ('m = { n = "\\u0000" }', "pipelines.p.params.m.n: a command line cannot hold a NUL character"),
        ('n = ["\\u0000"]', "pipelines.p.params.n: a command line cannot hold a NUL character"),
    ],
)
def test_parameters_of_a_pipeline(table: str, message: str) -> None:
    assert alone(f"[params]\n{table}\n{S}") == message


# Placeholders and flags.


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{inputs.tabel}", "unknown placeholder {inputs.tabel}; did you mean '{inputs.table}'?"),
        ("{inputs.zzz}", "unknown placeholder {inputs.zzz}: the step's inputs are table"),
        ("{outputs.o}", "unknown placeholder {outputs.o}: the step has no outputs"),
        ("{input.table}", "unknown placeholder {input.table}; did you mean '{inputs.table}'?"),
        ("{metrics.m}", "unknown placeholder {metrics.m}; did you mean '{outputs.m}'?"),
        ("{matrix.i}", "unknown placeholder {matrix.i}: the step has no matrix"),
        (
            "{params.sede}",
            "unknown placeholder {params.sede}: not in pipelines.p.params; did you mean '{params.seed}'?",
        ),
        ("{params.model}", "{params.model} is a table: name one of its keys, such as {params.model.depth}"),
        (
            "{params.{matrix.i}}",
            "{params.{…: a placeholder cannot stand in a placeholder; give the parameter an own name in 'params', "
            'as in { own = "a.{matrix.x}" }',
        ),
    ],
)
def test_placeholders_in_a_command(said: str, message: str) -> None:
    lines = told(f"{PIPELINE}[s]\ncommand = 'x {said}'\ninputs = {{ table = 'a' }}")
    assert lines[-1] == f"{AT}.command: {message}"
    assert len(lines) == (2 if "…" in message else 1)


def test_placeholders_under_an_own_name() -> None:
    text = f"{PIPELINE}[s]\ncommand = 'x {{params.d.x}}'\nparams = {{ d = 'model.depth' }}"
    assert alone(text) == f"{AT}.command: unknown placeholder {{params.d.x}}: not in pipelines.p.params"
    text = f"{PIPELINE}[s]\ncommand = 'x {{params.model.dpeth}}'\nparams = ['model']"
    assert alone(text).endswith("did you mean '{params.model.depth}'?")


def test_placeholders_in_args_and_script() -> None:
    assert alone("[s]\nscript = 's.py'\nargs = ['{inputs.x}']") == (
        f"{AT}.args: unknown placeholder {{inputs.x}}: the step has no inputs"
    )
    assert alone("[s]\nscript = '{matrix.i}.py'\nmatrix = { i = ['a'] }") == (
        f"{AT}.script: {{matrix.i}} cannot stand in a script's path: hand the value over in 'args'"
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{i}", "{i} is no placeholder; did you mean '{matrix.i}'?"),
        ("{matrx.i}", "unknown placeholder {matrx.i}; did you mean '{matrix.i}'?"),
        ("{matrix.ii}", "unknown placeholder {matrix.ii}; did you mean '{matrix.i}'?"),
        ("{matrix.fold}", "unknown placeholder {matrix.fold}: the step's matrix has i"),
        ("{inputs.x}", "{inputs.x} cannot stand here: only {matrix.…} and {params.…} can"),
        ("{env.HOME}", "{env.HOME} cannot stand here: only {matrix.…} and {params.…} can"),
        ("{params.model}", "{params.model} is a table; here it must be one value"),
        ("{params.names}", "{params.names} is a list; here it must be one value"),
        ("{params.sede}", "unknown parameter 'sede': not in pipelines.p.params; did you mean 'seed'?"),
    ],
)
@pytest.mark.parametrize("key", ["inputs", "outputs"])
def test_placeholders_in_a_path(key: str, said: str, message: str) -> None:
    text = f"{PIPELINE}{S}matrix = {{ i = [1, 2, 3] }}\n{key} = {{ o = 'x-{said}' }}"
    assert alone(text) == f"{AT}.{key}.o: {message}"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("inputs = { a = 'x' }\noutputs = { a = 'y' }", "as --a: rename one, or give 'args'"),
        ("inputs = { depth = 'x' }\nparams = { depth = 'model.depth' }", "as --depth: rename one, or give 'args'"),
        ("inputs = { model-depth = 'x' }\nparams = ['model']", "as --model-depth: rename one, or give 'args'"),
        ("matrix = { seed = [1] }\nparams = ['seed']", "as --seed: rename one, or give 'args'"),
        ("inputs = { a-b = 'x', a_b = 'y' }", "in the variable MLMAKE_INPUT_A_B: rename one"),
        ("inputs = { a = 'x', A = 'y' }", "in the variable MLMAKE_INPUT_A: rename one"),
    ],
)
def test_two_values_under_one_name(said: str, message: str) -> None:
    assert alone(f"{PIPELINE}{S}{said}") == f"{AT}: two values would be handed over {message}"


def test_flags_clash_only_where_flags_are_given() -> None:
    both = "inputs = { a = 'x' }\noutputs = { a = 'y' }"
    assert len(read(f"[s]\nscript = 's.py'\nargs = []\n{both}").steps) == 1
    assert len(read(f"[s]\ncommand = 'x'\n{both}").steps) == 1


# Paths, datastores, outputs.


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "a path cannot be empty"),
        ("  ", "a path cannot be empty"),
        ("/etc/x", f"'/etc/x' is outside the project: {OUTSIDE}"),
        ("../x", f"'../x' leaves the project: {OUTSIDE}"),
        ("a/../../x", f"'a/../../x' leaves the project: {OUTSIDE}"),
        ("..", f"'..' leaves the project: {OUTSIDE}"),
        ("~/x", f"'~/x' is outside the project: {OUTSIDE}"),
        ("/project/build/x", "'/project/build/x' is absolute; did you mean 'build/x'?"),
        (".mlmake/x", "'.mlmake/x' is in .mlmake/, which belongs to mlmake"),
        ("a/../.mlmake", "'.mlmake' is in .mlmake/, which belongs to mlmake"),
        ("own://x", "'own://x' is in .mlmake/, which belongs to mlmake"),
        ("rwa://x", "unknown datastore 'rwa' in 'rwa://x'; did you mean 'raw'?"),
        ("zzz://x", "unknown datastore 'zzz' in 'zzz://x'; known: raw, own, up, lake, and URLs such as s3://"),
        ("a b://x", "'a b://x' is no path: before :// stands a datastore or a URL scheme"),
        ("raw:x.csv", "'raw:x.csv' has a colon but no ://; did you mean 'raw://x.csv'?"),
        ("s3:/b/x", "'s3:/b/x' has a colon but no ://; did you mean 's3://b/x'?"),
        ("raw:///x", "'raw:///x' is no path below datastore 'raw'; did you mean 'raw://x'?"),
        ("raw://../x", f"'raw://../x' leaves datastore 'raw': {OUTSIDE}"),
        ("lake://../x", f"'lake://../x' leaves datastore 'lake': {OUTSIDE}"),
        ("s3://", "'s3://' names no file"),
        ("file://x", "'file://x' is no absolute path: write file:///folder/file, or a path in the project"),
        ("x" * 300, f"'{'x' * 55}…' is longer than a file's name can be"),
        ("x/" * 3000, f"'{('x/' * 28)[:55]}…' is longer than a file's name can be"),
        ("\\u0000", "a path cannot hold a NUL character"),
    ],
)
@pytest.mark.parametrize("key", ["inputs", "outputs"])
def test_paths(key: str, path: str, message: str) -> None:
    stores = "[datastores]\nraw = 'data'\nown = '.mlmake'\nup = '..'\nlake = 's3://acme'\n"
    assert alone(f'{stores}{S}{key} = {{ x = "{path}" }}') == f"{AT}.{key}.x: {message}"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (".", "'.' cannot be an output: it holds pipelines.toml"),
        ("pipelines.toml", "'pipelines.toml' cannot be an output: it holds pipelines.toml"),
        ("up://", "'up://' cannot be an output: it holds pipelines.toml"),
        ("up://project/", "'up://project/' cannot be an output: it holds pipelines.toml"),
        ("@clean.table", "'@clean.table' is a reference: an output is a path that the step writes"),
        ("b/*.csv", "'b/*.csv' is a glob: for several files name a folder, with a / at its end"),
        ("b/x?.csv", "'b/x?.csv' is a glob: for several files name a folder, with a / at its end"),
    ],
)
def test_outputs(path: str, message: str) -> None:
    assert alone(f"[datastores]\nup = '..'\n{S}outputs = {{ x = '{path}' }}") == f"{AT}.outputs.x: {message}"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../s.py", "'../s.py' leaves the project; a step's code lies in the project"),
        ("/s.py", "'/s.py' is outside the project; a step's code lies in the project"),
        ("raw://s.py", "'raw://s.py' is no file of the project: code is not read from elsewhere"),
        ("steps/", "'steps/' is no file"),
        ("steps/*.py", "'steps/*.py' is no file"),
    ],
)
def test_scripts(path: str, message: str) -> None:
    assert alone(f"[datastores]\nraw = 'data'\n[s]\nscript = '{path}'") == f"{AT}.script: {message}"


def test_a_script_that_a_step_makes() -> None:
    line = alone("[a]\ncommand = 'x'\noutputs = { o = 'gen.py' }\n[s]\nscript = './gen.py'")
    assert line == (
        f"{AT}.script: 'gen.py' is an output of a: a script must be there before the build; "
        'make it an input, and run it with command = "python {inputs.NAME}"'
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("raw = 3", "raw: expected a folder, a URL or a table with 'url', got 3"),
        ("raw = {}", "raw: expected a folder, a URL or a table with 'url', got {}"),
        ("raw = { url = 3 }", "raw: expected a folder, a URL or a table with 'url', got { url = 3 }"),
        ("raw = ''", "raw: expected a folder or a URL, got ''"),
        ("raw = 's3:bucket'", "raw: 's3:bucket' has a colon but no ://; did you mean 's3://bucket'?"),
        ("raw = 'sftpp://x'", "raw: unknown URL scheme 'sftpp' in 'sftpp://x'; did you mean 'sftp'?"),
        (
            "raw = 'qqqq://x'",
            "raw: unknown URL scheme 'qqqq' in 'qqqq://x': "
            "it is none that fsspec knows, such as s3, gs, abfs, sftp, https",
        ),
        ("s3 = 'data'", "s3: 's3' is a URL scheme: s3:// would mean two things; rename it"),
        ("file = 'data'", "file: 'file' is a URL scheme: file:// would mean two things; rename it"),
        ("'a b' = 'data'", f"\"a b\": 'a b' {NAME}"),
    ],
)
def test_datastores(said: str, message: str) -> None:
    assert alone(f"[datastores]\n{said}\n{S}") == f"datastores.{message}"


def test_a_wrong_datastore_is_told_once() -> None:
    text = f"[datastores]\nraw = 3\n{S}inputs = {{ a = 'raw://x', b = 'raw://y' }}"
    assert alone(text).startswith("datastores.raw: ")


# Environments and targets.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[environments.e]", "e: exactly one base of python, conda, image, dockerfile is needed; found none"),
        (
            "[environments.e]\npython = '3'\nimage = 'x'",
            "e: exactly one base of python, conda, image, dockerfile is needed; found python and image",
        ),
        ("[environments.e]\npython = 3.11", "e.python: expected a text, got 3.11"),
        ("[environments.e]\nPython = '3'", "e: unknown key 'Python'; did you mean 'python'?"),
        ("[environments.e]\npython = '3'\npackages = 'x'", "e.packages: expected a list of texts, got 'x'"),
        ("[environments.e]\npython = 'three'", "e.python: expected a version such as '3.12', got 'three'"),
        (
            "[environments.e]\nimage = 'x'\npackages = ['numpy']",
            "e: 'packages' goes with 'python': what another base holds stands in its own file",
        ),
        (
            "[environments.e]\npython = '3'\nrequirements = '../r.txt'",
            "e.requirements: '../r.txt' leaves the project; it lies in the project",
        ),
        (
            "[environments.e]\npython = '3'\nrequirements = 'req/'",
            "e.requirements: 'req/' is no file of the project",
        ),
        ("[environments.e]\npython = '3'\npackages = [' ']", "e.packages: ' ' is no requirement"),
        (
            "[environments.e]\npython = '3'\nvariables = ['A B']",
            "e.variables: 'A B' is no name of an environment variable",
        ),
        (
            "[environments.e]\npython = '3'\nvariables = ['A']\nsecrets = ['A']",
            "e.secrets: 'A' stands in 'variables' too: a secret is no fact",
        ),
        ("[environments.system]\npython = '3'", f"system: {SYSTEM}"),
        ("[environments.'a b']\npython = '3'", f"\"a b\": 'a b' {NAME}"),
    ],
)
def test_environments(text: str, message: str) -> None:
    assert alone(f"{text}\n{S}") == f"environments.{message}"


def test_an_environment_is_not_made_from_what_a_step_makes() -> None:
    declared = "[environments.e]\npython = '3'\nrequirements = './req.txt'"
    said = "'./req.txt' is an output of s: it must be there before the build"
    assert alone(f"{declared}\n{S}outputs = {{ o = 'req.txt' }}") == f"environments.e.requirements: {said}"


def test_a_secret_cannot_stand_in_a_command_line() -> None:
    declared = (
        "[environments.e]\npython = '3'\nsecrets = ['TOKEN']\n[s]\ncommand = 'get {env.TOKEN}'\nenvironment = 'e'"
    )
    said = (
        "TOKEN is a secret of environment 'e', and a command line is shown: let the step read it from its environment"
    )
    assert alone(declared) == f"{AT}.command: {said}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = 'sshh'", "kind: unknown compute kind 'sshh'; did you mean 'ssh'?"),
        ("kind = 'slurm'", "kind: unknown compute kind 'slurm'; known: local, ssh, docker, pool"),
        ("kind = []", "kind: unknown compute kind []; known: local, ssh, docker, pool"),
        ("kind = { a = 1 }", "kind: unknown compute kind { a = 1 }; known: local, ssh, docker, pool"),
        ("cpus = -1", "cpus: cannot be negative: -1"),
        ("cpus = '4'", "cpus: expected a number, got '4'"),
        ("memory = '64Gb1'", f"memory: {SIZE}, got '64Gb1'"),
        ("gpus = 1.5", "gpus: expected a whole number, got 1.5"),
        ("resources = { a = 'x' }", "resources.a: expected a number, got 'x'"),
        ("kind = 'ssh'\nhost = 'x'\nport = 'a'", "port: expected a whole number, got 'a'"),
        (
            "kind = 'ssh'\nhost = 'x'\nfetch = 'alway'",
            "fetch: expected 'always' or 'needed', got 'alway'; did you mean 'always'?",
        ),
        ("kind = 'pool'\nof = []", "of: a pool needs one or more members"),
        ("kind = 'pool'\nof = ['c', 'local']", "of: 'c' cannot name itself"),
        ("kind = 'pool'\nof = ['zzz']", "of: unknown compute target 'zzz'; known: c, local"),
        ("kind = 'docker'\nvia = 'loacl'", "via: unknown compute target 'loacl'; did you mean 'local'?"),
    ],
)
def test_targets(text: str, message: str) -> None:
    assert alone(f"[compute.c]\n{text}\n{S}") == f"compute.c.{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[compute.c]\nkind = 'ssh'", "c: key 'host' is missing"),
        ("[compute.c]\nhost = 'x'", "c: 'host' is a key of kind 'ssh' and 'docker': say which it is"),
        ("[compute.c]\ncpu = 1", "c: unknown key 'cpu'; did you mean 'cpus'?"),
        (
            "[compute.local]\nkind = 'ssh'\nhost = 'x'",
            "local.kind: 'local' is this machine and cannot be of kind 'ssh'; rename it",
        ),
    ],
)
def test_tables_of_targets(text: str, message: str) -> None:
    assert alone(f"{text}\n{S}") == f"compute.{message}"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("compute = 'gpubx'", "compute: unknown compute target 'gpubx'; did you mean 'gpubox'?"),
        ("compute = ''", "compute: unknown compute target ''; known: gpubox, local"),
        ("environment = 'mll'", "environment: unknown environment 'mll'; did you mean 'ml'?"),
        ("environment = 'zzz'", "environment: unknown environment 'zzz'; known: ml, system"),
    ],
)
def test_names_that_a_step_gives(said: str, message: str) -> None:
    declared = "[compute.gpubox]\nkind = 'ssh'\nhost = 'x'\n[environments.ml]\npython = '3'\n"
    assert alone(f"{declared}{S}{said}") == f"{AT}.{message}"


def test_wrong_targets_and_environments_are_told_once() -> None:
    broken = "[compute.c]\nkind = 'ssh'\n[environments.e]\npython = 3\n"
    assert told(f"{broken}{S}compute = 'c'\nenvironment = 'e'") == [
        "environments.e.python: expected a text, got 3",
        "compute.c: key 'host' is missing",
    ]


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ("claen", "'claen' is no pipeline, step or output; did you mean 'clean'?"),
        ("t.cvs", "'t.cvs' is no pipeline, step or output; did you mean 't.csv'?"),
        ("fit[fold=7]", "'fit[fold=7]' is no pipeline, step or output"),
        ("fit[flod=0]", "'fit[flod=0]' is no pipeline, step or output"),
        ("../t.csv", "'../t.csv' is no pipeline, step or output; did you mean 't.csv'?"),
    ],
)
def test_defaults_that_are_nothing(default: str, message: str) -> None:
    assert alone(f"[project]\ndefault = '{default}'\n{PIPELINE}") == f"project.default: {message}"


@pytest.mark.parametrize(
    "default",
    ["p", "clean", "p.clean", "fit", "fit[fold=0]", "p.fit[rate=0.1]", "fit[fold=0,rate=0.1]", "t.csv", "./t.csv"],
)
def test_defaults_that_are_something(default: str) -> None:
    project = read(f"[project]\ndefault = '{default}'\n{PIPELINE}")
    assert project.default == default
    assert named(project, ())


# References and order.


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("@claen.table", "unknown reference '@claen.table': no step 'claen'; did you mean 'clean'?"),
        ("@zzz.table", "unknown reference '@zzz.table': no step 'zzz'; known: clean, fit, s"),
        ("@clean.tabel", "unknown reference '@clean.tabel': step 'clean' has no output 'tabel'; did you mean 'table'?"),
        ("@clean", "'@clean' names no output of step 'clean'; it has: table, log"),
        ("@s", "unknown reference '@s': step 's' has no outputs"),
        ("@fit[fold=7].fitted", "step 'fit' has no combination 'fit[fold=7]': fold is one of [0, 1]"),
        (
            "@fit[fold=0,rate=7].fitted",
            "step 'fit' has no combination 'fit[fold=0,rate=7]': fold is one of [0, 1]; rate is one of [0.1, 0.2]",
        ),
        (
            "@fit[flod=0].fitted",
            "'fit[flod=0]': step 'fit' has no axis 'flod'; its axes are fold, rate; did you mean 'fold'?",
        ),
        ("@clean[i=0].table", "'clean[i=0]': step 'clean' has no axis 'i'; it has no matrix"),
        ("@fit[fold=0,fold=1].fitted", "'fit[fold=0,fold=1]' names no step: axis 'fold' has two values"),
        ("@fit[].fitted", "'fit[]' names no step: write step, step[axis=value] or pipeline.step"),
        ("@fit[0].fitted", "'fit[0]' names no step: write step, step[axis=value] or pipeline.step"),
        ("@q.clean.table", "unknown reference '@q.clean.table': no pipeline 'q'; known: p"),
        (
            "@p.clean.tabl",
            "unknown reference '@p.clean.tabl': step 'clean' has no output 'tabl'; did you mean 'table'?",
        ),
        ("@p.clean", "unknown reference '@p.clean': no step 'p'; 'p' is a pipeline, and its steps are p.NAME"),
        ("@", "'@' is no reference: write @step.output, or @step where it has one output"),
        ("@clean table", "'@clean table' is no reference: write @step.output, or @step where it has one output"),
        ("@a.b.c.d", "'@a.b.c.d' is no reference: write @step.output or @pipeline.step.output"),
        ("@clean..table", "'@clean..table' is no reference: write @step.output or @pipeline.step.output"),
        (
            "@clean.table/x",
            "'@clean.table/x' is no reference: a file inside an output folder is named by its path, without @",
        ),
    ],
)
def test_references(said: str, message: str) -> None:
    assert alone(f"{PIPELINE}{S}inputs = {{ x = '{said}' }}") == f"{AT}.inputs.x: {message}"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("claen", "unknown step 'claen'; did you mean 'clean'?"),
        ("zzz", "unknown step 'zzz'; known: clean, fit, s"),
        ("p", "unknown step 'p'; 'p' is a pipeline, and its steps are p.NAME"),
        ("q.clean", "unknown pipeline 'q'; known: p"),
        ("@clean", "'@clean' names no step: write step, step[axis=value] or pipeline.step; did you mean 'clean'?"),
        ("", "'' names no step: write step, step[axis=value] or pipeline.step"),
        ("fit[fold=9]", "step 'fit' has no combination 'fit[fold=9]': fold is one of [0, 1]"),
        ("{matrix.i}", "unknown placeholder {matrix.i}: the step has no matrix"),
        ("s", "'s': a step cannot come after itself"),
    ],
)
def test_after(said: str, message: str) -> None:
    assert alone(f"{PIPELINE}{S}after = ['{said}']") == f"{AT}.after: {message}"


def test_a_step_of_another_pipeline() -> None:
    text = f"{PIPELINE}[pipelines.q.steps.z]\nscript = 'x'\nafter = ['clean']"
    assert alone(text) == "pipelines.q.steps.z.after: unknown step 'clean' in this pipeline; there is p.clean"


@pytest.mark.parametrize("said", ["@s.z", "b/z.csv", "b/", "b/*.csv", "b/z.csv/inner"])
def test_a_step_that_reads_what_it_makes(said: str) -> None:
    text = f"{S}outputs = {{ z = 'b/z.csv' }}\ninputs = {{ x = '{said}' }}"
    assert alone(text) == f"{AT}.inputs.x: '{said}' is what s makes itself: a step cannot read its own output"


def test_references_to_wrong_steps_are_not_told_too() -> None:
    text = """
[a]
scirpt = "a.py"
outputs = { o = "x" }
[b]
script = "b.py"
outputs = { o = "../x" }
[s]
script = "s.py"
inputs = { x = "@a.o", y = "@b.o", z = "@q.c.o" }
after = ["a"]
[pipelines.q]
steps = 3
"""
    assert [line.partition(": ")[0] for line in told(text)] == [
        "pipelines.p.steps.a",
        "pipelines.q.steps",
        "pipelines.p.steps.b.outputs.o",
    ]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("[b]\nscript='b.py'\noutputs = { o = './x//a' }", "b.outputs.o: 'x/a' is an output of both a and b"),
        ("[b]\nscript='b.py'\nmetrics = { o = 'x/a' }", "b.metrics.o: 'x/a' is an output of both a and b"),
        ("[b]\nscript='b.py'\noutputs = { o = 'x/' }", "a.outputs.o: 'x/a' lies inside 'x/', an output of b"),
        ("[b]\nscript='b.py'\noutputs = { o = 'x/a/b' }", "b.outputs.o: 'x/a/b' lies inside 'x/a', an output of a"),
        ("[b]\nscript='b.py'\noutputs = { o = 'y', p = 'y' }", "b.outputs.p: 'y' is an output of b already"),
        (
            "[b]\nscript='b.py'\nmatrix = { i = [1, 2, 3], j = [1, 2] }\noutputs = { o = 'y-{matrix.i}' }",
            "b.outputs.o: 'y-1' is an output of both b[i=1,j=1] and b[i=1,j=2]: name it apart with {matrix.j}",
        ),
    ],
)
def test_one_output_has_one_producer(second: str, message: str) -> None:
    text = f"[a]\nscript = 'a.py'\noutputs = {{ o = 'x/a' }}\n{second}"
    assert alone(text) == f"pipelines.p.steps.{message}"


def test_producers_in_two_pipelines() -> None:
    text = "".join(f"[pipelines.{name}.steps.s]\nscript = 's.py'\noutputs = {{ o = 'x' }}\n" for name in ("one", "two"))
    assert alone(text) == "pipelines.two.steps.s.outputs.o: 'x' is an output of both one.s and two.s"


def test_cycles_are_named_step_by_step() -> None:
    text = """
[a]
script = "a.py"
inputs = { x = "@c.o" }
[b]
script = "b.py"
after = ["a"]
[c]
script = "c.py"
inputs = { x = "@d.o" }
outputs = { o = "c" }
[d]
script = "d.py"
after = ["b"]
outputs = { o = "d" }
[e]
script = "e.py"
after = ["f"]
[f]
script = "f.py"
after = ["e", "a"]
"""
    assert told(text) == [
        "pipelines.p.steps.a: cycle: a needs c, c needs d, d needs b, b needs a",
        "pipelines.p.steps.e: cycle: e needs f, f needs e",
    ]


def test_a_cycle_through_paths_and_a_matrix() -> None:
    text = """
[pipelines.one.steps.fit]
script = "f.py"
matrix = { i = [0, 1] }
inputs = { x = "two/" }
outputs = { o = "one/{matrix.i}" }
[pipelines.two.steps.all]
script = "a.py"
inputs = { x = "one/1" }
outputs = { o = "two/all" }
"""
    assert told(text) == [
        "pipelines.one.steps.fit: cycle: one.fit[i=1] needs two.all, two.all needs one.fit[i=1]",
    ] or told(text) == ["pipelines.two.steps.all: cycle: two.all needs one.fit[i=1], one.fit[i=1] needs two.all"]


def test_a_long_cycle_is_told_short() -> None:
    text = "".join(f"[s{i}]\nscript = 's.py'\nafter = ['s{(i + 1) % 2000}']\n" for i in range(2000))
    line = alone(text)
    assert line.startswith("pipelines.p.steps.s0: cycle: s0 needs s1, ")
    assert line.endswith(", s1999 needs s0")
    assert ", … 1,990 more …, " in line


# All of it at once.

TEN = """
unknown = 1
[project]
nmae = "x"
[datastores]
s3 = "data"
[environments.ml]
pyhton = "3.11"
[compute.box]
kind = "shh"
[pipelines.train]
parms = {}
[pipelines.p.steps.a]
scirpt = "a.py"
[pipelines.p.steps.b]
script = "b.py"
inputs = { x = "@c.oo", y = "../y" }
timeout = "soon"
[pipelines.p.steps.c]
script = "c.py"
inputs = { x = "@b", y = "../y", z = "@c.o" }
outputs = { o = "c" }
after = ["bb"]
"""


def test_ten_mistakes_are_ten_lines() -> None:
    assert told(TEN) == [
        f"unknown key 'unknown'; known: {SECTIONS}",
        "project: unknown key 'nmae'; did you mean 'name'?",
        "datastores.s3: 's3' is a URL scheme: s3:// would mean two things; rename it",
        "environments.ml: unknown key 'pyhton'; did you mean 'python'?",
        "compute.box.kind: unknown compute kind 'shh'; did you mean 'ssh'?",
        "pipelines.train: unknown key 'parms'; did you mean 'params'?",
        "pipelines.p.steps.a: unknown key 'scirpt'; did you mean 'script'?",
        f"pipelines.p.steps.b.timeout: {DURATION}, got 'soon'",
        f"pipelines.p.steps.c.inputs.y: '../y' leaves the project: {OUTSIDE}",
        "pipelines.p.steps.c.inputs.z: '@c.o' is what p.c makes itself: a step cannot read its own output",
        "pipelines.p.steps.c.after: unknown step 'bb'; did you mean 'b'?",
    ]


def test_every_mistake_of_one_table() -> None:
    tables = "resources = { cpus = 'x', gpus = 'y' }\ninputs = { a = 1, b = 2 }"
    assert told(f"{S}retries = 'x'\nreuse = 3\ntmieout = 1\n{tables}") == [
        f"{AT}: unknown key 'tmieout'; did you mean 'timeout'?",
        f"{AT}.inputs.a: expected a path or a list of paths, got 1",
        f"{AT}.inputs.b: expected a path or a list of paths, got 2",
        f"{AT}.resources.cpus: expected a number, got 'x'",
        f"{AT}.resources.gpus: expected a whole number, got 'y'",
        f"{AT}.retries: expected a whole number, got 'x'",
        f"{AT}.reuse: expected true or false, got 3",
    ]


def test_problems_are_told_the_same_way_each_time() -> None:
    assert all(told(TEN) == told(TEN) for _ in range(3))
    with pytest.raises(ConfigError) as caught:
        read("[s]\nscirpt = 's.py'")
    assert caught.value.problems == (Problem(AT, "unknown key 'scirpt'", "script"),)
    assert caught.value.exit_code == 2


def test_a_mistake_of_each_combination_is_counted() -> None:
    text = f"{PIPELINE}{S}matrix = {{ i = {list(range(100))} }}\ninputs = {{ x = '@fit[fold={{matrix.i}}].fitted' }}"
    lines = told(text)
    assert lines[0] == f"{AT}.inputs.x: step 'fit' has no combination 'fit[fold=2]': fold is one of [0, 1]"
    assert lines[5:] == [f"{AT}.inputs.x: and 93 more like this"]


def test_a_mistake_that_each_combination_shares_is_told_once() -> None:
    text = f"{PIPELINE}{S}matrix = {{ i = {list(range(100))} }}\ninputs = {{ x = '@claen.table' }}\nparams = ['sede']"
    assert len(told(text)) == 2


def test_thousands_of_mistakes_take_no_longer_than_thousands_of_steps() -> None:
    text = "".join(f"[step{i}]\nscript = 's.py'\nafter = ['setp{i}']\n" for i in range(3000))
    lines = told(text)
    assert len(lines) == 3000, "only the nearest words are left out, after the first few"
    assert lines[0].endswith("unknown step 'setp0'; did you mean 'step0'?")


def test_names_that_would_spoil_a_line_are_quoted() -> None:
    lines = told('[pipelines.p.steps."a\\nb\\u001b[31m"]\nscript = "x"\nfoo = 1')
    assert lines == [
        f"pipelines.p.steps.\"a\\nb\\x1b[31m\": 'a\\nb\\x1b[31m' {NAME}",
        "pipelines.p.steps.\"a\\nb\\x1b[31m\": unknown key 'foo'",
    ]


def test_a_line_stays_a_line_whatever_stands_in_a_placeholder() -> None:
    assert told('[s]\ncommand = "x {inputs.\\u001b[31m}"') == [
        f"{AT}.command: unknown placeholder {{inputs.\\x1b[31m}}: the step has no inputs"
    ]


def test_long_lists_of_names_are_cut() -> None:
    inputs = ", ".join(f"name{i} = 'x'" for i in range(100))
    assert alone(f"[s]\ncommand = 'x {{inputs.zzz}}'\ninputs = {{ {inputs} }}").endswith("name10, name11 and 88 more")


# Legal, and not done yet.


@pytest.mark.parametrize("base", ["image = 'python:3.12'", "dockerfile = 'Dockerfile'"])
def test_an_image_needs_containers(base: str) -> None:
    project = read(f"[environments.box]\n{base}\n{S}environment = 'box'")
    with pytest.raises(UsageError) as caught:
        check_supported(project, list(project.steps.values()))
    said = "environment 'box' is an image and needs a compute target of kind docker"
    assert caught.value.message == f"{AT}: {said}"


def test_an_in_place_step_cannot_write_to_a_store() -> None:
    project = read(f"[datastores]\nlake = 's3://b'\n{S}in_place = true\noutputs = {{ x = 'lake://x' }}")
    with pytest.raises(UsageError, match="an in_place step cannot write to 'lake://x'"):
        check_supported(project, list(project.steps.values()))


def test_what_is_declared_and_not_used_may_be_anything(project: Folder) -> None:
    unused = """
[datastores]
lake = { url = "s3://b", key = "${env:NO_SUCH}" }
[compute.box]
kind = "ssh"
host = "nowhere.example"
[environments.ml]
image = "no/such:image"
"""
    project.toml(steps(f"{unused}[a]\ncommand = 'echo 1 > {{outputs.o}}'\noutputs = {{ o = 'o' }}"))
    assert project.build().done == ["a"]


def test_nothing_of_a_project_is_executed_to_read_it(project: Folder) -> None:
    shout = "open('RAN', 'w').close()\n"
    project.write(
        {
            "steps/s.py": f"import helper\n{shout}",
            "steps/helper.py": shout,
            "steps/__init__.py": shout,
            "conftest.py": shout,
            "sitecustomize.py": shout,
            "setup.py": shout,
        }
    )
    project.toml(steps("[s]\nscript = 'steps/s.py'\ncode = 'steps/*.py'\n[c]\ncommand = 'touch RAN; $(touch RAN)'"))
    load(str(project.root))
    for command in (("status",), ("why", "s"), ("graph",), ("build", "-n"), ("-n", "c")):
        done = project.cli(*command)
        assert done.returncode == 0, done.stderr
    assert not project.has("RAN")


@pytest.mark.parametrize(
    "text",
    [
        '[datastores]\nlake = "sftp://me:sesame@host/x"\n',
        '[pipelines.p.steps.s]\ncommand = "cat {inputs.x}"\ninputs.x = "https://me:sesame@host/x"\n',
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "/project")
    assert "holds a password" in str(caught.value)
    assert "sesame" not in str(caught.value)
