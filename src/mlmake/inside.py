"""What a step's script may use of mlmake while it runs: `Run.get_context()`.

This one file needs nothing but Python (3.8 or later). It travels to hosts, containers and environments that have no
mlmake, where it stands as the package `mlmake` itself: `from mlmake.core import Run` works there too.

What a script logs goes line by line into `log.jsonl` in the folder that `MLMAKE_KEEP` names; files go beside it.
Outside of a step, it is printed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOG = "log.jsonl"
FILES = "files"
OUTPUTS = "outputs"
PARENT = "parent"
"""What stands in the folder that a step's run keeps: what was logged, what was uploaded, `./outputs`."""
_KEY = re.compile(r"([^{}]*)(?:\{(\w+)(?::([^{}]*))?\})?")
_DATES = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_DATE = re.compile("yyyy|MM|dd|HH|mm|ss|.")
_FORMATS = {"delimited": "read_csv", "parquet": "read_parquet", "json_lines": "read_json"}


def _started_in() -> str:
    with suppress(OSError):  # the folder may be gone
        return os.getcwd()
    return ""


_START = _started_in()
"""Where the script began: it may go elsewhere before it asks for its run."""


class Run:
    """A run: the one around this script, or, through mlmake's SDK, any other.

    `folder` takes what is logged; "" prints it.
    """

    def __init__(self, id: str, folder: str = "", experiment: str = "", parent: str = "", of: str = "") -> None:
        self.id = id
        self._folder = folder
        self._of_whom = of
        self._experiment = experiment
        self._parent = parent

    @classmethod
    def get_context(cls, allow_offline: bool = True) -> Run:
        """The run of the step that this script is; outside of a step, one that prints what is logged.

        With `allow_offline` false, RuntimeError is raised there.
        """
        env = os.environ
        if "MLMAKE_KEEP" not in env:
            if not allow_offline:
                raise RuntimeError("this script is no step of a running pipeline")
            return Run("OfflineRun")
        folder = os.path.join(_START, env["MLMAKE_KEEP"])
        parent = env.get("MLMAKE_PIPELINE_RUN", "")
        name = "{}.{}".format(parent or env["MLMAKE_RUN"], env["MLMAKE_STEP"])
        return Run(name, folder, env.get("MLMAKE_EXPERIMENT", ""), parent or env["MLMAKE_RUN"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    @property
    def experiment(self) -> Any:
        """The experiment: here an object with a `name`."""
        return _Named(self._experiment)

    @property
    def parent(self) -> Any:
        """The pipeline's run that this one is a step of, to log there too; None for one that has none."""
        return Run(self._parent, self._folder, self._experiment, of=PARENT) if self._parent else None

    @property
    def input_datasets(self) -> Mapping[str, Any]:
        """By name what the step reads: a path or, for a table that is read directly, a `Table`."""
        return {name: _dataset(name) for name in json.loads(os.environ.get("MLMAKE_INPUTS", "[]"))}

    # Logging.

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """A number (or text); under the same name again, the values make a list."""
        self._put("value", name, _plain(value), step=step)

    def log_list(self, name: str, value: Iterable[Any], description: str = "") -> None:
        """Several values at once."""
        self._put("list", name, [_plain(each) for each in value])

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """A row of a table; under the same name again, the next row."""
        self._put("row", name, {column: _plain(value) for column, value in kwargs.items()})

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        """A table: column -> its values."""
        self._put("table", name, {column: _plain(values) for column, values in value.items()})

    def log_image(self, name: str, path: str | None = None, plot: Any = None, description: str = "") -> None:
        """An image: a file, or a plot of matplotlib (anything with `savefig`)."""
        if (path is None) == (plot is None):
            raise ValueError("log_image wants a path or a plot, and not both")
        kept = "{}{}".format(name, os.path.splitext(path)[1] if path else ".png")
        if path is not None:
            self._keep(kept, path)
        elif self._folder:
            plot.savefig(_made(os.path.join(self._folder, FILES, kept)))
        self._put("image", name, kept)

    def tag(self, key: str, value: str | None = None) -> None:
        """A word for people to find the run by, with a value if you like."""
        self._put("tag", key, None if value is None else str(value))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Several tags."""
        for key, value in tags.items():
            self.tag(key, value)

    def upload_file(self, name: str, path_or_stream: str | IO[Any]) -> None:
        """Keep a file with the run, under a name of its own."""
        self._keep(name, path_or_stream)
        self._put("file", name, None)

    def upload_files(self, names: Iterable[str], paths: Iterable[str]) -> None:
        """Keep several files."""
        for name, path in zip(names, paths):  # Python 3.8 has no strict
            self.upload_file(name, path)

    def upload_folder(self, name: str, path: str) -> None:
        """Keep all files of a folder."""
        for folder, _, files in os.walk(path):
            for file in files:
                full = os.path.join(folder, file)
                self.upload_file(f"{name}/{os.path.relpath(full, path)}", full)

    def flush(self, timeout_seconds: int = 300) -> None:
        """Nothing waits: each line is written when it is logged."""

    # What was logged.

    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """What was logged: a value, or a list where a name came more than once; a table is column -> values."""
        found = metrics(entries(self._folder, self._of_whom))
        return found if name is None else {key: value for key, value in found.items() if key == name}

    def get_tags(self) -> dict[str, str | None]:
        """The tags, with their values."""
        return tags(entries(self._folder, self._of_whom))

    def get_file_names(self) -> list[str]:
        """Names of the files that the run keeps."""
        return sorted(kept_files(self._folder))

    def _put(self, what: str, name: str, value: Any, **more: Any) -> None:
        if not self._folder:
            print("{} {}{}".format(what, name, "" if value is None else f" = {value}"))
            return
        given = {key: each for key, each in {**more, "of": self._of_whom or None}.items() if each is not None}
        line = json.dumps({"what": what, "name": name, "value": value, "time": time.time(), **given})
        # One write of a line to a file that is only appended to: ranks and threads do not tear each other's lines.
        with open(_made(os.path.join(self._folder, LOG)), "ab", buffering=0) as file:
            file.write(line.encode() + b"\n")

    def _keep(self, name: str, source: str | IO[Any]) -> None:
        place = os.path.normpath(name)
        if place.startswith(("/", "..")):
            raise ValueError(f"the name of a file that a run keeps is a relative path, not {name!r}")
        if not self._folder:
            return
        target = _made(os.path.join(self._folder, FILES, place))
        if isinstance(source, (str, os.PathLike)):
            shutil.copyfile(source, target)
            return
        content = source.read()
        with open(target, "wb") as file:
            file.write(content if isinstance(content, bytes) else str(content).encode())


class Table:
    """A table that a step reads directly: `paths` are its files, and folders with such files."""

    def __init__(self, paths: list[str], reader: str = "", options: Mapping[str, Any] | None = None) -> None:
        self._reader = reader
        self._options = dict(options or {})
        self._keep, self._drop = self._options.pop("keep", None), self._options.pop("drop", None)
        extension = self._options.pop("extension", "")
        self.paths = [file for path in paths for file in _files(path, extension)]
        self._partition = self._options.pop("partition_format", "")

    def to_pandas_dataframe(self) -> Any:
        """All files, one after the other, as one frame of pandas."""
        pandas = cast("Any", __import__("pandas"))
        frames = [self._frame(pandas, path) for path in self.paths]
        return frames[0] if len(frames) == 1 else pandas.concat(frames, ignore_index=True)

    def _frame(self, pandas: Any, path: str) -> Any:
        frame = getattr(pandas, self._reader_of(path))(path, **self._options)
        frame = frame if self._keep is None else frame[self._keep]
        frame = frame if self._drop is None else frame.drop(columns=self._drop)
        return frame.assign(**partition(path, self._partition)) if self._partition else frame

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


class _Named:
    """A thing that has a name."""

    def __init__(self, name: str) -> None:
        self.name = name


def entries(folder: str, of: str = "") -> list[dict[str, Any]]:
    """The lines of a run's log: its own, or those `of` its `PARENT`; one that is torn or still written is left out."""
    try:
        with open(os.path.join(folder, LOG), encoding="utf-8") as file:
            lines = file.readlines() if folder else []
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    for line in lines:
        with suppress(ValueError):
            found.append(json.loads(line))
    return [each for each in found if each.get("of", "") == of]


def metrics(logged: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What was logged, by name."""
    values: dict[str, list[Any]] = {}
    tables: dict[str, list[Mapping[str, Any]]] = {}
    single: dict[str, Any] = {}
    for each in logged:
        what, name, value = each["what"], each["name"], each["value"]
        if what in ("value", "list"):
            values.setdefault(name, []).extend(value if what == "list" else [value])
            single[name] = what == "value" and len(values[name]) == 1
        elif what == "row":
            tables.setdefault(name, []).append(value)
        elif what in ("table", "image"):
            values[name], single[name] = [value], True
    found = {name: each[0] if single[name] else each for name, each in values.items()}
    found.update((name, _columns(rows)) for name, rows in tables.items())
    return found


def tags(logged: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """Tags by their names; the last value holds."""
    return {each["name"]: each["value"] for each in logged if each["what"] == "tag"}


def kept_files(folder: str) -> dict[str, str]:
    """What a run keeps: name -> path; that of `./outputs` begins so."""
    found = {}
    for part, prefix in ((FILES, ""), (OUTPUTS, "outputs/")):
        top = os.path.join(folder, part)
        for inside, _, names in os.walk(top) if folder else ():
            for name in names:
                path = os.path.join(inside, name)
                found[prefix + os.path.relpath(path, top)] = path
    return found


def _columns(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    if len(rows) == 1:
        return dict(rows[0])
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _dataset(name: str) -> Any:
    """What an input is to the script: a path, the folder around several, or a table."""
    variable = "".join(each if each.isalnum() and each.isascii() else "_" for each in name.upper())
    paths = os.environ.get("MLMAKE_INPUT_" + variable, "").split("\n")
    how = os.environ.get("MLMAKE_PARAM_READ_" + variable)
    if how is not None:
        options = json.loads(how)
        return Table(paths, options.pop("format", ""), options)
    return paths[0] if len(paths) == 1 else os.path.commonpath(paths)


def _plain(value: Any) -> Any:
    """Numbers of numpy and the like as Python's own; what JSON has no word for, as text."""
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, range)):
        return [_plain(each) for each in value]
    return str(value)


def _made(path: str) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


if __name__ == "mlmake":  # alone, as a stand-in for the package
    __path__: list[str] = []
    for _name in ("core", "core.run", "sdk"):
        sys.modules["mlmake." + _name] = sys.modules[__name__]
    core = sdk = run = sys.modules[__name__]
