"""Actions on runs, as the engine records and pages read them."""

from typing import Protocol

from flowq.core.ids import RunId
from flowq.engine.model.actions import ActionView, NewAction


class ActionRows(Protocol):
    """The recorded actions, within one transaction."""

    def insert(self, action: NewAction) -> None:
        """Record an action, in the transaction that does it."""

    def of_run(self, run_id: RunId, *, limit: int = 1_000) -> list[ActionView]:
        """The newest actions on a run, the oldest of them first."""
