"""What a step's table alone says of its facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from mlmake.model.data import Value
from mlmake.model.step import Kind, Step, StepSpec
from mlmake.model.template import placeholders


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """What a step's table says of its facts; `mentioned` are absolute paths. It holds on to the spec it goes by."""

    spec: StepSpec
    facts: Mapping[str, str]
    scripts: tuple[str, ...]
    mentioned: tuple[str, ...]
    variables: tuple[str, ...]

    @classmethod
    def of(cls, spec: StepSpec, mentioned: tuple[str, ...]) -> Declared:
        words = placeholders(spec.kind.words())
        return cls(
            spec=spec,
            facts=declared_facts(spec),
            scripts=spec.kind.code().scripts,
            mentioned=mentioned,
            variables=tuple(dict.fromkeys(each.name for each in words if each.space == "env")),
        )


def declares(step: Step) -> tuple[object, ...]:
    """All that its table decides of a step, to be compared: not what is for people, nor where and how long it runs."""
    return declared_facts(step.spec), step.spec.environment, step.inputs, step.outputs, step.params, dict(step.matrix)


def declared_facts(spec: StepSpec) -> dict[str, str]:
    """Facts that no file decides."""
    facts = {
        "kind": f"{spec.kind.name} {spec.kind.version} ({_given(spec.kind)})",
        "args": as_json(spec.kind.words()),
    }
    if aliases := {own: key for own, key in spec.params.items() if own != key}:
        facts["names"] = as_json(aliases)
    if spec.version:
        facts["version"] = spec.version
    if spec.in_place:
        facts["in_place"] = "true"
    if not spec.delivers:  # such a kind takes all as URLs
        facts.update({f"mode {name}": mode.value for name, mode in spec.modes.items()})
    return facts


def as_json(value: Value) -> str:
    """A value as a fact."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _given(kind: Kind) -> str:
    """Which of a kind's keys have a value, and which of these are lists: the same words mean another command line."""
    values = {each.name: getattr(kind, each.name) for each in fields(cast("Any", kind))}
    return ", ".join(f"{name}[]" if isinstance(v, tuple) else name for name, v in values.items() if v is not None)
