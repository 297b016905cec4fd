"""Compare every model on the held-out months with a baseline that always says the mean."""

import argparse
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

import parquet
import predict


def score(actual: pd.Series, predicted: pd.Series) -> dict[str, float]:
    """Errors in minutes, and the share of the variance that is explained."""
    return {
        "mae": round(mean_absolute_error(actual, predicted), 3),
        "rmse": round(root_mean_squared_error(actual, predicted), 3),
        "r2": round(r2_score(actual, predicted), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--tables", type=Path, nargs="+", required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--holdout", type=int, nargs="+", required=True)
    args = parser.parse_args()

    models = [predict.load(path) for path in args.models]
    flights = predict.heldout(args.tables, args.holdout)
    predictions = flights[["month", "day", "hour", "arr_delay"]].assign(
        baseline=models[0].mean, **{model.name: model.minutes_late(flights) for model in models}
    )
    parquet.write(pa.Table.from_pandas(predictions, preserve_index=False), args.predictions)

    names = ["baseline", *(model.name for model in models)]
    scores = {name: score(predictions["arr_delay"], predictions[name]) for name in names}
    best = min(names[1:], key=lambda name: scores[name]["rmse"])
    args.scores.write_text(json.dumps({"best": best, "flights": len(flights), "models": scores}, indent=2) + "\n")
    for name, values in scores.items():
        mark = "  <- best" if name == best else ""
        print(f"{name:9} MAE {values['mae']:6.2f}  RMSE {values['rmse']:6.2f}  R2 {values['r2']:7.4f}{mark}")


if __name__ == "__main__":
    main()
