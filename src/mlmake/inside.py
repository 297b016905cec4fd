"""What a step's script may use of mlmake while it runs: `Run.get_context()`.

This file and `table.py` need nothing but Python (3.8 or later). They travel to hosts, containers and environments that
have no mlmake, where this one stands as the package `mlmake` itself: `from mlmake.core import Run` works there too.

What a script logs goes line by line into `log.jsonl` in the folder that `MLMAKE_KEEP` names; files go beside it.
Outside of a step, it is printed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from contextlib import suppress
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from mlmake.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

LOG = "log.jsonl"
FILES = "files"
OUTPUTS = "outputs"
PARENT = "parent"
"""What stands in the folder that a step's run keeps: what was logged, what was uploaded, `./outputs`."""


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
        if not isinstance(id, str):
            raise TypeError("Run.get(workspace, run_id) takes a run by its id, and get_context() that of this script")
        self.id = id
        self._folder = folder
        self._of_whom = of
        self._experiment = experiment
        self._parent = parent

    @staticmethod
    def get(workspace: Any, run_id: str) -> Any:
        """A run of a workspace by its id. Raises UnknownName."""
        return workspace.get_run(run_id)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    @property
    def experiment(self) -> Any:
        """The experiment: here an object with a `name`, and a `workspace`."""
        return _Experiment(self._experiment, self._folder)

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

    def log_confusion_matrix(self, name: str, value: Mapping[str, Any] | str, description: str = "") -> None:
        """A chart as it is written down: a dict, or its JSON, whose `data` is kept as a table."""
        told = json.loads(value) if isinstance(value, str) else value
        self._put("chart", name, _plain(told.get("data", told)))

    log_accuracy_table = log_residuals = log_predictions = log_confusion_matrix

    def log_image(self, name: str, path: str | None = None, plot: Any = None, description: str = "") -> None:
        """An image: a file, or a plot of matplotlib (anything with `savefig`)."""
        if (path is None) == (plot is None):
            raise ValueError("log_image wants a path or a plot, and not both")
        kept = "{}{}".format(name, os.path.splitext(path)[1] if path else ".png")
        if path is not None:
            self._keep(kept, path)
        elif target := self._file_for(kept):
            plot.savefig(target)
        self._put("image", name, kept)

    def tag(self, key: str, value: str | None = None) -> None:
        """A word for people to find the run by, with a value if you like."""
        self._put("tag", key, None if value is None else str(value))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Several tags."""
        for key, value in tags.items():
            self.tag(key, value)

    def remove_tags(self, tags: str | Iterable[str]) -> None:
        """Take tags away."""
        for key in [tags] if isinstance(tags, str) else tags:
            self._put("untag", key, None)

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

    def register_model(self, model_name: str, model_path: str | None = None, **about: Any) -> Any:
        """Register a file, `outputs/NAME` by default, as a new version of a model. Raises RuntimeError elsewhere.

        Elsewhere is where a step cannot see its workspace; the run as it is submitted has this method too.
        """
        name = model_path or f"outputs/{model_name}"
        file = kept_files(self._folder).get(name, name)
        workspace = self.experiment.workspace
        return import_module("mlmake.sdk").Model.register(workspace, file, model_name, run_id=self.id, **about)

    def add_properties(self, properties: Mapping[str, str]) -> None:
        """Words that never change: what a name was given first, it keeps."""
        for name, value in properties.items():
            self._put("property", name, str(value))

    def flush(self, timeout_seconds: int = 300) -> None:
        """Nothing waits: each line is written when it is logged."""

    def start(self) -> None:
        """Nothing to do: it has started."""

    def complete(self, _set_status: bool = True) -> None:
        """Nothing to do: a step has ended well when its script has."""

    def fail(self, error_details: object = None, error_code: str | None = None, _set_status: bool = True) -> None:
        """End the script, and so the step, as failed. Raises SystemExit; where nothing runs it, it is printed."""
        words = str(error_details or error_code or "the script says that it failed")
        if not self._folder:
            print(f"failed: {words}")
            return
        raise SystemExit(words)

    def child_run(self, *args: Any, **kwargs: Any) -> Any:
        """A run has no runs of its own but steps. Raises NotImplementedError."""
        raise NotImplementedError("log to this run, under names of their own; or make them steps of the pipeline")

    create_children = submit_child = child_run

    # What was logged.

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: object = None, populate: bool = False
    ) -> dict[str, Any]:
        """What was logged: a value, or a list where a name came more than once; a table is column -> values.

        With `recursive`, by the ids of runs.
        """
        found = self._metrics()
        found = found if name is None else {key: value for key, value in found.items() if key == name}
        return {self.id: found} if recursive and found else found

    def get_tags(self) -> dict[str, str | None]:
        """The tags, with their values."""
        return tags(entries(self._folder, self._of_whom))

    def get_properties(self) -> dict[str, str]:
        """Words that never change."""
        return properties(entries(self._folder, self._of_whom))

    def get_status(self) -> str:
        """How it stands: a script runs."""
        return "Running"

    def get_file_names(self) -> list[str]:
        """Names of the files that the run keeps."""
        return sorted(kept_files(self._folder))

    def _metrics(self) -> dict[str, Any]:
        return metrics(entries(self._folder, self._of_whom))

    def _put(self, what: str, name: str, value: Any, **more: Any) -> None:
        if not self._folder:
            print("{} {}{}".format(what, name, "" if value is None else f" = {value}"))
            return
        given = {key: each for key, each in {**more, "of": self._of_whom or None}.items() if each is not None}
        line = json.dumps({"what": what, "name": name, "value": value, "time": time.time(), **given})
        # One write of a line to a file that is only appended to: ranks and threads do not tear each other's lines.
        with open(_made(os.path.join(self._folder, LOG)), "ab", buffering=0) as file:
            file.write(line.encode() + b"\n")

    def _file_for(self, name: str) -> str:
        """Where a file of that name is kept; "" where nothing is. Raises ValueError."""
        place = os.path.normpath(name)
        if place.startswith(("/", "..")):
            raise ValueError(f"the name of a file that a run keeps is a relative path, not {name!r}")
        return _made(os.path.join(self._folder, FILES, place)) if self._folder else ""

    def _keep(self, name: str, source: str | IO[Any]) -> None:
        target = self._file_for(name)
        if not target:
            return
        if isinstance(source, (str, os.PathLike)):
            shutil.copyfile(source, target)
            return
        content = source.read()
        with open(target, "wb") as file:
            file.write(content if isinstance(content, bytes) else str(content).encode())


class _Experiment:
    """The experiment that a step's run is of."""

    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self._folder = folder

    @property
    def workspace(self) -> Any:
        """The workspace, for a step on the workspace's own machine whose Python has mlmake. Raises RuntimeError."""
        found = getattr(import_module("mlmake.sdk"), "Workspace", None) if self._folder else None
        if found is None:
            raise RuntimeError("this script cannot see its workspace: that is for steps in the workspace's own Python")
        return found.from_config(self._folder)


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
        elif what == "table":
            tables.setdefault(name, []).extend(_rows(value))
        elif what in ("chart", "image"):
            values[name], single[name] = [value], True
    found = {name: each[0] if single[name] else each for name, each in values.items()}
    found.update((name, _columns(rows)) for name, rows in tables.items())
    return found


def tags(logged: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """Tags by their names; the last value holds."""
    found: dict[str, str | None] = {}
    for each in logged:
        if each["what"] == "tag":
            found[each["name"]] = each["value"]
        elif each["what"] == "untag":
            found.pop(each["name"], None)
    return found


def properties(logged: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Properties by their names; the first value holds."""
    found: dict[str, str] = {}
    for each in logged:
        if each["what"] == "property":
            found.setdefault(each["name"], each["value"])
    return found


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


def _rows(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of columns; a value by itself stands in the first."""
    columns = {name: values if isinstance(values, list) else [values] for name, values in table.items()}
    longest = max(map(len, columns.values()), default=0)
    return [{name: each[row] for name, each in columns.items() if row < len(each)} for row in range(longest)]


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
