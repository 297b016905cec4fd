"""The data of all good step runs, in one query."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from mlmake.model.lineage import Activity
from mlmake.model.run import Outcome
from mlmake.state.database import misread
from mlmake.state.digests import Digest
from mlmake.state.records import decode_items

_OUTPUT = "output "
_SELECT = """
    SELECT run, step, outcome, started, ended, inputs, outputs, facts FROM step_runs
    WHERE outcome IN (?, ?) ORDER BY run, started
"""


def activities(connection: sqlite3.Connection) -> list[Activity]:
    """Every step run that left outputs, in the order in which they started. Raises StateError."""
    rows = connection.execute(_SELECT, (Outcome.DONE.value, Outcome.RESTORED.value))
    try:
        return [_decoded(row) for row in rows]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise misread(connection, error) from error


def contents(connection: sqlite3.Connection) -> dict[tuple[str, str], Digest]:
    """What versions of files in datastores hold, as far as it is known: (url, version) -> content."""
    rows = connection.execute("SELECT url, version, digest, size FROM contents")
    return {(str(url), str(version)): Digest(str(digest), int(size)) for url, version, digest, size in rows}


def _decoded(row: Sequence[Any]) -> Activity:
    run, step, outcome, started, ended, inputs, outputs, facts = row
    return Activity(
        run=run,
        step=step,
        outcome=Outcome(outcome),
        started=started,
        ended=ended,
        inputs={name: decode_items(items) for name, items in json.loads(inputs).items()},
        outputs=decode_items(json.loads(outputs)),
        names={str(text): fact[len(_OUTPUT) :] for fact, text in json.loads(facts).items() if fact.startswith(_OUTPUT)},
    )
