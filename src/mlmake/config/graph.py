"""Steps in an order in which each stands after all that come before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlmake.model.step import Step


class Cycle(Exception):
    """Steps that wait for each other, first to last and back."""

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps
        needs = [f"{step} needs {other}" for step, other in zip(steps, steps[1:] + steps[:1], strict=True)]
        super().__init__(", ".join(needs))


def in_order(steps: Mapping[str, Step]) -> list[Step]:
    """`steps` by depth first from the top of the file, without recursion. Raises Cycle."""
    done: set[str] = set()
    ordered: list[Step] = []
    for start in steps:
        if start in done:
            continue
        path: dict[str, Iterator[str]] = {start: iter(steps[start].upstream)}
        while path:
            current = next(reversed(path))
            following = next((each for each in path[current] if each not in done and each in steps), None)
            if following is None:
                del path[current]
                done.add(current)
                ordered.append(steps[current])
            elif following in path:
                names = list(path)
                raise Cycle(names[names.index(following) :])
            else:
                path[following] = iter(steps[following].upstream)
    return ordered
