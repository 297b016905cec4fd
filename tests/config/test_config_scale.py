"""Large files: no recursion, and work that grows with the number of steps and not faster."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import FrameType

import pytest
from reading import read, steps, told

from mlmake.config.graph import in_order, in_words
from mlmake.model.project import Project


def calls(run: Callable[[], object]) -> int:
    """How many Python functions `run` calls: the same each time, unlike a time."""
    seen: Counter[str] = Counter()

    def note(_: FrameType, event: str, __: object) -> None:
        seen[event] += 1

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return seen["call"] + seen["c_call"]


def pairs(number: int) -> str:
    """Two matrices, the second reading the first one to one."""
    values = list(range(number))
    return f"""
[clean]
script = "c.py"
matrix = {{ i = {values} }}
inputs = {{ raw = "data/{{matrix.i}}.csv" }}
outputs = {{ x = "build/clean-{{matrix.i}}.csv" }}
[fit]
script = "f.py"
matrix = {{ i = {values} }}
inputs = {{ x = "@clean[i={{matrix.i}}].x", same = "build/clean-{{matrix.i}}.csv" }}
outputs = {{ o = "build/fit-{{matrix.i}}.csv" }}
after = ["clean[i={{matrix.i}}]"]
"""


def chain(number: int, backwards: bool = False) -> str:
    order = reversed(range(number)) if backwards else range(number)
    return "".join(
        f"[s{i}]\nscript = 's.py'\noutputs = {{ o = 'build/{i}' }}\n"
        + (f"inputs = {{ x = '@s{i - 1}.o' }}\n" if i else "")
        for i in order
    )


def test_a_matrix_of_10_000() -> None:
    project = read(pairs(10_000))
    assert len(project.steps) == 20_000
    last = project.steps["p.fit[i=9999]"]
    assert last.producers == ("p.clean[i=9999]",)
    assert [each.sources[0].location.text for each in last.inputs] == ["build/clean-9999.csv"] * 2


def test_one_to_one_references_cost_the_same_for_each_step() -> None:
    assert calls(partial(read, pairs(1000))) < 5 * calls(partial(read, pairs(250)))


@pytest.mark.parametrize("backwards", [False, True])
def test_a_chain_of_5_000(backwards: bool) -> None:
    project = read(chain(5000, backwards))
    assert list(project.steps) == [f"p.s{i}" for i in range(5000)]
    assert project.steps["p.s4999"].producers == ("p.s4998",)


def test_a_chain_costs_what_as_many_steps_cost() -> None:
    assert calls(partial(read, chain(1000, True))) < 5 * calls(partial(read, chain(250, True)))


def test_a_cycle_of_5_000() -> None:
    (line,) = told(
        steps(chain(5000)).replace("[pipelines.p.steps.s0]\n", "[pipelines.p.steps.s0]\nafter = ['s4999']\n")
    )
    assert "cycle: s0 needs s4999, " in line


def test_fan_in_and_out() -> None:
    text = f"{pairs(5000)}[all]\nscript = 'a.py'\ninputs = {{ x = '@fit.o', y = 'build/*.csv', z = 'build/' }}\n"
    project = read(f"{text}[each]\nscript = 'e.py'\nmatrix = {{ i = {list(range(20))} }}\ninputs = {{ x = '@fit' }}")
    everything = project.steps["p.all"]
    assert [len(each.sources) for each in everything.inputs] == [5000, 1, 1]
    assert [len(each.sources[0].producers) for each in everything.inputs] == [1, 10_000, 10_000]
    first, second = (project.steps[f"p.each[i={i}]"].inputs[0].sources for i in (0, 1))
    assert first is not second
    assert all(one is other for one, other in zip(first, second, strict=True)), "sources are shared, not made anew"


def test_order_of_a_long_chain_needs_no_second_look() -> None:
    looked = Counter[str]()

    class Steps(dict[str, object]):
        def __getitem__(self, name: str) -> object:
            looked[name] += 1
            return super().__getitem__(name)

    project: Project = read(chain(2000, backwards=True))
    reversed_steps = Steps(reversed([*project.steps.items()]))
    ordered, cycles = in_order(reversed_steps)  # type: ignore[arg-type]
    assert [step.name for step in ordered] == [f"s{i}" for i in range(2000)]
    assert cycles == []
    assert max(looked.values()) == 2


def test_cycles_in_words() -> None:
    assert in_words(["a"]) == "a needs a"
    assert in_words(["a", "b", "c"]) == "a needs b, b needs c, c needs a"
    assert in_words([str(i) for i in range(11)]) == (
        "0 needs 1, 1 needs 2, 2 needs 3, 3 needs 4, 4 needs 5, … 1 more …, "
        "6 needs 7, 7 needs 8, 8 needs 9, 9 needs 10, 10 needs 0"
    )
