"""Records of last good runs, and the texts of the code that they ran, kept by content for `why`."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping

import xxhash

from mlmake.model.run import Item, Record
from mlmake.state.database import check_pages, misread

_TEXT_LIMIT = 1 << 18
"""Longer code is kept by digest only: nobody reads a diff of a quarter of a megabyte."""


_SELECT = "SELECT step, run, finished, seconds, facts, inputs, outputs, target FROM records"


class Records:
    """The last good run of every step; reads all at once, or with `whole` false one by one; writes one at a time."""

    def __init__(self, connection: sqlite3.Connection, *, whole: bool = True) -> None:
        self._connection = connection
        self._whole = whole
        self._rows: dict[str, tuple[object, ...] | Record] = {}
        if whole:
            self._rows.update((row[0], row) for row in connection.execute(_SELECT))
        if whole and not self._rows:
            # A page that lost its rows looks like an empty one, and then all would run again without a word.
            check_pages(connection, "records")

    def get(self, step: str) -> Record | None:
        """The record of a step; decoded when first asked for."""
        row = self._rows.get(step)
        if row is None and not self._whole:
            row = self._connection.execute(f"{_SELECT} WHERE step = ?", (step,)).fetchone()
        if isinstance(row, tuple):
            try:
                row = self._rows[step] = _decoded(row)
            except (ValueError, TypeError, AttributeError) as error:
                raise misread(self._connection, error) from error
        return row

    def steps(self) -> list[str]:
        """The ids of all steps that have a record, also of those that the project has no more."""
        return [str(step) for (step,) in self._connection.execute("SELECT step FROM records")]

    def put(self, record: Record) -> None:
        """Write a record; call it inside a transaction."""
        self._rows[record.step] = record
        self._connection.execute(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.step,
                record.run,
                record.finished,
                record.seconds,
                json.dumps(dict(record.facts)),
                json.dumps({name: encode_items(items) for name, items in record.inputs.items()}),
                json.dumps(encode_items(record.outputs)),
                record.target,
            ),
        )

    def keep_texts(self, paths: Mapping[str, str]) -> None:
        """Keep the text of each file (absolute path -> digest) that is not kept yet; inside a transaction."""
        for path, digest in paths.items():
            if self._connection.execute("SELECT 1 FROM texts WHERE digest = ?", (digest,)).fetchone():
                continue
            body = _read_text(path)
            if body is not None and xxhash.xxh3_128_hexdigest(body) == digest:
                self._connection.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (digest, zlib.compress(body)))

    def keep(self, texts: Mapping[str, str]) -> None:
        """Keep texts by their digests; inside a transaction."""
        for digest, text in texts.items():
            row = (digest, zlib.compress(text.encode()))
            self._connection.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", row)

    def text(self, digest: str) -> str | None:
        """A kept text."""
        row = self._connection.execute("SELECT body FROM texts WHERE digest = ?", (digest,)).fetchone()
        try:
            return zlib.decompress(row[0]).decode("utf-8", "replace") if row else None
        except (zlib.error, TypeError) as error:
            raise misread(self._connection, error) from error


def encode_items(items: Iterable[Item]) -> list[list[object]]:
    return [[item.text, item.digest, item.size] for item in items]


def decode_items(rows: Iterable[list[object]]) -> tuple[Item, ...]:
    return tuple(Item(*row) for row in rows)  # type: ignore[arg-type]


def _decoded(row: tuple[object, ...]) -> Record:
    step, run, finished, seconds, facts, inputs, outputs, target = row
    return Record(
        step=str(step),
        run=int(run),  # type: ignore[call-overload]
        finished=float(finished),  # type: ignore[arg-type]
        seconds=float(seconds),  # type: ignore[arg-type]
        facts=dict(json.loads(str(facts)).items()),
        inputs={name: decode_items(items) for name, items in json.loads(str(inputs)).items()},
        outputs=decode_items(json.loads(str(outputs))),
        target=str(target),
    )


def _read_text(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            body = file.read(_TEXT_LIMIT + 1)
    except OSError:
        return None
    return None if len(body) > _TEXT_LIMIT or b"\0" in body else body
