"""One HTML page, with everything inside, about how well the models did."""

import argparse
import calendar
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

import pandas as pd

import charts
import parquet


def rows(scores: Mapping[str, Mapping[str, float]], best: str) -> str:
    """The table of scores, one line per model."""
    lines = []
    for name, values in scores.items():
        mark = ' class="best"' if name == best else ""
        cells = f"<td>{values['mae']:.2f}</td><td>{values['rmse']:.2f}</td><td>{values['r2']:.3f}</td>"
        lines.append(f"<tr{mark}><th>{name}</th>{cells}</tr>")
    return "\n".join(lines)


def facts(scores: Mapping[str, Mapping[str, float]], best: str, predictions: pd.DataFrame) -> dict[str, str]:
    """The words and numbers that the text of the page needs."""
    baseline, winner = scores["baseline"], scores[best]
    return {
        "best": best,
        "mae": f"{winner['mae']:.1f}",
        "rmse": f"{winner['rmse']:.1f}",
        "r2": f"{winner['r2']:.0%}",
        "baseline_mae": f"{baseline['mae']:.1f}",
        "baseline_rmse": f"{baseline['rmse']:.1f}",
        "flights": f"{len(predictions):,}",
        "months": " and ".join(calendar.month_name[month] for month in sorted(set(predictions["month"]))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--tables", type=Path, nargs="+", required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("-o", "--page", type=Path, required=True)
    args = parser.parse_args()

    evaluation = json.loads(args.scores.read_text())
    scores, best = evaluation["models"], evaluation["best"]
    predictions = parquet.read([args.predictions]).to_pandas()
    year = parquet.read(args.tables, ["month", "hour", "arr_delay"]).to_pandas()
    colors = charts.palette(scores)

    figures = {
        "errors": charts.image(charts.errors(scores, colors), "Errors of each model"),
        "accuracy": charts.image(charts.accuracy(predictions, best, colors), "Predicted against actual delay"),
        "days": charts.image(charts.days(predictions, best, colors), "Mean delay by day, actual and predicted"),
        "year": charts.image(charts.month_by_hour(year), "Mean delay in minutes by month and hour"),
    }
    words = facts(scores, best, predictions) | {"year_flights": f"{len(year):,}", "rows": rows(scores, best)}
    text = Template(args.template.read_text()).substitute(words, **figures)
    args.page.write_text(text)
    print(f"{len(figures)} figures, {len(text) / 1024:,.0f} KiB; best model: {best}")


if __name__ == "__main__":
    main()
