"""Rates of tokens: their usage, and the steps that wait for capacity."""

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
        """Let an attempt begin and reserve its expected usage, if there is capacity.

        Callers check limits in the order of their keys, since each is locked.
        """

    def release(self, reservations: Sequence[Reservation]) -> None:
        """Release the reservations of ended attempts; their usage is charged."""

    def charge(self, used: Mapping[Limit, int]) -> None:
        """Add tokens that calls of models have used."""

    def wait(self, limit: Limit, step_id: StepRunId, horizon: timedelta) -> timedelta | None:
        """Put a step into the line for capacity, behind all that wait already.

        Returns:
            The delay after which it comes back; None if another one does, or beyond `horizon`.
        """

    def turns(self, limit: Limit, horizon: timedelta, most: int) -> list[StepRef]:
        """Give turns to the steps that wait longest, as far as there is capacity; to be sent.

        If there is none now, but will be within `horizon`, at least one step gets a turn.
        """

    def purge(self, most: int) -> int:
        """Delete expired rows; returns how many."""
