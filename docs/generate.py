"""Writes the pages of the reference that follow from the code, and the picture of the sample project.

python docs/generate.py
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from enum import Enum
from inspect import cleandoc
from pathlib import Path
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

import click

from mlmake.cli.main import Commands, cli
from mlmake.cli.verbs import COMMANDS
from mlmake.config import tables
from mlmake.config.load import load
from mlmake.model.data import Scalar, Value
from mlmake.model.reason import Cause, Reason, State, Verdict
from mlmake.model.resources import Resources
from mlmake.plan.draw import FORMATS
from mlmake.plan.outline import outline
from mlmake.registry import KINDS

DOCS = Path(__file__).parent
_MARK = "<!-- made by docs/generate.py from the code: change it there -->"

_TYPES: Mapping[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Value: "any value",
    Scalar: "text, number, true or false",
    Resources: "table of amounts",
}
_NEW_TYPES: Mapping[str, str] = {
    "Paths": "path, or list of paths",
    "Reads": "path, list of paths, or table",
    "Keys": "list of keys, or table",
    "Axis": "list of values",
    "Size": "[size](#values)",
    "Duration": "[duration](#values)",
    "Salt": "text or number",
    "Amount": "number",
    "Count": "whole number",
    "Fetch": "text",
    "Caching": "true, false or table",
}

_FILE = """\
# The file

{mark}

`pipelines.toml` stands in the root of a project. It is TOML. A key that is not listed here is an error; every error of
the file is told at once, with its place and the nearest legal word. Where a default is left empty here, it is nothing:
an empty text, list or table, zero, or no limit. Paths, references and placeholders have
[a page of their own](paths.md).

## Values

| value | written as |
|---|---|
| size | bytes, or a text such as `"500MB"`, `"8GiB"` |
| duration | seconds, or a text such as `"300ms"`, `"90s"`, `"1h30m"`, `"2d"` |
| name | letters, digits, `_` and `-`; the first is no `-` |
| table of amounts | `cpus` (by default 1), `memory` (a size), `gpus`, and any named resource with a number |

{body}"""

_DATASTORES = """\
## `[datastores]`

Name -> where it is: a folder relative to the file, an absolute folder, or a URL. A path `name://x` is then the file
`x` in it. A table gives the URL as `url` and options of the store beside it; `${env:NAME}` in an option stands for an
environment variable, which is looked up only where it is used. The name of a URL scheme (`s3`, `file`) is an error.

```toml
[datastores]
raw  = "data"
lake = { url = "s3://acme/flights", key = "${env:LAKE_KEY}" }
```
"""

_COMPUTE = """\
## `[compute.NAME]`

Where steps run. `local` is this machine and always exists; its table says what it offers, where that is not all its
CPUs.
"""

_COMMANDS = """\
# Commands

{mark}

`mlmake [-C DIR] [COMMAND] …`; words that are no command are what to build, so `mlmake fit` is `mlmake build fit`.
The project is the nearest folder, from where you stand upwards, that holds a `pipelines.toml`.

