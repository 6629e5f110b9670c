"""Actions on runs, as the engine records and pages read them."""

from typing import Protocol

from flowq.core.ids import RunId, StepRunId
from flowq.engine.model.actions import ActionView, NewAction


class ActionRows(Protocol):
    """The recorded actions, within one transaction."""

    def insert(self, action: NewAction) -> None:
        """Record an action, in the transaction that does it."""

    def of_run(self, run_id: RunId, *, limit: int = 1_000) -> list[ActionView]:
        """The newest actions on a run, and the one that made it a rerun; the oldest first."""

    def of_signal(self, run_id: RunId, wait: StepRunId) -> ActionView | None:
        """Who sent a run the signal that ended a wait; None if it has not ended by one."""
