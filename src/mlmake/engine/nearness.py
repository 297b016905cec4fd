"""Which member of a pool a step goes to: the one that has a job of it, or else the one that has its inputs already."""

from __future__ import annotations

from collections.abc import Sequence

from mlmake.engine.ledger import Ledger
from mlmake.engine.targets import Target, Targets
from mlmake.errors import StoreError
from mlmake.model.run import Outcome
from mlmake.model.step import Step


class Nearness:
    """Orders targets by what they hold of a step's inputs, as far as that is known here: nothing is asked of a host.

    What this build takes to a target, and what is written there, its `holds` tells. What earlier builds did is known
    from the last run of the step and from those of its producers. A host may have dropped some of it since; then it
    is sent again.
    """

    def __init__(self, ledger: Ledger, targets: Targets) -> None:
        self._ledger = ledger
        self._targets = targets
        self._recalled: set[str] = set()

    def ordered(self, step: Step, targets: Sequence[Target]) -> Sequence[Target]:
        """Targets in the order in which a step wants them.

        Hosts that hold more bytes of its inputs come first; this machine, which holds all of them, keeps its place.
        """
        if sum(not target.is_here for target in targets) < 2:
            return targets
        try:
            inputs = self._ledger.look(step).fingerprint.inputs
        except StoreError:  # its start will meet the same, and say so
            return targets
        sizes = {item.digest: item.size for items in inputs.values() for item in items}
        self._recall(step)

        def lacking(target: Target) -> int:
            return sum(size for digest, size in sizes.items() if digest not in target.holds)

        nearest = iter(sorted((target for target in targets if not target.is_here), key=lacking))
        return [target if target.is_here else next(nearest) for target in targets]

    def candidates(self, step: Step, targets: Sequence[Target]) -> Sequence[Target]:
        """The targets that a step may start on: the one alone that has its job, if there is such a one."""
        left = self.left_on(step, targets)
        return [left] if left and not left.slots.lacks(step.spec.resources) else targets

    def left_on(self, step: Step, targets: Sequence[Target]) -> Target | None:
        """The one of several targets where an mlmake that is gone has left a step's job, as far as is known here."""
        if len(targets) < 2:
            return None
        last = self._ledger.runs.last_of(step.id)
        if last is None or last.outcome not in (Outcome.LOST, Outcome.CANCELLED):
            return None
        return next((each for each in targets if each.name == last.target and not each.is_here), None)

    def _recall(self, step: Step) -> None:
        """Learn from the state where a step and its producers last ran; of each once."""
        for each in {step.id, *step.producers} - self._recalled:
            self._recalled.add(each)
            ran = self._ledger.runs.last_done(each)
            target = self._targets.named(ran.target) if ran else None
            if ran and target:
                target.note((*ran.outputs, *(item for items in ran.inputs.values() for item in items)))
