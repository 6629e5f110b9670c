"""The slots of limits: taken with a lease, promised to a step that waits, or free."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import LeaseToken, StepRunId
from flowq.core.limits.slots import Limit
from flowq.engine.model.rows import StepRef


class Limits(Protocol):
    """Slots, and the steps that wait for one, within one transaction."""

    def take(self, limit: Limit, step_id: StepRunId, token: LeaseToken) -> bool:
        """Take a slot for an attempt: one promised to its step, or a free one."""

    def wait(self, limit: Limit, step_id: StepRunId, horizon: timedelta) -> timedelta | None:
        """Put a step into the line for a slot, behind all that wait already.

        Returns:
            The time until its turn, if it is known: for a rate, and within `horizon`.
        """

    def hand_over(self, limit: Limit, token: LeaseToken, promised_for: timedelta) -> StepRef | None:
        """Free the slot that an attempt holds, or promise it to the next waiting step.

        Returns:
            The step that it was promised to, to be sent.
        """

    def promise(self, limit: Limit, promised_for: timedelta) -> StepRef | None:
        """Promise a free slot to the next waiting step; returns that step, to be sent."""

    def has_free(self, limit: Limit) -> bool:
        """Return whether a slot is free."""

    def make(self, limit: Limit) -> None:
        """Insert the missing slots of a limit."""

    def is_waited_for(self, limit: Limit) -> bool:
        """Return whether any step waits for a slot of this limit."""

    # --- the sweeper's ---------------------------------------------------------------------------

    def reclaim(self, age: timedelta) -> int:
        """Free the slots, held for at least `age`, whose lease is lost; returns how many."""

    def waited_for(self) -> Sequence[Limit]:
        """The limits with waiting steps that have no turn yet."""

    def turns(self, limit: Limit, horizon: timedelta, most: int) -> list[StepRef]:
        """Give turns of a rate to the steps that wait longest; returns them, to be sent."""

    def forget_ended(self, most: int) -> int:
        """Delete waits of steps that have ended; returns how many."""
