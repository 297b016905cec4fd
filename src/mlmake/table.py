"""Tables that a step's script reads: `Run.input_datasets` has them. Like `inside.py`, it needs nothing but Python."""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = re.compile(r"([^{}]*)(?:\{(\w+)(?::([^{}]*))?\})?")
_DATES = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_DATE = re.compile("yyyy|MM|dd|HH|mm|ss|.")
_FORMATS = {"delimited": "read_csv", "parquet": "read_parquet", "json_lines": "read_json"}


class Table:
    """A table that a step reads directly: `paths` are its files, and folders with such files."""

    def __init__(self, paths: list[str], reader: str = "", options: Mapping[str, Any] | None = None) -> None:
        self._reader = reader
        self._options = dict(options or {})
        self._keep, self._drop = self._options.pop("keep", None), self._options.pop("drop", None)
        extension = self._options.pop("extension", "")
        self.paths = [file for path in paths for file in _files(path, extension)]
        self._partition = self._options.pop("partition_format", "")
        self._has_path = self._options.pop("include_path", False)
        self._skip, self._take = self._options.pop("skip", 0), self._options.pop("take", None)

    def to_pandas_dataframe(self) -> Any:
        """All files, one after the other, as one frame of pandas."""
        pandas = cast("Any", __import__("pandas"))
        frames = [self._frame(pandas, path) for path in self.paths]
        frame = frames[0] if len(frames) == 1 else pandas.concat(frames, ignore_index=True)
        if not self._skip and self._take is None:
            return frame
        return frame[self._skip :][: self._take].reset_index(drop=True)

    def _frame(self, pandas: Any, path: str) -> Any:
        frame = getattr(pandas, self._reader_of(path))(path, **self._options)
        frame = frame.assign(Path=path) if self._has_path else frame
        frame = frame.assign(**partition(path, self._partition)) if self._partition else frame
        frame = frame if self._keep is None else frame[self._keep]
        return frame if self._drop is None else frame.drop(columns=self._drop)

    def _reader_of(self, path: str) -> str:
        by_name = {".parquet": "parquet", ".jsonl": "json_lines"}.get(os.path.splitext(path)[1], "delimited")
        return _FORMATS[self._reader or by_name]


def _files(path: str, extension: str) -> list[str]:
    """A file, or those of a folder whose names end so."""
    if not os.path.isdir(path):
        return [path]
    found = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sorted(file for file in found if file.endswith(extension))


def partition(path: str, format: str) -> dict[str, Any]:
    """What a path says of its file: `{year}/{day:yyyy-MM-dd}/x.csv` reads text and dates off its end.

    Raises ValueError for a path that is not of this form.
    """
    keys: dict[str, str] = {}
    pattern = ""
    for text, name, dates in _KEY.findall(format):
        pattern += re.escape(text)
        if name:
            keys[name] = "".join(_DATES.get(part, part) for part in _DATE.findall(dates))
            pattern += "(?P<{}>{})".format(name, _DATE.sub(lambda m: _digits(m[0]), dates) if dates else "[^/]+")
    found = re.search(pattern + r"\Z", path)
    if found is None:
        raise ValueError(f"{path} is not of the form {format}")
    return {name: datetime.strptime(found[name], how) if how else found[name] for name, how in keys.items()}


def partition_keys(format: str) -> list[str]:
    """The names in such a form."""
    return [name for _, name, _ in _KEY.findall(format) if name]


def _digits(part: str) -> str:
    return r"\d" * len(part) if part in _DATES else re.escape(part)
