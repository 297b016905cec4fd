"""What a step asks for and what a target offers: cpus, memory, gpus and named resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{prefix}b": size for prefix, size in list(_UNITS.items()) if prefix} | {"b": 1}
_UNITS |= {f"{prefix}i": 1024**power for power, prefix in enumerate("kmgt", start=1)}
_UNITS |= {f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_MOST = 2**63


def parse_size(text: str) -> int:
    """Bytes of `64GiB`, `500MB`, `1024`. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None or float(match[1]) * unit >= _MOST:
        raise ValueError(f"expected a size such as '8GiB' or '500MB', got {text!r}")
    return int(float(match[1]) * unit)


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `2h`, `1h30m`. Raises ValueError."""
    stripped = text.strip()
    parts = _DURATION.findall(stripped)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not parts or _DURATION.sub("", stripped) or seconds >= _MOST:
        raise ValueError(f"expected a duration such as '90s', '2h' or '1h30m', got {text!r}")
    return float(seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """An amount of each resource; `memory` is in bytes."""

    cpus: float = 1
    memory: int = 0
    gpus: int = 0
    named: Mapping[str, float] = field(default_factory=dict)

    def amounts(self) -> dict[str, float]:
        """Every resource by name, those of zero left out."""
        own = {"cpus": self.cpus, "memory": float(self.memory), "gpus": float(self.gpus)}
        return {name: amount for name, amount in {**own, **self.named}.items() if amount}
