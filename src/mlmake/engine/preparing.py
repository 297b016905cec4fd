"""What comes before a run: is its software there, is its result in a cache, and is its data on this machine?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from mlmake.engine.apart import Apart
from mlmake.engine.attempt import Queued
from mlmake.engine.equipping import Equipping
from mlmake.engine.ledger import Ledger, Lookup, Moment
from mlmake.engine.meter import Meter
from mlmake.engine.sharing import Sharing
from mlmake.engine.staying import Gathering
from mlmake.errors import MlmakeError
from mlmake.model.events import Sink
from mlmake.model.reason import Cause
from mlmake.state.manifests import Record
from mlmake.state.mirror import Brought


class Preparing:
    """Steps on their way to a run or to being restored.

    `ready` takes a step that may run as soon as there is room, `fail` one that cannot, with the reason.
    Those that a cache has wait in `restorable`.
    """

    def __init__(
        self,
        ledger: Ledger,
        sharing: Sharing | None,
        equipping: Equipping,
        gathering: Gathering,
        apart: Apart,
        sink: Sink,
        ready: Callable[[Queued], None],
        fail: Callable[[Queued, str], None],
    ) -> None:
        self.restorable: deque[Queued] = deque()
        self._ledger = ledger
        self._sharing = sharing
        self._equipping = equipping
        self._gathering = gathering
        self._apart = apart
        self._sink = sink
        self._ready = ready
        self._fail = fail
        self._is_over = False

    def put(self, queued: Queued) -> None:
        """Look for the result of a step in the cache, then in the shared one; its facts are known with its software."""
        self._equipping.equip(queued, self._look_for)

    def fetch(self, queued: Queued) -> None:
        """Bring what a step needs and this machine does not have; then it is ready."""
        self._equipping.equip(queued, self._fetch)

    def _look_for(self, queued: Queued) -> None:
        try:
            found = self._look_up(queued)
        except MlmakeError as error:  # a datastore gives no answer
            self._fail(queued, error.message)
            return
        if found and found.action:
            self.restorable.append(replace(queued, restorable=(found.before, found.action)))
        elif found and self._sharing and self._sharing.reads:
            self._sharing.look_up(found.key, self._apart.expect(partial(self._looked_up, queued, found.before)))
        else:
            self._fetch(queued)

    def _fetch(self, queued: Queued) -> None:
        if self._is_over:
            return
        try:
            needed = self._ledger.needs(queued.step)
        except MlmakeError as error:
            self._fail(queued, error.message)
            return
        if needed:
            work = partial(self._ledger.bring, needed, Meter(queued.step, needed, self._apart, self._sink))
            self._apart.do(work, partial(self._fetched, queued), is_slow=True)
        else:
            self._gather(queued)

    def _gather(self, queued: Queued) -> None:
        """Bring what stayed on another target than the step's."""
        lacking = self._gathering.lacking(queued.step)
        if lacking:
            self._gathering.gather(lacking, partial(self._gathered, queued))
        else:
            self._ready(queued)

    def _gathered(self, queued: Queued, problem: str) -> None:
        if self._is_over:
            return
        if problem:
            self._fail(queued, problem)
        else:
            self._ready(queued)

    def drop(self) -> None:
        """Make nothing more ready; what still comes is too late."""
        self._is_over = True
        self._equipping.drop()
        self.restorable.clear()
        if self._sharing:
            self._sharing.stop_looking()

    def _look_up(self, queued: Queued) -> Lookup | None:
        if any(reason.cause is Cause.FORCED for reason in queued.reasons):
            return None
        return self._ledger.look_up(queued.step, is_shared=bool(self._sharing and self._sharing.reads))

    def _looked_up(self, queued: Queued, before: Moment, record: Record | None) -> None:
        """What the shared cache has for a step."""
        action = self._ledger.adopt(queued.step, record.action) if record else None
        if action and not self._is_over:
            self.restorable.append(replace(queued, restorable=(before, action)))
        elif not action:
            self.fetch(queued)

    def _fetched(self, queued: Queued, brought: Brought) -> None:
        self._ledger.brought(brought)
        if self._is_over:
            return
        if brought.problem:
            self._fail(queued, brought.problem)
        else:
            self._gather(queued)
