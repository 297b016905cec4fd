"""Clean one month: drop what did not fly, join the weather and the delays of the hour before."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

import parquet
from features import COLUMNS, TARGET, WEATHER

HOUR = pd.Timedelta(hours=1)


def closed(flights: pd.DataFrame, closures: Path) -> pd.Series:
    """Which flights were due to leave an airport on a day that the closures file leaves out."""
    days = pd.read_csv(closures, dtype={"day": "int64", "airport": "str"})
    left_out = pd.MultiIndex.from_frame(days[["day", "airport"]])
    return pd.Series(pd.MultiIndex.from_frame(flights[["day", "origin"]]).isin(left_out), index=flights.index)


def weather_before(weather: pd.DataFrame) -> pd.DataFrame:
    """Each hour's weather under the hour that follows it."""
    return weather.assign(time_hour=weather["time_hour"] + HOUR)[["origin", "time_hour", *WEATHER]]


def delays_before(flights: pd.DataFrame, keys: Sequence[str], name: str) -> pd.DataFrame:
    """Mean delay of the planes that left in an hour, under the hour that follows it."""
    minutes = flights["minute"] + flights["dep_delay"]
    left = (flights["time_hour"] + pd.to_timedelta(minutes, unit="min")).dt.floor("h")
    due = flights["time_hour"] <= left  # one that left early, before its hour, must not tell of itself
    delays = flights[due].assign(time_hour=left + HOUR).groupby([*keys, "time_hour"])["dep_delay"].mean()
    return delays.rename(name).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flights", type=Path, required=True)
    parser.add_argument("--weather", type=Path, required=True)
    parser.add_argument("--closures", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--month", type=int, required=True)
    args = parser.parse_args()

    flights = parquet.read([args.flights]).to_pandas()
    flights["weekday"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.day_of_week
    flights["scheduled_departures"] = flights.groupby(["origin", "time_hour"])["flight"].transform("size")

    airport = delays_before(flights, ["origin"], "airport_delay")
    carrier = delays_before(flights, ["origin", "carrier"], "carrier_delay")
    weather = weather_before(parquet.read([args.weather]).to_pandas())

    arrived = flights[TARGET].notna()
    shut = closed(flights, args.closures)
    table = (
        flights[arrived & ~shut]
        .merge(weather, how="left", on=["origin", "time_hour"], validate="many_to_one")
        .merge(airport, how="left", on=["origin", "time_hour"], validate="many_to_one")
        .merge(carrier, how="left", on=["origin", "carrier", "time_hour"], validate="many_to_one")
    )
    parquet.write(pa.Table.from_pandas(table[list(COLUMNS)], preserve_index=False), args.table)
    print(
        f"month {args.month}: {len(table):,} flights; left out {(~arrived).sum():,} that never arrived "
        f"and {(arrived & shut).sum():,} from closed airports"
    )


if __name__ == "__main__":
    main()
