"""Score a batch, here the held-out flights, with the model that did best."""

import argparse
import json
from pathlib import Path

import predict

ID = ["time_hour", "carrier", "flight", "origin", "dest"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--tables", type=Path, nargs="+", required=True)
    parser.add_argument("--scored", type=Path, required=True)
    parser.add_argument("--holdout", type=int, nargs="+", required=True)
    args = parser.parse_args()

    best = json.loads(args.scores.read_text())["best"]
    model = next(model for model in map(predict.load, args.models) if model.name == best)
    flights = predict.heldout(args.tables, args.holdout)
    scored = flights[ID].assign(expected_delay=model.minutes_late(flights).round(1))
    scored.to_csv(args.scored, index=False, date_format="%Y-%m-%dT%H:%MZ", lineterminator="\n")
    late = (scored["expected_delay"] >= 30).sum()
    print(f"{len(scored):,} flights scored with {best}; {late:,} of them expected 30 minutes late or more")


if __name__ == "__main__":
    main()
