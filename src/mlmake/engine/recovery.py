"""After a build that died: its processes ended, its half-done outputs put right. Only the lock's holder may do it."""

from __future__ import annotations

import sqlite3

from mlmake.engine.checks import project_token
from mlmake.engine.staging import recover
from mlmake.errors import StateError
from mlmake.home import Home
from mlmake.model.events import Noticed, Sink
from mlmake.model.run import Outcome
from mlmake.state.database import transaction
from mlmake.state.runs import Runs
from mlmake.transports.agent import guard


def clear_up(home: Home, connection: sqlite3.Connection, sink: Sink) -> None:
    """Clean up after a build that died: nobody but us can hold the lock now."""
    if connection.execute("SELECT 1 FROM runs WHERE outcome = ?", (Outcome.RUNNING.value,)).fetchone():
        guard.kill_marked(project_token(home))
        with transaction(connection):
            Runs(connection).close_lost()

    def was_recorded(step: str, run: int) -> bool:
        row = connection.execute("SELECT run FROM records WHERE step = ?", (step,)).fetchone()
        return bool(row and row[0] >= run)

    try:
        back = recover(home, was_recorded)
    except OSError as error:
        raise StateError(
            f"cannot clear away what the last build left when it died: {error}",
            hint="make that path writable, and build again",
        ) from error
    for step in back:
        sink(Noticed(f"the last build died while {step} ran: its old outputs are back in place"))
