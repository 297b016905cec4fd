"""`${…}` in a dvc.yaml: looked up in params.yaml and vars, and written as mlmake's placeholders."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from mlmake.errors import UsageError, nearest
from mlmake.model.data import Value
from mlmake.model.template import meant

_TEMPLATE = re.compile(r"(?<!\\)\$(?:\{\{(?P<double>[^{}$]*)\}\}|\{(?P<single>[^{}$]*)\})")
_STEPS = re.compile(r"[^.\[\]]+")
_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
_LIKE_OURS = re.compile(r"\{([A-Za-z_]+)\.[^{}\s]+\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """What stands for an expression that differs by combination: a placeholder, and its value in the first one."""

    placeholder: str
    value: Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What `${…}` may name.

    Attributes:
        values: params.yaml and the file's `vars`.
        fixed: `item`, `key` and a stage's own `vars`, which are written out.
        axes: expressions that are axes of a matrix.
        used: dotted keys of `values` that became parameters.
        written: keys that were written out as they cannot be parameters.
    """

    values: Mapping[str, Value]
    fixed: Mapping[str, Value] = field(default_factory=dict)
    axes: Mapping[str, Axis] = field(default_factory=dict)
    used: dict[str, Value] = field(default_factory=dict)
    written: dict[str, None] = field(default_factory=dict)

    def with_fixed(self, fixed: Mapping[str, Value]) -> Context:
        """With more that is written out; what was used is told to both."""
        return Context(
            values=self.values,
            fixed={**self.fixed, **fixed},
            axes=self.axes,
            used=self.used,
            written=self.written,
        )

    def with_axes(self, axes: Mapping[str, Axis]) -> Context:
        """With more that differs by combination."""
        return Context(values=self.values, fixed=self.fixed, axes=axes, used=self.used, written=self.written)

    def look_up(self, expression: str) -> Value:
        """The value of an expression. Raises UsageError."""
        if expression in self.axes:
            return self.axes[expression].value
        found: Value = {**self.values, **self.fixed}
        for part in _STEPS.findall(expression):
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, ValueError, TypeError):
                near = nearest(part, map(str, found)) if isinstance(found, Mapping) else ""
                hint = f"did you mean {near!r}?" if near else "it is neither in params.yaml nor in vars"
                raise UsageError(f"${{{expression}}}: there is no {part!r}", hint=hint) from None
        return found

    def resolved(self, value: Value) -> Value:
        """`value` with all templates in it replaced by what they stand for; one that is a whole text keeps its type."""
        if isinstance(value, Mapping):
            return {key: self.resolved(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.resolved(each) for each in value]
        if not isinstance(value, str):
            return value
        whole = _TEMPLATE.fullmatch(value)
        return self.look_up(_inner(whole)) if whole else self._filled(value, self._plain)

    def path(self, text: str) -> str:
        """A path, with placeholders for parameters and axes."""
        return self._filled(text, self._placed, escape=True)

    def command(self, text: str) -> str:
        """A command line, with placeholders; a table becomes flags."""
        return self._filled(text, self._flagged, escape=True)

    def _filled(self, text: str, value_of: Callable[[str], str], *, escape: bool = False) -> str:
        parts: list[str] = []
        end = 0
        for match in [*_TEMPLATE.finditer(text), None]:
            literal = text[end : match.start() if match else None].replace(r"\${", "${")
            parts.append(_LIKE_OURS.sub(_doubled, literal) if escape else literal)
            if match:
                parts.append(value_of(_inner(match)))
                end = match.end()
        return "".join(parts)

    def _plain(self, expression: str) -> str:
        return word(self.look_up(expression), expression)

    def _placed(self, expression: str) -> str:
        """The placeholder where there is one that gives the same words; else the value itself."""
        if expression in self.axes:
            return self.axes[expression].placeholder
        text = self._plain(expression)
        if expression.partition(".")[0].partition("[")[0] in self.fixed:
            return text
        if not _KEY.fullmatch(expression) or not is_plain(text) or self._is_in_list(expression):
            self.written[expression] = None
            return text
        self.used[expression] = self.look_up(expression)
        return f"{{params.{expression}}}"

    def _flagged(self, expression: str) -> str:
        value = self.look_up(expression)
        if not isinstance(value, Mapping):
            return self._placed(expression)
        return " ".join(self._flags(expression, "", value))

    def _flags(self, expression: str, prefix: str, table: Mapping[str, Value]) -> Iterator[str]:
        for name, value in table.items():
            flag, inner = f"--{prefix}{name}", f"{expression}.{name}"
            if isinstance(value, Mapping):
                yield from self._flags(inner, f"{prefix}{name}.", value)
            elif isinstance(value, bool):
                yield from [flag] if value else []
            elif isinstance(value, list):
                yield " ".join([flag, *(shlex.quote(word(each, inner)) for each in value)])
            else:
                text = self._placed(inner)
                yield f"{flag} {text if text.startswith('{') else shlex.quote(text)}"

    def _is_in_list(self, expression: str) -> bool:
        above = expression.rpartition(".")[0]
        return bool(above) and isinstance(self.look_up(above), list)


def word(value: Value, expression: str) -> str:
    """A value as DVC writes it into a text. Raises UsageError."""
    if value is None or isinstance(value, list | Mapping):
        kind = "nothing" if value is None else "a list" if isinstance(value, list) else "a table"
        raise UsageError(f"${{{expression}}} is {kind}: it cannot stand in a text")
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_plain(text: str) -> bool:
    """Whether a text means itself to a shell, inside quotes and outside."""
    return _PLAIN.fullmatch(text) is not None


def has_template(value: Value) -> bool:
    """Whether a value is a text with a template in it."""
    return isinstance(value, str) and _TEMPLATE.search(value) is not None


def _inner(match: re.Match[str]) -> str:
    return (match["double"] if match["double"] is not None else match["single"]).strip()


def _doubled(match: re.Match[str]) -> str:
    """A brace that mlmake would fill, so that it stays as it is."""
    return f"{{{match[0]}}}" if meant(match[1]) else match[0]
