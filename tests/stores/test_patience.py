"""Trying again: how often, and how long the pauses are."""

from __future__ import annotations

import pytest

from mlmake.errors import StoreError, StoreMissing, StoreUnavailable
from mlmake.stores.patience import Patience


def fails(errors: list[Exception]) -> str:
    if errors:
        raise errors.pop()
    return "well"


def pauses_with(chance: float) -> list[float]:
    pauses: list[float] = []
    patience = Patience(tries=6, first=1, longest=5, sleep=pauses.append, chance=lambda: chance)
    with pytest.raises(StoreUnavailable):
        patience.call(lambda: fails([StoreUnavailable("x")]))
    return pauses


def test_pauses_double_up_to_a_limit_with_chance_in_them() -> None:
    assert pauses_with(1.0) == [1, 2, 4, 5, 5]
    assert pauses_with(0.0) == [0.5, 1, 2, 2.5, 2.5]


def test_it_ends_with_the_first_success() -> None:
    pauses: list[float] = []
    errors: list[Exception] = [StoreUnavailable("x")] * 2
    assert Patience(sleep=pauses.append).call(lambda: fails(errors)) == "well"
    assert len(pauses) == 2


@pytest.mark.parametrize("error", [StoreError("no"), StoreMissing("no"), OSError("no")])
def test_what_is_wrong_for_ever_is_not_tried_again(error: Exception) -> None:
    with pytest.raises(type(error)):
        Patience(sleep=lambda pause: pytest.fail("it waits")).call(lambda: fails([error]))
