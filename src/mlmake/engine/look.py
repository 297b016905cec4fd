"""Looking without building: what `status` and `why` judge with. Never waits, never writes over a build."""

from __future__ import annotations

import sqlite3

from mlmake.engine.ledger import Ledger
from mlmake.environments.system import System
from mlmake.model.project import Project


def look(project: Project, connection: sqlite3.Connection) -> Ledger:
    """A ledger to ask."""
    return Ledger(project, connection, System())
