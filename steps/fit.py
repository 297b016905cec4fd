"""Fit one model on every month that is not held out."""

import argparse
import json
import pickle
from pathlib import Path

from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from threadpoolctl import threadpool_limits

import parquet
from features import CALENDAR, CATEGORIES, NUMBERS, TARGET
from models import MODELS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, nargs="+", required=True)
    parser.add_argument("--fitted", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--holdout", type=int, nargs="+", required=True)
    parser.add_argument("--model", choices=MODELS, required=True)
    args, rest = parser.parse_known_args()
    # What is left are the options of this one model: --options-depth 6 --options-rate 0.1 …
    names = (flag.removeprefix("--options-") for flag in rest[::2])
    options = dict(zip(names, map(json.loads, rest[1::2]), strict=True))

    months = sorted(set(range(1, 13)) - set(args.holdout))
    columns = [*CATEGORIES, *CALENDAR, *NUMBERS, TARGET]
    flights = parquet.read(args.tables, columns, months).to_pandas()
    actual = flights[TARGET]

    with threadpool_limits(1):  # sums made by several threads can differ in their last digit
        estimator = MODELS[args.model](args.seed, **options).fit(flights, actual)
        predicted = estimator.predict(flights)

    fitted = {"name": args.model, "mean": actual.mean(), "estimator": estimator}
    args.fitted.write_bytes(pickle.dumps(fitted))
    scores = {
        "flights": len(flights),
        "mae": round(mean_absolute_error(actual, predicted), 3),
        "rmse": round(root_mean_squared_error(actual, predicted), 3),
    }
    args.scores.write_text(json.dumps(scores, indent=2) + "\n")
    print(f"{args.model} {options}: {len(flights):,} flights, off by {scores['mae']:.2f} minutes on average")


if __name__ == "__main__":
    main()
