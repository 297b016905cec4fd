"""An MLflow tracking server, through MLflow's own client."""

from __future__ import annotations

import os
import posixpath
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from logging import ERROR, getLogger
from typing import Any, TypeVar

from mlmake.errors import UsageError
from mlmake.model.run import Outcome
from mlmake.trackers.base import Content, Opening, Point

T = TypeVar("T")
_TIMEOUT, _RETRIES = 20, 1
"""Seconds that the server has to answer, and how often it is asked again; MLflow's own variables say otherwise."""
_PARENT = "mlflow.parentRunId"
_STATUS = {Outcome.DONE: "FINISHED", Outcome.FAILED: "FAILED", Outcome.CANCELLED: "KILLED", Outcome.LOST: "KILLED"}
_MOST_POINTS, _MOST_WORDS = 1000, 100
"""What the server takes at once of metrics, and of parameters or tags."""
_LONGEST_NAME, _LONGEST_PARAM, _LONGEST_TAG = 250, 6000, 5000
_NO_NAME = re.compile(r"[^\w\-. :/]", re.ASCII)


class MlflowTracker:
    """One experiment of a server."""

    def __init__(self, address: str, experiment: str) -> None:
        """Raises UsageError where MLflow is not installed."""
        if find_spec("mlflow") is None:
            raise UsageError("[tracking] mlflow needs MLflow's client", hint="pip install 'mlmake[mlflow]'")
        self._address = address
        self._name = experiment
        self._lock = threading.Lock()
        self._experiment = ""
        self._opened: Any = None

    def load(self) -> None:
        """Load MLflow's client."""
        with self._lock:
            if self._opened is None:
                self._opened = _loaded().MlflowClient(self._address)

    def begin(self, opening: Opening) -> str:
        """Make a run; its id."""
        tags = {**_tags(opening.tags), **({_PARENT: opening.parent} if opening.parent else {})}
        with self._asked() as client:
            run = client.create_run(self._experiment, _ms(opening.started), tags, run_name=opening.name)
            return str(run.info.run_id)

    def variables(self, run: str) -> Mapping[str, str]:
        """What MLflow reads in a process that logs by itself."""
        return {
            "MLFLOW_TRACKING_URI": self._address,
            "MLFLOW_RUN_ID": run,
            "MLFLOW_EXPERIMENT_ID": self._experiment,
        }

    def log(self, run: str, content: Content) -> None:
        """Say something of a run. What the run's own process has said of a parameter stays: MLflow changes none."""
        with self._asked() as client:
            there = client.get_run(run).data.params if content.params else {}
            for batch in _batches(content, there):
                client.log_batch(run, **batch)
            for name, path in content.files.items():
                client.log_artifact(run, path, posixpath.dirname(name) or None)

    def end(self, run: str, outcome: Outcome, ended: float) -> None:
        """Say how a run ended, and when."""
        with self._asked() as client:
            client.set_terminated(run, _STATUS[outcome], _ms(ended))

    def left(self, tag: str, value: str) -> Mapping[str, Mapping[str, str]]:
        """Runs with this tag that were never ended: id -> tags."""
        asked = f"attributes.status = 'RUNNING' and tags.`{tag}` = '{value}'"
        with self._asked() as client:
            found = client.search_runs([self._experiment], asked)
            return {run.info.run_id: dict(run.data.tags) for run in found}

    def move(self, run: str, parent: str) -> None:
        """Make a run a part of another."""
        with self._asked() as client:
            client.set_tag(run, _PARENT, parent)

    @contextmanager
    def _asked(self) -> Iterator[Any]:
        """The client, whose errors are ConnectionError where the server cannot be reached."""
        try:
            yield self._client()
        except Exception as error:
            known = import_module("requests.exceptions")
            chain = list(_chain(error))
            if any(isinstance(each, known.ConnectionError | known.Timeout | known.RetryError) for each in chain):
                raise ConnectionError(_words(chain[-1])) from error
            raise

    def _client(self) -> Any:
        self.load()
        with self._lock:
            if not self._experiment:
                self._experiment = self._made(self._opened)
            return self._opened

    def _made(self, client: Any) -> str:
        """The id of the experiment, which another build may make at this moment."""
        found = client.get_experiment_by_name(self._name)
        if found is None:
            with suppress(import_module("mlflow.exceptions").RestException):
                return str(client.create_experiment(self._name))
            found = client.get_experiment_by_name(self._name)
        return str(found.experiment_id)


def _loaded() -> Any:
    """MLflow's client, which then neither waits for minutes nor prints nor reports to its makers.

    Of the last it wants to know from the environment, before it is loaded; steps find it there too.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    module = import_module("mlflow.tracking")
    known = import_module("mlflow.environment_variables")
    known.MLFLOW_HTTP_REQUEST_TIMEOUT.default = _TIMEOUT
    known.MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = _RETRIES
    known.MLFLOW_HTTP_REQUEST_BACKOFF_JITTER.default = 0.0
    known.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.default = True
    getLogger("urllib3.connectionpool").setLevel(ERROR)
    return module


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from: what the system says is wrapped many times."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _words(error: BaseException) -> str:
    inner = next((each for each in error.args if isinstance(each, OSError)), error)
    return (inner.strerror if isinstance(inner, OSError) else "") or str(inner)


def _batches(content: Content, there: Collection[str]) -> Iterator[dict[str, list[Any]]]:
    """What goes to the server in one call; parameters that are `there` do not."""
    entities = import_module("mlflow.entities")
    params = {_name(name): value[:_LONGEST_PARAM] for name, value in content.params.items()}
    for some in _parts([each for each in params.items() if each[0] not in there], _MOST_WORDS):
        yield {"params": [entities.Param(*each) for each in some]}
    for points in _parts(content.points, _MOST_POINTS):
        yield {"metrics": [entities.Metric(*_metric(each)) for each in points]}
    for some in _parts(list(_tags(content.tags).items()), _MOST_WORDS):
        yield {"tags": [entities.RunTag(*each) for each in some]}


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_name(name): value[:_LONGEST_TAG] for name, value in tags.items()}


def _metric(point: Point) -> tuple[str, float, int, int]:
    return _name(point.name), point.value, _ms(point.time), point.step


def _name(text: str) -> str:
    """A name that the server takes."""
    return _NO_NAME.sub("_", text)[:_LONGEST_NAME]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _parts(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    return (items[start : start + most] for start in range(0, len(items), most))
