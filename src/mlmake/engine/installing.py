"""Making one environment, in a thread: under a lock, by an installer that runs as a job, marked when it is whole."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mlmake.environments import probe, trouble
from mlmake.environments.base import Ran, Recipe, Run, Tools
from mlmake.errors import SoftwareError, StoreError
from mlmake.executors.base import Executor
from mlmake.model.job import Job
from mlmake.state import marks
from mlmake.state.hashing import hash_file
from mlmake.state.lock import locked
from mlmake.state.marks import Mark
from mlmake.state.softwares import Told
from mlmake.transports.agent.environments import FOREIGN

_POLL = 0.1
_RULES = "\u2500\u2502\u2570\u25b6\u00d7 "
"""What uv draws its errors with."""
_LAST = 20
"""Lines of an installer's words that are told."""
PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "UV_NO_PROGRESS": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """An environment to make.

    Attributes:
        name: as in pipelines.toml.
        folder: its place; nothing can be moved there, as scripts in it hold the path.
        sources: absolute path -> digest of the files that it is made from.
    """

    name: str
    recipe: Recipe
    folder: str
    sources: Mapping[str, str]

    @property
    def log(self) -> str:
        """What its installer says."""
        return f"{self.folder}.log"


@dataclass(frozen=True, slots=True)
class Made:
    """How it went: nothing to say if it stands, else why not, with the last words of the installer.

    Attributes:
        is_lost: its target is out of reach.
        image: the id of an image.
        told: what a host says of an environment there.
    """

    problem: str = ""
    words: str = ""
    is_lost: bool = False
    image: str = ""
    told: Told | None = None


def make(order: Order, root: str, open_executor: Callable[[], Executor], go_on: Callable[[], object]) -> Made:
    """Make an environment unless it stands; `go_on` raises StoreError once all is to stop. For any thread."""
    try:
        os.makedirs(os.path.dirname(order.folder), exist_ok=True)
        with locked(f"{order.folder}.lock", go_on):
            executor = open_executor()
            try:
                _make(order, _Runner(executor, root, order, go_on))
            finally:
                executor.close()
    except SoftwareError as error:
        return unmade(order.name, error)
    except StoreError as error:
        return Made(error.message)
    except OSError as error:
        return Made(f"environment {order.name} cannot be built: {error.strerror or error} ({error.filename})")
    return Made()


def unmade(name: str, error: SoftwareError) -> Made:
    """Why an environment cannot be had."""
    hint = f"; {error.hint}" if error.hint else ""
    return Made(f"environment {name} cannot be built: {error.message}{hint}", error.words)


def failed(code: int, said: str, host: str) -> SoftwareError:
    """An installer's end, with its last words and the next move."""
    words = _tail(said)
    last = next((line for line in reversed(words.splitlines()) if any(map(str.isalnum, line))), "").strip(_RULES)
    return SoftwareError(
        f"its installer ended with exit code {code}: {last}", hint=trouble.move(words, host), words=words
    )


class _Runner:
    """Runs commands one after the other as jobs; all that they say goes to the environment's log."""

    def __init__(self, executor: Executor, root: str, order: Order, go_on: Callable[[], object]) -> None:
        self._executor = executor
        self._root = root
        self._order = order
        self._go_on = go_on
        self._env = {
            name: value for name, value in os.environ.items() if name not in FOREIGN and not name.startswith("MLMAKE_")
        } | PLAIN

    def __call__(self, argv: Sequence[str]) -> Ran:
        log = self._order.log
        start = os.path.getsize(log) if os.path.exists(log) else 0
        job = Job(name=self._order.name, argv=tuple(argv), env=self._env, folder=self._root, log=log)
        try:
            handle = self._executor.submit(job)
        except OSError as error:
            return Ran(127, f"{argv[0]}: {error.strerror or error}")
        while not (done := self._executor.wait([handle], _POLL)):
            self._go_on()
        said = self._executor.read_log(handle, start).decode("utf-8", "replace")
        return Ran(done[0].exit_code, said or done[0].problem)


def _make(order: Order, run: Run) -> None:
    own = Tools(own=sys.executable)
    if _stands(order, own, run):
        return
    marks.remove(order.folder)
    with suppress(FileNotFoundError):
        os.unlink(order.log)
    try:
        tools = _tools(order.recipe, own, run)
        for argv in order.recipe.commands(order.folder, tools):
            _install(argv, order, own, run)
        mark = _asked(order, tools, run)
        _check_sources(order)
        marks.write(order.folder, mark)
    except BaseException:
        with suppress(OSError):
            marks.remove(order.folder)
        raise


def _stands(order: Order, tools: Tools, run: Run) -> bool:
    """Another mlmake has made it meanwhile, or it is just not as it was."""
    mark = marks.read(order.folder)
    if mark is None:
        return False
    is_true = mark.is_true(order.folder, _digest_of)
    return is_true or marks.renewed(order.recipe, order.folder, tools, run, _digest_of) is not None


def _tools(recipe: Recipe, own: Tools, run: Run) -> Tools:
    ran = run(probe.look_for(own.own, recipe.version))
    try:
        return probe.tools_of(own, ran.output)
    except ValueError as error:
        raise SoftwareError(f"this machine cannot be asked for its tools: {error}", words=_tail(ran.output)) from error


def _install(argv: Sequence[str], order: Order, own: Tools, run: Run) -> None:
    with open(order.log, "a", encoding="utf-8") as log:
        log.write(f"$ {shlex.join(argv)}\n")
    ran = run(argv)
    if ran.code != 0:
        raise failed(ran.code, ran.output, own.host)


def _asked(order: Order, tools: Tools, run: Run) -> Mark:
    try:
        return Mark.taken(order.recipe, order.folder, tools, run, _digest_of)
    except ValueError as error:
        raise SoftwareError("it does not say what is in it", words=str(error)) from error


def _check_sources(order: Order) -> None:
    """An edit while the installer read would give an environment that is none of what the file has ever said."""
    for path, digest in order.sources.items():
        if _digest_of(path) != digest:
            raise SoftwareError(f"{path} was edited while it was read", hint="run mlmake again")


def _digest_of(path: str) -> str:
    try:
        return hash_file(path)[0]
    except OSError:
        return ""


def _tail(said: str) -> str:
    """The last words of a command."""
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    return "\n".join(lines[-_LAST:])
