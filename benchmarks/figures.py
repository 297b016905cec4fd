"""What was measured, as data: kept as JSON, read by the tables, the budgets and the plot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.timing import Sample


class Measure(Enum):
    """What is done; its value is the heading of its table."""

    NOTHING = "Nothing to do"
    STATUS = "Status: what would run"
    CHANGE = "One input changed"
    FIRST_1 = "Everything from nothing, -j 1"
    FIRST_2 = "Everything from nothing, -j 2"
    VERSION = "Start-up: the version"
    DIGEST = "Hashing, in the process"
    TOUCHED = "One large input whose time changed"
    FOLDER_FIRST = "A folder of small files, first time"
    FOLDER_KNOWN = "A folder of small files, known"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One tool at one work.

    Attributes:
        case: shape, or what is hashed.
        size: steps, bytes or files.
        samples: its runs.
        beside: mlmake's runs, taken in turn with these; empty for mlmake itself.
        note: why there are none, or fewer than asked for.
    """

    measure: Measure
    case: str
    size: int
    tool: str
    samples: tuple[Sample, ...] = ()
    beside: tuple[Sample, ...] = ()
    note: str = ""

    @property
    def wall(self) -> float | None:
        return median(each.wall for each in self.samples) if self.samples else None

    @property
    def cpu(self) -> float | None:
        return median(each.cpu for each in self.samples) if self.samples else None

    @property
    def memory(self) -> int | None:
        return max(each.memory for each in self.samples) if self.samples else None

    @property
    def ratio(self) -> float | None:
        """How many times as long mlmake took, in the runs taken in turn."""
        if not self.samples or not self.beside or not self.wall:
            return None
        return median(each.wall for each in self.beside) / self.wall


@dataclass(frozen=True, kw_only=True)
class Results:
    """A whole run: `machine` and `versions` name what was measured on and with; `absent` tools were not installed."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    absent: tuple[str, ...] = ()
    figures: list[Figure] = field(default_factory=list)

    def of(self, measure: Measure) -> list[Figure]:
        return [figure for figure in self.figures if figure.measure is measure]

    def find(self, measure: Measure, tool: str, case: str | None = None, size: int | None = None) -> Figure | None:
        """The figure with samples that fits; the largest size where none is given."""
        fitting = [
            figure
            for figure in self.of(measure)
            if figure.tool == tool and figure.samples and case in (None, figure.case) and size in (None, figure.size)
        ]
        return max(fitting, key=lambda figure: figure.size, default=None)


def save(results: Results, path: Path) -> None:
    """Write as JSON."""
    content = asdict(results)
    for figure in content["figures"]:
        figure["measure"] = figure["measure"].name
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read what `save` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Results(
        machine=content["machine"],
        versions=content["versions"],
        absent=tuple(content["absent"]),
        figures=list(_figures(content["figures"])),
    )


def _figures(rows: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    for row in rows:
        row["measure"] = Measure[row["measure"]]
        for name in ("samples", "beside"):
            row[name] = tuple(Sample(**sample) for sample in row[name])
        yield Figure(**row)
