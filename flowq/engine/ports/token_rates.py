"""Rates of tokens: what was used of them, and who waits until there is room."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import StepRunId
from flowq.core.limits.slots import Limit
from flowq.core.limits.token_rates import Reservation
from flowq.engine.model.rows import StepRef


class TokenRates(Protocol):
    """Sums of tokens by span of time, within one transaction."""

    def admit(self, limit: Limit, step_id: StepRunId) -> Reservation | None:
        """Let an attempt begin and reserve what it may use, if there is room.

        Limits are asked in the order of their keys, since each is locked.
        """

    def release(self, reservations: Sequence[Reservation]) -> None:
        """Give back what attempts have reserved that have ended; what they used is charged."""

    def charge(self, used: Mapping[Limit, int]) -> None:
        """Add tokens that calls of models have used."""

    def wait(self, limit: Limit, step_id: StepRunId, horizon: timedelta) -> timedelta | None:
        """Let a step wait for room, behind all that wait already.

        Returns:
            How long, if none of the others comes back by itself, and that is within `horizon`.
        """

    def turns(self, limit: Limit, horizon: timedelta, most: int) -> list[StepRef]:
        """Give turns to those that wait longest, as many as there is room; to be sent.

        If there is none, but will be within `horizon`, one of them at least is to come.
        """

    def purge(self, most: int) -> int:
        """Delete what tells nothing any more; returns how many rows."""
