"""The models that compete. To add one, write its function here and its options into pipelines.toml."""

from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from features import CALENDAR, CATEGORIES, NUMBERS


def ridge(seed: int, alpha: float) -> Pipeline:
    """A linear model: every category, hour and weekday gets its own weight, gaps are filled and marked."""
    gaps = SimpleImputer(strategy="median", add_indicator=True)
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), [*CATEGORIES, *CALENDAR]),
        (make_pipeline(gaps, StandardScaler()), list(NUMBERS)),
    )
    return make_pipeline(columns, Ridge(alpha=alpha, random_state=seed))


def boost(seed: int, depth: int, rate: float, iterations: int) -> Pipeline:
    """Gradient boosted trees, which take categories and gaps as they are."""
    trees = HistGradientBoostingRegressor(
        max_depth=depth,
        learning_rate=rate,
        max_iter=iterations,
        categorical_features=list(range(len(CATEGORIES))),
        early_stopping=False,
        random_state=seed,
    )
    return make_pipeline(_numbered(), trees)


def forest(seed: int, trees: int, leaf: int) -> Pipeline:
    """A random forest; each tree sees a fifth of the flights."""
    estimator = RandomForestRegressor(
        n_estimators=trees, min_samples_leaf=leaf, max_features=0.4, max_samples=0.2, random_state=seed
    )
    return make_pipeline(_numbered(), estimator)


MODELS: dict[str, Callable[..., BaseEstimator]] = {"ridge": ridge, "boost": boost, "forest": forest}


def _numbered() -> BaseEstimator:
    """Categories as numbers, in the first columns; all else untouched."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    return make_column_transformer((codes, list(CATEGORIES)), ("passthrough", [*CALENDAR, *NUMBERS]))
