"""Parquet tables: the same rows always become the same bytes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read(paths: Iterable[Path], columns: Sequence[str] = (), months: Sequence[int] = ()) -> pa.Table:
    """The rows of all files, one below the other; only some columns or months where they are named."""
    wanted = [("month", "in", list(months))] if months else None
    return pa.concat_tables(pq.read_table(path, columns=list(columns) or None, filters=wanted) for path in paths)


def write(table: pa.Table, path: Path) -> None:
    """One file, without a word about when or where it was written."""
    pq.write_table(table, path, compression="zstd")
