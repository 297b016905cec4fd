"""Fitted models, and what they say about the held-out flights."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import parquet


class Fitted(NamedTuple):
    """One model as `fit` left it: its name, the mean delay it was trained on, the estimator itself."""

    name: str
    mean: float
    estimator: Any

    def minutes_late(self, flights: pd.DataFrame) -> pd.Series:
        """The expected delay of each flight, to a hundredth of a minute."""
        return pd.Series(self.estimator.predict(flights), index=flights.index, name=self.name).round(2)


def load(path: Path) -> Fitted:
    """Unpickle a model; as with any pickle, only of one's own making."""
    return Fitted(**pickle.loads(path.read_bytes()))


def heldout(paths: Sequence[Path], months: Sequence[int]) -> pd.DataFrame:
    """The flights that no model was fitted on."""
    return parquet.read(paths, months=months).to_pandas()
