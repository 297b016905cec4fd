"""A draft as the text of a `pipelines.toml`, with its notes as comments where they belong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from mlmake.config.dump import dump
from mlmake.model.data import Value
from mlmake.services.importing.draft import Draft

_WIDTH = 110


def text(draft: Draft) -> str:
    """The whole file."""
    blocks = [
        [f"# From {draft.source}, by mlmake import. Lines `# note:` tell what is otherwise now."],
        [*_notes(draft, "")],
        *_sections(draft),
        *_pipeline(draft),
        *(_step(draft, name, table, idle=False) for name, table in draft.steps.items()),
        *(_step(draft, name, table, idle=True) for name, table in draft.idle.items()),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _sections(draft: Draft) -> Iterator[list[str]]:
    for name, table in draft.sections.items():
        if name == "datastores" and table:
            yield [*_table(name, table)]
        elif name != "datastores":
            yield from ([*_table(f"{name}.{inner}", each)] for inner, each in table.items())


def _pipeline(draft: Draft) -> Iterator[list[str]]:
    if draft.description:
        yield [f"[pipelines.{draft.pipeline}]", _line("description", draft.description)]
    if draft.params:
        yield [*_table(f"pipelines.{draft.pipeline}.params", draft.params)]


def _step(draft: Draft, name: str, table: Mapping[str, Value], *, idle: bool) -> list[str]:
    lines = [*_table(f"pipelines.{draft.pipeline}.steps.{name}", table)]
    return [*_notes(draft, name), *(f"# {line}".rstrip() if idle else line for line in lines)]


def _notes(draft: Draft, step: str) -> Iterator[str]:
    for note in draft.notes:
        if note.step == step:
            yield from textwrap.wrap(
                f"note: {note.what}", initial_indent="# ", subsequent_indent="#       ", width=_WIDTH
            )


def _table(header: str, table: Mapping[str, Value]) -> Iterator[str]:
    """A table; an inner one that is too long for a line gets a header of its own."""
    long = {key: each for key, each in table.items() if isinstance(each, Mapping) and len(_line(key, each)) > _WIDTH}
    yield f"[{header}]"
    yield from (_line(key, value) for key, value in table.items() if key not in long)
    for key, each in long.items():
        yield from ("", *_table(f"{header}.{key}", each))


def _line(key: str, value: Value) -> str:
    if isinstance(value, str) and _reads_better_in_lines(value):
        return f"{key} = '''\n{value}'''"
    line = dump({"table": {key: value}}).splitlines()[1]
    if isinstance(value, list) and len(line) > _WIDTH:
        items = (_line("item", each).removeprefix("item = ") for each in value)
        return "\n".join([f"{line.partition(' = ')[0]} = [", *(f"    {item}," for item in items), "]"])
    return line


def _reads_better_in_lines(value: str) -> bool:
    is_plain = value.replace("\n", "").replace("\t", "").isprintable()
    return "\n" in value and is_plain and "'''" not in value and not value.endswith("'")
