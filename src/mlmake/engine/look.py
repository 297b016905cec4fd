"""Looking without building: what `status` and `why` judge with. Never waits, never writes over a build."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from mlmake.engine.ledger import Ledger
from mlmake.engine.scope import Scope
from mlmake.home import Home
from mlmake.model.project import Project
from mlmake.model.reason import Verdict
from mlmake.plan.assess import FRESH
from mlmake.state.lock import held_at_once


def judge(scope: Scope, connection: sqlite3.Connection) -> dict[str, Verdict]:
    """A verdict for every selected step. What was learnt by looking is kept, if no build runs."""
    with closing(Ledger(scope.project, connection, whole=not scope.is_narrow)) as ledger:
        newest = ledger.runs.last(1)
        verdicts = ledger.assess(scope.steps)
        with held_at_once(Home(scope.project.root)) as is_held:
            if is_held and ledger.runs.last(1) == newest:
                ledger.save()
                scope.remember(ledger, verdicts)
    if not scope.others:
        return verdicts
    _, steps = scope.everything()
    return {step.id: verdicts.get(step.id, FRESH) for step in steps}


def look(project: Project, connection: sqlite3.Connection) -> Ledger:
    """A ledger to ask."""
    return Ledger(project, connection)
