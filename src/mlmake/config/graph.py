"""Steps in an order in which each stands after all that come before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlmake.model.step import Step

Cycle = list[str]
"""Steps that wait for each other: each needs the next one, and the last needs the first."""
_SHOWN = 10


def in_order(steps: Mapping[str, Step]) -> tuple[list[Step], list[Cycle]]:
    """`steps` by depth first from the top of the file, without recursion; and every cycle on the way."""
    done: set[str] = set()
    ordered: list[Step] = []
    cycles: list[Cycle] = []
    for start in steps:
        if start in done:
            continue
        path: dict[str, Iterator[str]] = {start: iter(steps[start].upstream)}
        while path:
            current = next(reversed(path))
            following = next((each for each in path[current] if each not in done and each in steps), None)
            if following is None:
                path.popitem()  # unlike `del` it leaves no gap that `reversed` would walk over each time
                done.add(current)
                ordered.append(steps[current])
            elif following in path:
                names = list(path)
                cycles.append(names[names.index(following) :])
            else:
                path[following] = iter(steps[following].upstream)
    return ordered, cycles


def in_words(steps: Cycle) -> str:
    """A cycle named step by step; of a long one its beginning and its end."""
    needs = [f"{step} needs {other}" for step, other in zip(steps, steps[1:] + steps[:1], strict=True)]
    if len(needs) > _SHOWN:
        half = _SHOWN // 2
        needs[half:-half] = [f"… {len(needs) - _SHOWN:,} more …"]
    return ", ".join(needs)
