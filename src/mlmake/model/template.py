"""Placeholders `{inputs.x}` `{outputs.x}` `{params.x}` `{matrix.x}` `{env.X}` in args, commands and paths.

Only these namespaces are placeholders; every other brace (`${HOME}`, awk's `{print $1}`) stays as it is, but a name one
letter off (`{input.x}`) is taken for a slip. A doubled brace, `{{inputs.x}}`, stands for the text `{inputs.x}`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from mlmake.model.data import Location, Scalar, Value

NAMESPACES = ("inputs", "outputs", "params", "matrix", "env")
_SLIPS = {"metrics": "outputs", "metric": "outputs", "parameters": "params", "environ": "env"}
_PLACEHOLDER = re.compile(r"\{\{(?P<literal>\w+\.[^{}\s]+)\}\}|\{(?P<space>[A-Za-z_]+)\.(?P<name>[^{}\s]+)\}")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One `{space.name}` of a text."""

    space: str
    name: str


def placeholders(texts: Iterable[str]) -> list[Placeholder]:
    """Every placeholder of `texts`, in order; words that only look like one are there too, for the checker."""
    found = []
    for text in texts:
        if "{" in text:
            found += [Placeholder(m["space"], m["name"]) for m in _PLACEHOLDER.finditer(text) if m["space"]]
    return found


@lru_cache(maxsize=1000)
def meant(space: str) -> str:
    """The namespace that `space` is or is a slip for; "" where the brace is none of ours."""
    if space in NAMESPACES:
        return space
    return _SLIPS.get(space) or next((each for each in NAMESPACES if one_letter_off(space, each)), "")


def one_letter_off(word: str, other: str) -> bool:
    """Whether two words differ by a letter too many, too few or out of place; short words never do."""
    is_near = abs(len(word) - len(other)) <= 1 and len({*word} ^ {*other}) <= 1
    return word != other and is_near and min(len(word), len(other)) >= 4


def fill(text: str, value_of: Callable[[str, str], str | None]) -> str:
    """`text` with each placeholder replaced by `value_of(space, name)`; None leaves the words as they are."""
    if "{" not in text:
        return text
    return "".join(part if isinstance(part, str) else _value(part, value_of) for part in _parts(text))


def _value(part: Placeholder, value_of: Callable[[str, str], str | None]) -> str:
    value = value_of(part.space, part.name)
    return f"{{{part.space}.{part.name}}}" if value is None else value


@lru_cache(maxsize=1000)
def _parts(text: str) -> tuple[str | Placeholder, ...]:
    """A text taken apart once, however many combinations of a matrix fill it."""
    parts: list[str | Placeholder] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match["space"]:
            parts.append(Placeholder(match["space"], match["name"]))
        else:
            parts.append(f"{{{match['literal']}}}" if meant(match["literal"].partition(".")[0]) else match[0])
    return (*parts, text[end:])


def as_text(value: Value) -> str:
    """A parameter as a command line says it: `true` and `false` in TOML's spelling, lists and tables as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def as_words(value: Value) -> tuple[str, ...]:
    """A parameter as words of a command line: a list gives one word an item."""
    return tuple(map(as_text, value)) if isinstance(value, list | tuple) else (as_text(value),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """Everything that a step's command line may say, with the paths of the place where it will run.

    `params` goes by the step's own names for them (an alias, where it gave one). `sources` and `targets` are what the
    inputs and outputs were declared as, for a kind that moves data by itself.
    """

    python: str
    inputs: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, str]
    params: Mapping[str, Value]
    matrix: Mapping[str, Scalar]
    env: Mapping[str, str]
    sources: Mapping[str, tuple[Location, ...]] = field(default_factory=dict)
    targets: Mapping[str, Location] = field(default_factory=dict)

    def words(self, space: str, name: str) -> tuple[str, ...] | None:
        """The words that `{space.name}` stands for; None where the namespace is not ours."""
        match space:
            case "inputs":
                return self.inputs[name]
            case "outputs":
                return (self.outputs[name],)
            case "params":
                return as_words(self.params[name])
            case "matrix":
                return as_words(self.matrix[name])
            case "env":
                return (self.env[name],)
        return None

    def quoted(self, text: str) -> str:
        """`text` filled for a POSIX shell: every word quoted."""

        def value(space: str, name: str) -> str | None:
            words = self.words(space, name)
            return None if words is None else shlex.join(words)

        return fill(text, value)

    def spliced(self, texts: Iterable[str]) -> tuple[str, ...]:
        """`texts` filled as words: one that is just a placeholder becomes all of its words."""
        result: list[str] = []
        for text in texts:
            whole = _PLACEHOLDER.fullmatch(text)
            words = self.words(whole["space"], whole["name"]) if whole and whole["space"] else None
            result += words if words is not None else [fill(text, self._joined)]
        return tuple(result)

    def _joined(self, space: str, name: str) -> str | None:
        words = self.words(space, name)
        return None if words is None else " ".join(words)
