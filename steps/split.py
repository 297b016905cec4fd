"""Cut one month out of the year, so that a change in one month's data stays in that month."""

import argparse
from pathlib import Path

import parquet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--year", type=Path, required=True)
    parser.add_argument("--flights", type=Path, required=True)
    parser.add_argument("--month", type=int, required=True)
    args = parser.parse_args()

    flights = parquet.read([args.year], months=[args.month])
    parquet.write(flights, args.flights)
    print(f"month {args.month}: {flights.num_rows:,} flights")


if __name__ == "__main__":
    main()