A pipeline, step or output may be named as `train`, `fit` (all combinations), `fit[fold=0]` (those with this value),
`train.fit` (with its pipeline), or `build/model.pkl` (from where you stand, or from the project's root). Quote brackets
in the shell. Exit codes have [a page of their own](exit-codes.md), and so has [JSON](json.md).

Every command knows `-h` and `--help`; `mlmake --version` tells the version.

{body}"""


def pages() -> dict[str, str]:
    """Every generated file by its path below docs/."""
    return {
        "reference/file.md": _FILE.format(mark=_MARK, body="\n".join(_tables())),
        "reference/commands.md": _COMMANDS.format(mark=_MARK, body="\n".join(_commands())),
        "images/graph.svg": picture(),
    }


# The file.


def _tables() -> Iterator[str]:
    yield _table(2, tables.ProjectTable)
    yield _DATASTORES
    yield _table(2, tables.CacheTable)
    yield _table(2, tables.TrackingTable)
    yield _table(2, tables.EnvironmentTable)
    yield _COMPUTE
    yield _keys(tables.OffersTable)
    for table in tables.COMPUTE_TABLES.values():
        own = [each for each in fields(table) if each.name not in {one.name for one in fields(tables.OffersTable)}]
        if own:
            yield _table(3, table, own)
    yield _table(2, tables.PipelineTable)
    yield _table(3, tables.TriggersTable)
    yield _table(2, tables.StepTable)
    for name in KINDS.table:
        kind = KINDS.load(name)
        own = _keys(kind) if fields(kind) else "It has no keys of its own.\n"
        yield f'### `kind = "{name}"`\n\n{cleandoc(kind.__doc__ or "")}\n\n{own}'


def _table(level: int, table: type[Any], own: list[Field[Any]] | None = None) -> str:
    """A table's section: its docstring starts with its header, `[pipelines.NAME]`."""
    head, _, text = (table.__doc__ or "").partition(":")
    sentence = f"{text.strip()[:1].upper()}{text.strip()[1:]}\n\n" if text.strip() else ""
    return f"{'#' * level} {head.strip()}\n\n{sentence}{_keys(table, own)}"


def _keys(table: type[Any], own: list[Field[Any]] | None = None) -> str:
    hints = get_type_hints(table)
    rows = [
        f"| `{each.name}` | {_type(hints[each.name])} | {_default(each)} | {each.metadata.get('doc', '')} |"
        for each in own or fields(table)
    ]
    return "\n".join(["| key | type | default | |", "|---|---|---|---|", *rows, ""])


def _type(hint: Any) -> str:
    if hint in _TYPES:
        return _TYPES[hint]
    if isinstance(hint, NewType):
        return _NEW_TYPES[hint.__name__]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f"`{each.value}`" for each in hint)
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in parts if part is not type(None))
    if hint == dict[str, Value] or hint == dict[str, dict[str, Value]]:
        return "table"
    if origin is dict:
        return f"table of name -> {_type(parts[1])}"
    if origin is tuple:
        return f"list of {_type(parts[0])}s"
    raise TypeError(f"no words for {hint}")


def _default(each: Field[Any]) -> str:
    if each.default is MISSING and each.default_factory is MISSING:
        return "required"
    value = each.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, Resources):
        return "`{ cpus = 1 }`"
    return f"`{value}`" if value and value is not MISSING else ""


# The commands.


def _commands() -> Iterator[str]:
    assert isinstance(cli, Commands)
    with click.Context(cli, info_name="mlmake") as context:
        yield "## Options before the command\n\n" + _options(cli, context)
        for name in COMMANDS:
            command = cli.get_command(context, name)
            assert command is not None
            with click.Context(command, parent=context, info_name=name) as own:
                yield _command(command, own)
                yield from _inside(command, own)


def _inside(command: click.Command, context: click.Context) -> Iterator[str]:
    """The commands of a group, below it."""
    for name, each in command.commands.items() if isinstance(command, click.Group) else ():
        with click.Context(each, parent=context, info_name=name) as own:
            yield _command(each, own)


def _command(command: click.Command, context: click.Context) -> str:
    text, _, examples = cleandoc(command.help or "").partition("\n\n\b\n")
    usage = command.get_usage(context).removeprefix("Usage: ")
    name = context.command_path.removeprefix("mlmake ")
    parts = [f"## `{name}`", text, f"```text\n{usage}\n```", _options(command, context).rstrip("\n")]
    parts += [f"```text\n{examples}\n```"] if examples else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _options(command: click.Command, context: click.Context) -> str:
    """A table of the options; `--help`, which all have, and arguments are left out."""
    shown = [each for each in command.params if isinstance(each, click.Option) and each.name != "version"]
    records = [found for each in shown if (found := each.get_help_record(context))]
    rows = [f"| `{_cell(option)}` | {_cell(text)} |" for option, text in records]
    return "\n".join(["| option | |", "|---|---|", *rows, ""]) if rows else ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


# The picture.


def picture() -> str:
    """The sample project as `mlmake graph --format svg` draws it, as if the script of `clean` had just been edited."""
    project = load(str(DOCS.parent))
    states: dict[str, State] = {}
    for step in project.steps.values():
        is_touched = any(states[above] is not State.FRESH for above in step.upstream)
        states[step.id] = State.STALE if step.group == "clean" else State.MAYBE if is_touched else State.FRESH
    reason = Reason(cause=Cause.CHANGED, subject="code steps/clean.py")
    verdicts = {step: Verdict(state=state, reasons=(reason,)) for step, state in states.items()}
    return FORMATS["svg"](outline(project, list(project.steps.values()), verdicts))


def write() -> None:
    """Write every generated file."""
    for path, text in pages().items():
        (DOCS / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
